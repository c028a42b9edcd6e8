/**
 * Windows sliding over planes: the sums of window × filter that convolutions
 * and their input gradients consist of.
 *
 * @module
 */

import type { PlaneSpec } from "./plane_spec.ts";
import { directKernel, directParameters } from "./conv_direct.ts";
import {
  correlateKernel,
  correlateParameters,
  gatherKernel,
  gatherParameters,
  scratchTile,
} from "./conv_kernels.ts";
import { padPlanes } from "./conv_pad.ts";
import { startModes, tileRows } from "./gemm_kernels.ts";
import { allocatePermanent, heap } from "./memory.ts";
import { cachedKernel, runKernel, threads } from "./pool.ts";
import { ParameterBlock, Scratch } from "./scratch.ts";

/** Longest sum in one pass over packed panels. */
export const depthAtOnce = 512;
/** Bytes of patches that a thread packs before multiplying them. */
const patchBytes = 2 ** 17;
/** Bytes of padded planes that are made before they are used. */
export const paddedBytes = 2 ** 22;
/** Multiplications, and copied elements, worth a hand-over to another thread. */
export const worthSharing = 2 ** 19, worthCopying = 2 ** 14;

const gatherBlock = new ParameterBlock(gatherParameters.length);
const correlateBlock = new ParameterBlock(correlateParameters.length);
const directBlock = new ParameterBlock(directParameters.length);
const padded = new Scratch(), filters = new Scratch();
const threadRoom = new Scratch(), biasRoom = new Scratch();

/** A tap of a window: rows and columns from the window's corner. */
export type Tap = readonly [y: number, x: number];

/** How windows slide over planes, apart from addresses and the number of images. */
export interface Sliding {
  /** Groups of channels. */
  readonly groups: number;
  /** Planes per group that a window reaches through. */
  readonly channels: number;
  /** Rows of a plane. */
  readonly height: number;
  /** Columns of a plane. */
  readonly width: number;
  /** Zero rows above; may be negative. */
  readonly top: number;
  /** Zero columns to the left; may be negative. */
  readonly left: number;
  /** Rows from window to window. */
  readonly stepY: number;
  /** Columns from window to window. */
  readonly stepX: number;
  /** Elements of a window within a plane; rows and columns are not negative. */
  readonly taps: readonly Tap[];
  /** Windows from top to bottom. */
  readonly outHeight: number;
  /** Windows from left to right. */
  readonly outWidth: number;
}

/** Layout of the padded planes of a sliding window. */
export interface Layout {
  /** Whether planes must be copied at all. */
  readonly copied: boolean;
  /** Rows of a padded plane. */
  readonly rows: number;
  /** Columns of a phase. */
  readonly pitch: number;
  /** Bytes of all phases of a plane. */
  readonly planeBytes: number;
  /** Elements of a window. */
  readonly depth: number;
  /** Table of byte offsets of a window's elements. */
  readonly offsets: number;
}

const layouts = new Map<string, Layout>();
const tables = new Map<string, number>();

/** A permanent table of numbers; `make` runs once per key. */
export function table(key: string, make: () => number[]): number {
  let address = tables.get(key);
  if (address === undefined) {
    const values = make();
    address = allocatePermanent(Math.max(4, values.length * 4));
    heap.i32.set(values, address >>> 2);
    tables.set(key, address);
  }
  return address;
}

/** The layout of padded planes for windows; computed once per geometry. */
export function layoutOf(s: Sliding): Layout {
  const key = `${s.channels},${s.height},${s.width},${s.top},${s.left},` +
    `${s.stepY},${s.stepX},${s.outHeight},${s.outWidth},${s.taps.join(";")}`;
  let layout = layouts.get(key);
  if (layout === undefined) {
    layout = makeLayout(s, key);
    layouts.set(key, layout);
  }
  return layout;
}

function makeLayout(s: Sliding, key: string): Layout {
  const lastY = Math.max(...s.taps.map(([y]) => y));
  const lastX = Math.max(...s.taps.map(([, x]) => x));
  let rows = (s.outHeight - 1) * s.stepY + lastY + 1;
  let pitch = s.outWidth + Math.floor(lastX / s.stepX);
  const copied = s.stepX !== 1 || s.top !== 0 || s.left !== 0 ||
    rows > s.height || pitch > s.width;
  if (!copied) [rows, pitch] = [s.height, s.width];
  const phaseBytes = rows * pitch * 4;
  const planeBytes = phaseBytes * s.stepX;
  const offsets = table(`window ${key}`, () => {
    const list: number[] = [];
    for (let c = 0; c < s.channels; c++) {
      for (const [y, x] of s.taps) {
        list.push(
          c * planeBytes + (x % s.stepX) * phaseBytes +
            (y * pitch + Math.floor(x / s.stepX)) * 4,
        );
      }
    }
    return list;
  });
  const depth = s.channels * s.taps.length;
  return { copied, rows, pitch, planeBytes, depth, offsets };
}

