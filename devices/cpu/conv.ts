/**
 * Two-dimensional convolutions of f32 images on the CPU, and their gradients.
 *
 * A result plane is a matrix product of the filters with the windows that
 * slide over zero-padded planes; the input gradient is another such product,
 * or several for steps above 1; the filter gradient sums gradient × window
 * over all positions. Work is cut by shapes alone and no sum is split between
 * threads, so results do not depend on the number of threads.
 *
 * @module
 */

import type { ConvSpec } from "../../core/device.ts";
import {
  correlateKernel,
  correlateParameters,
  filterGradientKernel,
  filterGradientParameters,
  gatherKernel,
  gatherParameters,
  packGradientKernel,
  scratchTile,
} from "./conv_kernels.ts";
import {
  interleaveKernel,
  interleaveParameters,
  padPlanes,
} from "./conv_pad.ts";
import { startModes, tileRows } from "./gemm_kernels.ts";
import { allocatePermanent, heap } from "./memory.ts";
import { cachedKernel, runKernel, threads } from "./pool.ts";
import { ParameterBlock, Scratch } from "./scratch.ts";
import {
  forwardPays,
  inputGradPays,
  winogradForward,
  winogradInputGrad,
  winogradWeightGrad,
} from "./winograd.ts";

/** Longest sum in one pass over packed panels. */
const depthAtOnce = 512;
/** Bytes of patches that a thread packs before multiplying them. */
const patchBytes = 2 ** 17;
/** Bytes of padded planes, and of packed gradients, made before they are used. */
const paddedBytes = 2 ** 22, gradientBytes = 2 ** 23;
/** Multiplications, and copied elements, worth a hand-over to another thread. */
const worthSharing = 2 ** 19, worthCopying = 2 ** 14;

const gatherBlock = new ParameterBlock(gatherParameters.length);
const correlateBlock = new ParameterBlock(correlateParameters.length);
const filterBlock = new ParameterBlock(filterGradientParameters.length);
const interleaveBlock = new ParameterBlock(interleaveParameters.length);
const padded = new Scratch(), filters = new Scratch();
const threadRoom = new Scratch(), biasRoom = new Scratch();
const gradients = new Scratch(), phaseRoom = new Scratch();

/** A tap of a window: rows and columns from the window's corner. */
type Tap = readonly [y: number, x: number];

/** How windows slide over planes, apart from addresses and the number of images. */
interface Sliding {
  /** Groups of channels. */
  readonly groups: number;
  /** Planes per group that a window reaches through. */
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Zero rows above and columns to the left; may be negative. */
  readonly top: number;
  readonly left: number;
  readonly stepY: number;
  readonly stepX: number;
  readonly taps: readonly Tap[];
  readonly outHeight: number;
  readonly outWidth: number;
}

