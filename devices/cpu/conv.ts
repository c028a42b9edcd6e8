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

import type { PlaneSpec } from "./plane_spec.ts";
import { interleaveKernel, interleaveParameters } from "./conv_pad.ts";
import {
  correlate,
  flattened,
  forwardSliding,
  isEmpty,
  type Sliding,
  table,
  type Tap,
  worthCopying,
} from "./conv_slide.ts";
import { heap } from "./memory.ts";
import { cachedKernel, runKernel } from "./pool.ts";
import { ParameterBlock, Scratch } from "./scratch.ts";
import { anyWild } from "./wild.ts";
import {
  forwardPays,
  inputGradPays,
  winogradForward,
  winogradInputGrad,
} from "./winograd.ts";

export { conv2dWeightGrad } from "./conv_weight_grad.ts";

const interleaveBlock = new ParameterBlock(interleaveParameters.length);
const phaseRoom = new Scratch();

/**
 * y = x ⋆ w + bias: x is [batch, inChannels, inHeight, inWidth], w
 * [outChannels, inChannels / groups, kernelHeight, kernelWidth], bias
 * [outChannels] or address 0; all are byte addresses of dense f32.
 */
export function conv2d(
  spec: PlaneSpec,
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
  if (
    forwardPays(spec) && !anyWild(w, filterCount(spec)) &&
    winogradForward(spec, x, w, bias, y)
  ) return;
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

/** Numbers in all filters. */
function filterCount(spec: PlaneSpec): number {
  const { outChannels, inChannels, groups, kernelHeight, kernelWidth } = spec;
  return outChannels * (inChannels / groups) * kernelHeight * kernelWidth;
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

/**
 * dx = the gradient of Σ dy·(x ⋆ w) with respect to x; addresses as in `conv2d`.
 * Returns false, with dx as it was, for filters that are not finite: what lies
 * around dy is zeros here, whose products with those are no part of dx.
 */
export function conv2dInputGrad(
  spec: PlaneSpec,
  dy: number,
  w: number,
  dx: number,
): boolean {
  const { strideHeight, strideWidth } = spec;
  const plane = spec.inHeight * spec.inWidth;
  const planes = spec.batch * spec.inChannels;
  const whole = strideHeight === 1 && strideWidth === 1;
  if (isEmpty(spec)) {
    heap.u8.fill(0, dx, dx + planes * plane * 4);
    return true;
  }
  if (anyWild(w, filterCount(spec))) return false;
  if (inputGradPays(spec) && winogradInputGrad(spec, dy, w, dx)) return true;
  if (whole) {
    inputGradPhase(flattened(spec), dy, w, dx, 0, 0);
    return true;
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
  return true;
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
  spec: PlaneSpec,
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