/**
 * Pads planes for windows to slide over, or returns the planes themselves when
 * nothing is to be done. Behind padded planes up to 64 bytes may be read, so
 * kernels that read whole vectors at the ends of rows ask for a copy.
 */
export function pad(
  s: Sliding,
  l: Layout,
  source: number,
  planes: number,
  copy = false,
): number {
  if (!l.copied && !copy) return source;
  return padPlanes({
    source,
    planes,
    height: s.height,
    width: s.width,
    rows: l.rows,
    pitch: l.pitch,
    top: s.top,
    left: s.left,
    phases: s.stepX,
  }, padded);
}

/** Pads images, as many at a time as there is room for, and hands on each round's planes and images. */
export function inRounds(
  s: Sliding,
  l: Layout,
  images: number,
  source: number,
  copy: boolean,
  round: (planes: number, first: number, count: number) => void,
): void {
  const planes = s.groups * s.channels;
  const together = l.copied || copy
    ? Math.max(1, Math.floor(paddedBytes / (planes * l.planeBytes)))
    : images;
  for (let first = 0; first < images; first += together) {
    const count = Math.min(together, images - first);
    const from = source + first * planes * s.height * s.width * 4;
    round(pad(s, l, from, count * planes, copy), first, count);
  }
}

/** Filters as a matrix per group: rows are channels of the result, columns elements of a window. Strides in bytes. */
export interface Filters {
  /** First element. */
  readonly address: number;
  /** From group to group. */
  readonly groupStride: number;
  /** From row to row. */
  readonly rowStride: number;
  /** Rows per group. */
  readonly rows: number;
  /** Table of byte offsets of a row's elements. */
  readonly offsets: number;
}

/** Where results go; strides in bytes, planes are dense. */
export interface Target {
  /** First element. */
  readonly address: number;
  /** From image to image. */
  readonly imageStride: number;
  /** From group to group. */
  readonly groupStride: number;
  /** From channel to channel. */
  readonly rowStride: number;
}

/** Slides windows over all images and multiplies them with the filters. */
export function correlate(
  s: Sliding,
  images: number,
  source: number,
  w: Filters,
  target: Target,
  bias: number,
): void {
  // With one or two rows per group most of the matrix product's tile is empty.
  if (w.rows <= 2) {
    slideDirectly(s, images, source, w, target, bias);
    return;
  }
  const l = layoutOf(s);
  const { depth } = l;
  const { groups } = s;
  const paddedRows = ceilTo(w.rows, tileRows);
  const passes = Math.ceil(depth / depthAtOnce);
  const pass = ceilTo(Math.ceil(depth / passes), 8);
  const a = filters.at(groups * paddedRows * depth * 4);
  for (let k0 = 0; k0 < depth; k0 += pass) {
    const kc = Math.min(pass, depth - k0);
    runKernel(
      cachedKernel("gather", gatherKernel),
      gatherBlock.fill(
        w.address,
        w.groupStride,
        w.rowStride,
        w.offsets + 4 * k0,
        a + groups * paddedRows * k0 * 4,
        paddedRows * kc * 4,
        w.rows,
        kc,
        paddedRows / tileRows,
      ),
      groups * paddedRows / tileRows,
      Math.ceil(worthCopying / (kc * tileRows)),
    );
  }
  const paddedBias = bias === 0 ? 0 : padBias(bias, groups, w.rows);
  const columns = s.outHeight * s.outWidth;
  const kc = Math.min(pass, depth);
  const most = Math.max(8, Math.floor(patchBytes / (kc * 32)) * 8);
  let blocks = Math.ceil(columns / most);
  const work = w.rows * depth * columns;
  while (
    images * groups * blocks < 16 && work / blocks > 2 * worthSharing &&
    blocks * 8 < columns
  ) blocks *= 2;
  const blockColumns = ceilTo(Math.ceil(columns / blocks), 8);
  blocks = Math.ceil(columns / blockColumns);
  const scratchBytes = scratchTile + kc * 32;
  inRounds(s, l, images, source, false, (planes, first, count) => {
    runKernel(
      cachedKernel("correlate", correlateKernel),
      correlateBlock.fill(
        planes,
        groups * s.channels * l.planeBytes,
        s.channels * l.planeBytes,
        s.stepY * l.pitch * 4,
        l.offsets,
        a,
        paddedRows * 4,
        groups * paddedRows * 4,
        target.address + first * target.imageStride,
        target.imageStride,
        target.groupStride,
        target.rowStride,
        w.rows,
        s.outWidth,
        columns,
        depth,
        pass,
        blockColumns,
        blocks,
        groups,
        bias === 0 ? startModes.zero : startModes.rowBias,
        paddedBias,
        paddedRows * 4,
        threadRoom.at(threads() * scratchBytes),
        scratchBytes,
      ),
      count * groups * blocks,
      Math.ceil(worthSharing * blocks / work),
    );
  });
}