/** Layout of the padded planes of a sliding window. */
interface Layout {
  /** Whether planes must be copied at all. */
  readonly copied: boolean;
  readonly rows: number;
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
function table(key: string, make: () => number[]): number {
  let address = tables.get(key);
  if (address === undefined) {
    const values = make();
    address = allocatePermanent(Math.max(4, values.length * 4));
    heap.i32.set(values, address >>> 2);
    tables.set(key, address);
  }
  return address;
}

function layoutOf(s: Sliding): Layout {
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

/** Pads planes for windows to slide over, or returns the planes themselves when nothing is to be done. */
function pad(s: Sliding, l: Layout, source: number, planes: number): number {
  if (!l.copied) return source;
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

/** Filters as a matrix per group: rows are channels of the result, columns elements of a window. Strides in bytes. */
interface Filters {
  readonly address: number;
  readonly groupStride: number;
  readonly rowStride: number;
  /** Rows per group. */
  readonly rows: number;
  /** Table of byte offsets of a row's elements. */
  readonly offsets: number;
}

/** Where results go; strides in bytes, planes are dense. */
interface Target {
  readonly address: number;
  readonly imageStride: number;
  readonly groupStride: number;
  readonly rowStride: number;
}

/** Slides windows over all images and multiplies them with the filters. */
function correlate(
  s: Sliding,
  images: number,
  source: number,
  w: Filters,
  target: Target,
  bias: number,
): void {
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
  const imageBytes = groups * s.channels * l.planeBytes;
  const together = l.copied
    ? Math.max(1, Math.floor(paddedBytes / imageBytes))
    : images;
  const sourceImage = groups * s.channels * s.height * s.width * 4;
  for (let first = 0; first < images; first += together) {
    const count = Math.min(together, images - first);
    const x = pad(
      s,
      l,
      source + first * sourceImage,
      count * groups * s.channels,
    );
    runKernel(
      cachedKernel("correlate", correlateKernel),
      correlateBlock.fill(
        x,
        imageBytes,
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
  }
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
function flattened(spec: ConvSpec): ConvSpec {
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

/** The windows that the result's elements are sums over. */
function forwardSliding(spec: ConvSpec): Sliding {
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

/** Whether a convolution has no results, or sums of nothing. */
function isEmpty(spec: ConvSpec): boolean {
  return spec.batch === 0 || spec.inChannels === 0 || spec.outChannels === 0 ||
    spec.inHeight === 0 || spec.inWidth === 0 || spec.outHeight === 0 ||
    spec.outWidth === 0 || spec.kernelHeight === 0 || spec.kernelWidth === 0;
}

/**
 * y = x ⋆ w + bias: x is [batch, inChannels, inHeight, inWidth], w
 * [outChannels, inChannels / groups, kernelHeight, kernelWidth], bias
 * [outChannels] or address 0; all are byte addresses of dense f32.
 */
export function conv2d(
  spec: ConvSpec,
  x: number,
  w: number,
  bias: number,
  y: number,
): void {
  const { batch, outChannels, groups } = spec;
  const plane = spec.outHeight * spec.outWidth * 4;
  if (isEmpty(spec)) {
    fillPlanes(y, plane, batch * outChannels, bias, outChannels);
    return;
  }
  if (forwardPays(spec)) {
    winogradForward(spec, x, w, bias, y);
    return;
  }
  const s = forwardSliding(flattened(spec));
  const rows = outChannels / groups;
  const depth = s.channels * s.taps.length;
  correlate(
    s,
    batch,
    x,
    {
      address: w,
      groupStride: rows * depth * 4,
      rowStride: depth * 4,
      rows,
      offsets: table(
        `dense ${depth}`,
        () => Array.from({ length: depth }, (_, k) => 4 * k),
      ),
    },
    {
      address: y,
      imageStride: outChannels * plane,
      groupStride: rows * plane,
      rowStride: plane,
    },
    bias,
  );
}

/** Planes of a convolution over nothing: the bias alone. */
function fillPlanes(
  y: number,
  planeBytes: number,
  planes: number,
  bias: number,
  channels: number,
): void {
  for (let p = 0; p < planes; p++) {
    const value = bias === 0 ? 0 : heap.f32[(bias >>> 2) + p % channels];
    const from = (y + p * planeBytes) / 4;
    heap.f32.fill(value, from, from + planeBytes / 4);
  }
}

/** dx = the gradient of Σ dy·(x ⋆ w) with respect to x; addresses as in `conv2d`. */
export function conv2dInputGrad(
  spec: ConvSpec,
  dy: number,
  w: number,
  dx: number,
): void {
  const { strideHeight, strideWidth } = spec;
  const plane = spec.inHeight * spec.inWidth;
  const planes = spec.batch * spec.inChannels;
  const whole = strideHeight === 1 && strideWidth === 1;
  if (isEmpty(spec)) {
    heap.u8.fill(0, dx, dx + planes * plane * 4);
    return;
  }
  if (inputGradPays(spec)) {
    winogradInputGrad(spec, dy, w, dx);
    return;
  }
  if (whole) {
    inputGradPhase(flattened(spec), dy, w, dx, 0, 0);
    return;
  }
  // Rows and columns of dx in different phases of the step meet different taps.
  heap.u8.fill(0, dx, dx + planes * plane * 4);
  for (let y = 0; y < Math.min(strideHeight, spec.inHeight); y++) {
    for (let x = 0; x < Math.min(strideWidth, spec.inWidth); x++) {
      const rows = Math.ceil((spec.inHeight - y) / strideHeight);
      const columns = Math.ceil((spec.inWidth - x) / strideWidth);
      const part = phaseRoom.at(planes * rows * columns * 4);
      if (!inputGradPhase(spec, dy, w, part, y, x)) continue;
      runKernel(
        cachedKernel("interleave", interleaveKernel),
        interleaveBlock.fill(
          part,
          rows,
          columns,
          dx + (y * spec.inWidth + x) * 4,
          plane * 4,
          strideHeight * spec.inWidth * 4,
          strideWidth * 4,
        ),
        planes,
        Math.ceil(worthCopying / (rows * columns)),
      );
    }
  }
}

/**
 * The gradient at rows y0, y0 + stride, … and columns x0, x0 + stride, … of
 * every input plane, dense at `target`. Returns false when no window reaches
 * them.
 *
 * Row y0 + s·j gets dy's row j + (y0 + pad − tap·dilation) / s through each tap
 * for which that is whole: windows that slide over dy by single steps.
 */
function inputGradPhase(
  spec: ConvSpec,
  dy: number,
  w: number,
  target: number,
  y0: number,
  x0: number,
): boolean {
  const ys = phaseTaps(
    y0 + spec.padTop,
    spec.strideHeight,
    spec.kernelHeight,
    spec.dilationHeight,
  );
  const xs = phaseTaps(
    x0 + spec.padLeft,
    spec.strideWidth,
    spec.kernelWidth,
    spec.dilationWidth,
  );
  if (ys.length === 0 || xs.length === 0) return false;
  const top = Math.min(...ys.map(({ at }) => at));
  const left = Math.min(...xs.map(({ at }) => at));
  const taps: Tap[] = [];
  const tapOffsets: number[] = [];
  for (const y of ys) {
    for (const x of xs) {
      taps.push([y.at - top, x.at - left]);
      tapOffsets.push((y.tap * spec.kernelWidth + x.tap) * 4);
    }
  }
  const { groups, outChannels, inChannels } = spec;
  const channels = outChannels / groups, rows = inChannels / groups;
  const filterBytes = spec.kernelHeight * spec.kernelWidth * 4;
  const sliding: Sliding = {
    groups,
    channels,
    height: spec.outHeight,
    width: spec.outWidth,
    top: -top,
    left: -left,
    stepY: 1,
    stepX: 1,
    taps,
    outHeight: Math.ceil((spec.inHeight - y0) / spec.strideHeight),
    outWidth: Math.ceil((spec.inWidth - x0) / spec.strideWidth),
  };
  const plane = sliding.outHeight * sliding.outWidth * 4;
  correlate(
    sliding,
    spec.batch,
    dy,
    {
      address: w,
      groupStride: channels * rows * filterBytes,
      rowStride: filterBytes,
      rows,
      offsets: table(
        `transposed ${channels},${rows},${filterBytes},${tapOffsets}`,
        () =>
          Array.from(
            { length: channels },
            (_, c) => tapOffsets.map((o) => c * rows * filterBytes + o),
          ).flat(),
      ),
    },
    {
      address: target,
      imageStride: inChannels * plane,
      groupStride: rows * plane,
      rowStride: plane,
    },
    0,
  );
  return true;
}

/** Taps that meet a phase of the step, and where in dy: (position − tap·dilation) / stride. */
function phaseTaps(
  position: number,
  stride: number,
  size: number,
  dilation: number,
): { tap: number; at: number }[] {
  const list: { tap: number; at: number }[] = [];
  for (let tap = 0; tap < size; tap++) {
    const distance = position - tap * dilation;
    if (distance % stride === 0) list.push({ tap, at: distance / stride });
  }
  return list;
}

/** dw = the gradient of Σ dy·(x ⋆ w) with respect to w; addresses as in `conv2d`. */
export function conv2dWeightGrad(
  spec: ConvSpec,
  x: number,
  dy: number,
  dw: number,
): void {
  const { batch, outChannels, groups } = spec;
  const s = forwardSliding(flattened(spec));
  const columns = s.channels * s.taps.length;
  if (isEmpty(spec)) {
    heap.u8.fill(0, dw, dw + outChannels * columns * 4);
    return;
  }
  if (forwardPays(spec)) {
    winogradWeightGrad(spec, x, dy, dw);
    return;
  }
  const l = layoutOf(s);
  const rows = outChannels / groups;
  const paddedRows = ceilTo(rows, tileRows);
  const { outHeight, outWidth } = s;
  const plane = outHeight * outWidth;
  const imageBytes = groups * s.channels * l.planeBytes;
  const together = Math.max(
    1,
    Math.min(
      batch,
      Math.floor(gradientBytes / (groups * paddedRows * plane * 4)),
      l.copied ? Math.floor(paddedBytes / imageBytes) : batch,
    ),
  );
  // A pass is several small images, or several rows of one.
  const passImages = plane > depthAtOnce / 2
    ? 1
    : Math.min(together, Math.floor(depthAtOnce / plane));
  const rowPasses = Math.ceil(
    outHeight / Math.max(1, Math.floor(depthAtOnce / outWidth)),
  );
  const passRows = Math.ceil(outHeight / rowPasses);
  const depth = passImages * passRows * outWidth;
  const aSlot = paddedRows * depth * 4;
  const blockRows = Math.min(paddedRows, 96);
  const blocksDown = Math.ceil(rows / blockRows);
  let blockColumns = 64;
  while (
    blockColumns > 8 &&
    groups * blocksDown * Math.ceil(columns / blockColumns) < 16 &&
    batch * plane * blockRows * blockColumns > 2 * worthSharing
  ) blockColumns /= 2;
  const blocksAcross = Math.ceil(columns / blockColumns);
  const scratchBytes = scratchTile + depth * 32;
  for (let first = 0; first < batch; first += together) {
    const images = Math.min(together, batch - first);
    const imagePasses = Math.ceil(images / passImages);
    const slots = imagePasses * Math.ceil(outHeight / passRows) * groups;
    const planeBytes = s.height * s.width * 4;
    const block = filterBlock.fill(
      dy + first * outChannels * plane * 4,
      outChannels * plane * 4,
      plane * 4,
      gradients.at(slots * aSlot),
      aSlot,
      pad(
        s,
        l,
        x + first * groups * s.channels * planeBytes,
        images * groups * s.channels,
      ),
      imageBytes,
      s.channels * l.planeBytes,
      s.stepY * l.pitch * 4,
      l.offsets,
      dw,
      columns,
      rows,
      groups,
      images,
      outHeight,
      outWidth,
      passImages,
      passRows,
      imagePasses,
      Math.ceil(outHeight / passRows),
      blockRows,
      blockColumns,
      blocksDown,
      blocksAcross,
      first === 0 ? startModes.zero : startModes.accumulate,
      threadRoom.at(threads() * scratchBytes),
      scratchBytes,
    );
    runKernel(
      cachedKernel("pack gradients", packGradientKernel),
      block,
      slots * paddedRows / tileRows,
      Math.ceil(worthCopying / (depth * tileRows)),
    );
    runKernel(
      cachedKernel("filter gradient", filterGradientKernel),
      block,
      groups * blocksDown * blocksAcross,
      Math.ceil(worthSharing / (images * plane * blockRows * blockColumns)),
    );
  }
}

function ceilTo(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
