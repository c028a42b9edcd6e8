/**
 * What the launcher knows of a program, whatever its sizes, and the kernels
 * that were compiled for it on one device.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import { streamsOf, uses } from "../../kernel/cuda/emit.ts";
import { loadsOf } from "../../kernel/cuda/loads.ts";
import {
  type ParamLayout,
  render,
  type Step,
  type Variant,
} from "../../kernel/cuda/render.ts";
import { keptWords, repeatedOperands } from "../../kernel/cuda/walks.ts";
import * as k from "../../kernel/expr.ts";
import { isArg, type Program, roots } from "../../kernel/program.ts";
import type { CudaContext, CudaFunction } from "./context.ts";
import type { Plan } from "./launch_plans.ts";
import type { SplitPrograms } from "./launch_split_programs.ts";

/** A compiled kernel and how it is called. */
export interface Kernel {
  /** What the driver launches. */
  readonly fn: CudaFunction;
  /** Threads of a block. */
  readonly threads: number;
  /** Places of its parameters. */
  readonly params: ParamLayout;
}

/** What is known about a program. */
export interface Facts {
  /** Whether there is a reduction or an output per row. */
  readonly perRow: boolean;
  /** Whether it finds positions in rows. */
  readonly finds: boolean;
  /** Number of inputs and outputs. */
  readonly operands: number;
  /** Inputs that are read at their own position. */
  readonly streams: readonly number[];
  /** Inputs that are loaded from at computed offsets. */
  readonly loads: readonly number[];
  /** Elements that a thread may take at once: 16 bytes of the widest operand. */
  readonly lanes: number;
  /** Inputs that more than one walk over a row reads. */
  readonly repeated: readonly number[];
  /** Registers per element for values that walks share. */
  readonly kept: number;
  /** Whether an output per row uses the row's linear index. */
  readonly rowLinear: boolean;
  /** Kernels of the most common shapes, by a number. */
  readonly kernels: Map<number, Kernel>;
  /** Other kernels by the numbers of their shape and of their operands' steps: both small, for which maps are fast. */
  readonly variants: Map<number, Map<number | string, Kernel>>;
  /** How launches were done, by their codes. */
  readonly plans: Map<number, Plan>;
  /** The programs of a reduction in pieces, once it was cut. */
  split: SplitPrograms | undefined;
}

/** Expression nodes of all lanes together, beyond which a thread takes fewer elements at once. */
const unrolledNodes = 1024;

const perDevice = new WeakMap<CudaContext, WeakMap<Program, Facts>>();
let lastContext: CudaContext | undefined;
let lastFacts: WeakMap<Program, Facts> = new WeakMap();

/** The facts about a program on a device. */
export function factsOf(context: CudaContext, p: Program): Facts {
  if (context !== lastContext) {
    let facts = perDevice.get(context);
    if (facts === undefined) perDevice.set(context, facts = new WeakMap());
    lastContext = context;
    lastFacts = facts;
  }
  let facts = lastFacts.get(p);
  if (facts === undefined) lastFacts.set(p, facts = study(p));
  return facts;
}

function study(p: Program): Facts {
  const exprs = roots(p);
  const streams = streamsOf(exprs);
  let widest = 1, nodes = 0;
  for (const i of streams) widest = Math.max(widest, bytesOf(p.inputs[i]));
  for (const o of p.outputs) {
    if (o.per === "element") widest = Math.max(widest, bytesOf(o.dtype));
  }
  k.traverse(exprs, (e) => {
    nodes += e.args.length > 0 ? 1 : 0;
  });
  let lanes = 16 / widest;
  while (lanes > 4 && lanes * nodes > unrolledNodes) lanes /= 2;
  return {
    perRow: p.stages.length > 0 || p.outputs.some((o) => o.per === "row"),
    finds: p.stages.some(isArg),
    operands: p.inputs.length + p.outputs.length,
    streams,
    loads: loadsOf(exprs),
    lanes,
    repeated: repeatedOperands(p),
    kept: keptWords(p),
    rowLinear: uses(
      p.outputs.filter((o) => o.per === "row").map((o) => o.value),
      "linear",
    ),
    kernels: new Map(),
    variants: new Map(),
    plans: new Map(),
    split: undefined,
  };
}

/** Called with each kernel that is rendered, when something wants to see them all (tests that compile a whole suite's). */
export const kernelObserver: {
  rendered?: (source: string, entry: string) => void;
} = {};

/** Renders and compiles a variant. */
export function compileVariant(
  context: CudaContext,
  p: Program,
  variant: Variant,
): Kernel {
  const { source, entry, threads, params } = render(p, variant);
  kernelObserver.rendered?.(source, entry);
  return { fn: context.compile(source, entry), threads, params };
}

const stepCodes: Readonly<Record<Step, number>> = {
  fixed: 0,
  row: 1,
  unit: 2,
  any: 3,
};

/** Names the steps of operands. */
function stepsCode(steps: readonly Step[]): number | string {
  // More of them make a number that is not exact.
  if (steps.length > 26) return steps.join();
  let code = 0;
  for (let i = 0; i < steps.length; i++) code = 4 * code + stepCodes[steps[i]];
  return code;
}

/**
 * The kernel of a variant of a program, compiled when it is the first time.
 *
 * @param shape A number that is the same for variants which differ in nothing but the steps of their operands.
 */
export function variantKernel(
  context: CudaContext,
  facts: Facts,
  p: Program,
  shape: number,
  variant: Variant,
): Kernel {
  let kernels = facts.variants.get(shape);
  if (kernels === undefined) facts.variants.set(shape, kernels = new Map());
  const code = stepsCode(variant.steps);
  let kernel = kernels.get(code);
  if (kernel === undefined) {
    kernels.set(code, kernel = compileVariant(context, p, variant));
  }
  return kernel;
}
