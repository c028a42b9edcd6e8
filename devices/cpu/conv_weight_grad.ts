/**
 * Gradients of convolutions with respect to their filters.
 *
 * @module
 */

import type { PlaneSpec } from "./plane_spec.ts";
import {
  directGradientKernel,
  directGradientParameters,
} from "./conv_direct.ts";
import {
  filterGradientKernel,
  filterGradientParameters,
  packGradientKernel,
} from "./conv_gradient_kernels.ts";
import { scratchTile } from "./conv_kernels.ts";
import {
  ceilTo,
  depthAtOnce,
  flattened,
  forwardSliding,
  inRounds,
  isEmpty,
  layoutOf,
  pad,
  paddedBytes,
  type Sliding,
  worthCopying,
  worthSharing,
} from "./conv_slide.ts";
import { startModes, tileRows } from "./gemm_kernels.ts";
import { heap } from "./memory.ts";
import { cachedKernel, runKernel, threads } from "./pool.ts";
import { ParameterBlock, Scratch } from "./scratch.ts";
import { forwardPays, winogradWeightGrad } from "./winograd.ts";

/** Bytes of packed gradients that are made before they are used. */
const gradientBytes = 2 ** 23;

const filterBlock = new ParameterBlock(filterGradientParameters.length);
const directBlock = new ParameterBlock(directGradientParameters.length);
const gradients = new Scratch(), threadRoom = new Scratch();

/** dw = the gradient of Σ dy·(x ⋆ w) with respect to w; addresses as in `conv2d`. */
export function conv2dWeightGrad(
  spec: PlaneSpec,
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
  if (forwardPays(spec) && winogradWeightGrad(spec, x, dy, dw)) return;
  if (outChannels === groups) {
    directWeightGrad(s, batch, x, dy, dw);
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

/** The filter gradient with one filter per group, without a matrix product. */
function directWeightGrad(
  s: Sliding,
  batch: number,
  x: number,
  dy: number,
  dw: number,
): void {
  const l = layoutOf(s);
  const { groups } = s;
  const copy = s.outWidth % 4 !== 0;
  inRounds(s, l, batch, x, copy, (planes, first, images) => {
    runKernel(
      cachedKernel("filter gradient directly", directGradientKernel),
      directBlock.fill(
        dy + first * groups * s.outHeight * s.outWidth * 4,
        planes,
        groups * s.channels * l.planeBytes,
        s.channels * l.planeBytes,
        s.stepY * l.pitch * 4,
        l.offsets,
        dw,
        l.depth,
        1,
        groups,
        images,
        s.outHeight,
        s.outWidth,
        first > 0 ? 1 : 0,
      ),
      groups,
      Math.ceil(
        worthSharing / (images * s.outHeight * s.outWidth * l.depth),
      ),
    );
  });
}