/** Slides windows over all images, without a matrix product. The target is dense. */
function slideDirectly(
  s: Sliding,
  images: number,
  source: number,
  w: Filters,
  target: Target,
  bias: number,
): void {
  const l = layoutOf(s);
  const { groups } = s;
  const copy = s.outWidth % 4 !== 0;
  inRounds(s, l, images, source, copy, (planes, first, count) => {
    runKernel(
      cachedKernel("slide directly", directKernel),
      directBlock.fill(
        planes,
        groups * s.channels * l.planeBytes,
        s.channels * l.planeBytes,
        s.stepY * l.pitch * 4,
        l.offsets,
        w.address,
        w.groupStride,
        w.rowStride,
        w.offsets,
        target.address + first * target.imageStride,
        w.rows,
        groups,
        s.outHeight,
        s.outWidth,
        l.depth,
        bias,
      ),
      count * groups * w.rows,
      Math.ceil(worthSharing / (s.outHeight * s.outWidth * l.depth)),
    );
  });
}

/** Copies a bias to where each group's may be read to the end of its last panel. */
function padBias(bias: number, groups: number, rows: number): number {
  const paddedRows = ceilTo(rows, tileRows);
  const target = biasRoom.at(groups * paddedRows * 4);
  for (let g = 0; g < groups; g++) {
    const from = (bias >>> 2) + g * rows;
    heap.f32.copyWithin((target >>> 2) + g * paddedRows, from, from + rows);
  }
  return target;
}

/** A 1×1 convolution without padding or steps sees each plane as one long row. */
export function flattened(spec: PlaneSpec): PlaneSpec {
  const { kernelHeight, kernelWidth, inHeight, inWidth } = spec;
  const plain = kernelHeight === 1 && kernelWidth === 1 &&
    spec.strideHeight === 1 && spec.strideWidth === 1 &&
    inHeight === spec.outHeight && inWidth === spec.outWidth;
  if (!plain) return spec;
  const width = inHeight * inWidth;
  return {
    ...spec,
    inHeight: 1,
    inWidth: width,
    outHeight: 1,
    outWidth: width,
  };
}

/** Whether a convolution has no results, or sums of nothing. */
export function isEmpty(spec: PlaneSpec): boolean {
  return spec.batch === 0 || spec.inChannels === 0 || spec.outChannels === 0 ||
    spec.inHeight === 0 || spec.inWidth === 0 || spec.outHeight === 0 ||
    spec.outWidth === 0 || spec.kernelHeight === 0 || spec.kernelWidth === 0;
}

/** The windows that the result's elements are sums over. */
export function forwardSliding(spec: PlaneSpec): Sliding {
  const taps: Tap[] = [];
  for (let y = 0; y < spec.kernelHeight; y++) {
    for (let x = 0; x < spec.kernelWidth; x++) {
      taps.push([y * spec.dilationHeight, x * spec.dilationWidth]);
    }
  }
  return {
    groups: spec.groups,
    channels: spec.inChannels / spec.groups,
    height: spec.inHeight,
    width: spec.inWidth,
    top: spec.padTop,
    left: spec.padLeft,
    stepY: spec.strideHeight,
    stepX: spec.strideWidth,
    taps,
    outHeight: spec.outHeight,
    outWidth: spec.outWidth,
  };
}

/** The next multiple of `unit`. */
export function ceilTo(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
