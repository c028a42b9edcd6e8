/**
 * Launches as they were done before: a program that comes again with the same
 * extents and steps takes the same kernel, blocks and parameters but for
 * addresses and numbers, so nothing need be chosen again.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import type { Launch, Strided } from "../../core/device.ts";
import type { CudaContext } from "./context.ts";
import type { Facts, Kernel } from "./launch_facts.ts";
import {
  type FixedWords,
  fixedWords,
  paramBytes,
  refill,
} from "./launch_params.ts";
import { isMultiple } from "./launch_operands.ts";
import { bounds } from "./launch_shape.ts";

/** A kernel whose parameters have been filled in. */
export interface Prepared {
  /** What is launched. */
  readonly kernel: Kernel;
  /** Blocks of the grid. */
  readonly blocks: number;
  /** Dynamic shared memory of a block, in bytes. */
  readonly sharedBytes: number;
}

/** How a launch was done. */
export interface Plan extends Prepared {
  /** Extents of its axes. */
  readonly sizes: readonly number[];
  /** How many of them are outer ones. */
  readonly outerRank: number;
  /** Steps of the operands, inputs first. */
  readonly strides: readonly (readonly number[])[];
  /** Parameters that follow from those. */
  readonly fixed: FixedWords;
}

/** Plans of one program that are kept. */
const mostPlans = 64;

/** Every shape of a kernel may start its operands at multiples of this many bytes. */
const widestVector = 16;

function mixed(code: number, operands: readonly Strided[]): number {
  for (let i = 0; i < operands.length; i++) {
    const { storage, offset, dtype, strides } = operands[i];
    const address = storage.address + offset * bytesOf(dtype);
    if (!isMultiple(address, widestVector)) return -1;
    // The others rarely tell launches apart that these do not.
    const last = strides.length - 1;
    if (last < 0) continue;
    code = Math.imul(code, 31) + strides[0] + 7 * strides[last] & 0x3fffffff;
  }
  return code;
}

/** A number that is the same for launches of one plan; −1 where operands are not aligned, for which none is kept. */
export function planCode(
  { sizes, outerRank, inputs, outputs }: Launch,
): number {
  // Tests lower the bounds, and then expect the kernels of larger tensors.
  let code = outerRank + 3 * bounds.small + 5 * bounds.registers +
      7 * bounds.narrow & 0x3fffffff;
  for (let d = 0; d < sizes.length; d++) {
    code = Math.imul(code, 31) + sizes[d] & 0x3fffffff;
  }
  code = mixed(code, inputs);
  return code < 0 ? code : mixed(code, outputs);
}

function same(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The plan for a launch with such a code; undefined where there is none. */
export function planFor(
  { plans }: Facts,
  code: number,
  l: Launch,
): Plan | undefined {
  const plan = plans.get(code);
  if (plan === undefined || plan.outerRank !== l.outerRank) return undefined;
  if (!same(plan.sizes, l.sizes)) return undefined;
  const { inputs, outputs } = l;
  const { strides } = plan;
  for (let i = 0; i < inputs.length; i++) {
    if (!same(strides[i], inputs[i].strides)) return undefined;
  }
  for (let i = 0; i < outputs.length; i++) {
    if (!same(strides[inputs.length + i], outputs[i].strides)) return undefined;
  }
  return plan;
}

/** Keeps how a launch was done; its parameters must be those filled in last. */
export function keepPlan(
  { plans }: Facts,
  code: number,
  l: Launch,
  strides: readonly (readonly number[])[],
  { kernel, blocks, sharedBytes }: Prepared,
): void {
  if (plans.size >= mostPlans) plans.clear();
  const { sizes, outerRank } = l;
  plans.set(code, {
    kernel,
    blocks,
    sharedBytes,
    sizes,
    outerRank,
    strides,
    fixed: fixedWords(kernel.params),
  });
}

/** Queues a kernel with the parameters filled in last. */
export function queue(
  context: CudaContext,
  { kernel, blocks, sharedBytes }: Prepared,
): void {
  const { fn, threads, params } = kernel;
  const bytes = paramBytes(params);
  context.launch(fn, blocks, 1, 1, threads, sharedBytes, bytes);
}

/** Queues a launch as it was done before. */
export function runPlan(context: CudaContext, plan: Plan, l: Launch): void {
  refill(plan.kernel.params, l, plan.fixed);
  queue(context, plan);
}
