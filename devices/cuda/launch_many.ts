/**
 * Many launches of one elementwise program in few kernels: the updates of all
 * parameters of a model, say. Each launch has parameters and blocks of its own.
 *
 * @module
 */

import type { Launch, Strided } from "../../core/device.ts";
import { manyEntries, type Step } from "../../kernel/cuda/render.ts";
import { maxParamBytes } from "../../kernel/cuda/params.ts";
import type { CudaContext } from "./context.ts";
import {
  compileVariant,
  type Facts,
  factsOf,
  type Kernel,
} from "./launch_facts.ts";
import { isAligned } from "./launch_operands.ts";
import { fillCount, fillOperands } from "./launch_params.ts";
import { bounds, elementBlocks } from "./launch_shape.ts";

const argument = new Uint8Array(maxParamBytes);
const ends = new Uint32Array(argument.buffer);

/** The steps of a launch's operands as a number; 0 where it must be a kernel of its own. */
function stepsOf(facts: Facts, l: Launch): number {
  if (facts.perRow || facts.loads.length > 0 || l.sizes.length !== 1) return 0;
  if (l.sizes[0] > bounds.narrow) return 0;
  let code = 1;
  for (const input of l.inputs) {
    const [stride] = input.strides;
    if (stride !== 0 && stride !== 1) return 0;
    if (stride === 1 && !isAligned(input, facts.lanes)) return 0;
    code = 2 * code + stride;
  }
  for (const output of l.outputs) {
    if (output.strides[0] !== 1 || !isAligned(output, facts.lanes)) return 0;
  }
  return code;
}

/** A launch for a single element, as one over an axis of one. */
function withAxis(l: Launch): Launch {
  if (l.sizes.length > 0) return l;
  const unit = <T extends Strided>(operand: T): T => ({
    ...operand,
    strides: [1],
  });
  return {
    ...l,
    sizes: [1],
    outerRank: 1,
    inputs: l.inputs.map(unit),
    outputs: l.outputs.map(unit),
  };
}

/** Launches that need not run one by one, and those that do. */
interface Sorted {
  readonly together: ReadonlyMap<number, readonly Launch[]>;
  readonly alone: readonly Launch[];
}

function sorted(facts: Facts, launches: readonly Launch[]): Sorted {
  const together = new Map<number, Launch[]>();
  const alone: Launch[] = [];
  for (const l of launches.map(withAxis)) {
    if (l.sizes.includes(0)) continue;
    const code = stepsOf(facts, l);
    if (code === 0) {
      alone.push(l);
      continue;
    }
    const group = together.get(code);
    if (group === undefined) together.set(code, [l]);
    else group.push(l);
  }
  return { together, alone };
}

function kernelFor(
  context: CudaContext,
  facts: Facts,
  code: number,
  l: Launch,
): Kernel {
  // Numbers of kernels for one launch are not below 0.
  let kernel = facts.kernels.get(-code);
  if (kernel === undefined) {
    const steps = [...l.inputs, ...l.outputs].map(({ strides }): Step =>
      strides[0] === 0 ? "fixed" : "unit"
    );
    kernel = compileVariant(context, l.program, {
      kind: "elements",
      rank: 1,
      steps,
      lanes: facts.lanes,
      ragged: facts.lanes > 1,
      wide: false,
      many: true,
    });
    facts.kernels.set(-code, kernel);
  }
  return kernel;
}

/** Queues one kernel for a few launches. */
function queue(
  context: CudaContext,
  facts: Facts,
  kernel: Kernel,
  launches: readonly Launch[],
): void {
  const { params: layout } = kernel;
  const entries = manyEntries(layout);
  argument.fill(0);
  let blocks = 0;
  launches.forEach((l, i) => {
    const bytes = fillOperands(layout, l);
    const [size] = l.sizes;
    const count = Math.ceil(size / facts.lanes);
    fillCount(layout, "count", count);
    fillCount(layout, "length", size);
    argument.set(bytes, 8 * entries + i * layout.bytes);
    blocks += elementBlocks(count, context.multiprocessors);
    ends[i] = blocks;
  });
  const used = argument.subarray(0, entries * (8 + layout.bytes));
  context.launch(kernel.fn, blocks, 1, 1, kernel.threads, 0, used);
}

/**
 * Queues launches of one program that have nothing to do with each other.
 *
 * @param alone Queues a launch that must have a kernel of its own.
 */
export function launchMany(
  context: CudaContext,
  launches: readonly Launch[],
  alone: (l: Launch) => void,
): void {
  if (launches.length < 2) return launches.forEach(alone);
  const facts = factsOf(context, launches[0].program);
  const groups = sorted(facts, launches);
  groups.alone.forEach(alone);
  for (const [code, group] of groups.together) {
    if (group.length === 1) {
      alone(group[0]);
      continue;
    }
    const kernel = kernelFor(context, facts, code, group[0]);
    const entries = manyEntries(kernel.params);
    for (let i = 0; i < group.length; i += entries) {
      queue(context, facts, kernel, group.slice(i, i + entries));
    }
  }
}
