/**
 * Elementwise kernels.
 *
 * @module
 */

import type { Launch, Strided } from "../../core/device.ts";
import type { Step } from "../../kernel/cuda/render.ts";
import { mergeAxes, product, type Walk } from "../../kernel/walk.ts";
import type { CudaContext } from "./context.ts";
import { compileVariant, type Facts, variantKernel } from "./launch_facts.ts";
import { isAligned, placedOf, stridesOf } from "./launch_operands.ts";
import {
  fillCount,
  fillFlat,
  fillOperands,
  fillWalk,
} from "./launch_params.ts";
import type { Prepared } from "./launch_plans.ts";
import {
  bounds,
  elementBlocks,
  elementVariant,
  smallElements,
} from "./launch_shape.ts";

/** Names the kernel for few elements over one axis. */
const smallCode = 1;

/** Whether an offset along the only axis needs 64 bits: a column of a giant matrix, say. */
function reachesFar(operands: readonly Strided[], size: number): boolean {
  for (let i = 0; i < operands.length; i++) {
    const reach = (size - 1) * Math.abs(operands[i].strides[0]);
    if (reach > bounds.narrow) return true;
  }
  return false;
}

/** Queues an elementwise kernel over one axis, all operands contiguous or single elements: the common case, without a look at anything else. False where it is another. */
export function launchFlat(
  context: CudaContext,
  facts: Facts,
  l: Launch,
): boolean {
  if (l.sizes.length !== 1) return false;
  const [size] = l.sizes;
  if (size === 0) return true;
  if (size > bounds.narrow || facts.loads.length > 0) return false;
  if (size <= bounds.small) {
    if (reachesFar(l.inputs, size) || reachesFar(l.outputs, size)) return false;
    launchSmall(context, facts, l);
    return true;
  }
  const { inputs, outputs } = l;
  const { lanes } = facts;
  let code = 2, vector = lanes > 1;
  for (let i = 0; i < inputs.length; i++) {
    const [stride] = inputs[i].strides;
    if (stride !== 0 && stride !== 1) return false;
    code = 2 * code + stride;
    if (stride === 1 && vector) vector = isAligned(inputs[i], lanes);
  }
  for (let i = 0; i < outputs.length; i++) {
    if (outputs[i].strides[0] !== 1) return false;
    if (vector) vector = isAligned(outputs[i], lanes);
  }
  const ragged = vector && size % lanes !== 0;
  code = 4 * code + (vector ? 2 : 0) + (ragged ? 1 : 0);
  let kernel = facts.kernels.get(code);
  if (kernel === undefined) {
    kernel = compileVariant(context, l.program, {
      kind: "elements",
      rank: 1,
      steps: stridesOf(l).map(([stride]): Step =>
        stride === 0 ? "fixed" : "unit"
      ),
      lanes: vector ? lanes : 1,
      ragged,
      wide: false,
    });
    facts.kernels.set(code, kernel);
  }
  const params = fillOperands(kernel.params, l);
  const count = vector ? Math.ceil(size / lanes) : size;
  fillCount(kernel.params, "count", count);
  if (ragged) fillCount(kernel.params, "length", size);
  const blocks = elementBlocks(count, context.multiprocessors);
  context.launch(kernel.fn, blocks, 1, 1, kernel.threads, 0, params);
  return true;
}

/** Few elements over one axis, whatever the strides: always the same kernel. */
function launchSmall(context: CudaContext, facts: Facts, l: Launch): void {
  let kernel = facts.kernels.get(smallCode);
  if (kernel === undefined) {
    kernel = compileVariant(context, l.program, smallElements(facts, 1));
    facts.kernels.set(smallCode, kernel);
  }
  const { params: layout } = kernel;
  const params = fillOperands(layout, l);
  fillFlat(layout, l);
  const [size] = l.sizes;
  fillCount(layout, "count", size);
  const blocks = Math.ceil(size / kernel.threads);
  context.launch(kernel.fn, blocks, 1, 1, kernel.threads, 0, params);
}

/** An elementwise kernel over any axes, at least one position. */
export function prepareElements(
  context: CudaContext,
  facts: Facts,
  l: Launch,
  strides: readonly (readonly number[])[] = stridesOf(l),
): Prepared {
  const { program: p, sizes } = l;
  let walk: Walk = p.usesCoords
    ? { sizes, outerRank: 0, strides }
    : mergeAxes(sizes, 0, strides);
  if (walk.sizes.length === 0) {
    walk = { sizes: [1], outerRank: 0, strides: strides.map(() => [0]) };
  }
  const operands = placedOf(l);
  const variant = elementVariant(facts, walk, operands, p.inputs.length);
  let shape = walk.sizes.length * 2 + (variant.wide ? 1 : 0);
  shape = (shape * 2 + (variant.ragged ? 1 : 0)) * 2 +
    (variant.lanes > 1 ? 1 : 0);
  const kernel = variantKernel(context, facts, p, shape, variant);
  fillOperands(kernel.params, l);
  fillWalk(kernel.params, walk);
  const size = product(walk.sizes, 0, walk.sizes.length);
  const count = Math.ceil(size / variant.lanes);
  fillCount(kernel.params, "count", count);
  fillCount(kernel.params, "length", size);
  const blocks = elementBlocks(count, context.multiprocessors);
  return { kernel, blocks, sharedBytes: 0 };
}
