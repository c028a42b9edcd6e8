/**
 * Runs row programs on a GPU: merges axes, picks the shape of the kernel,
 * finds or compiles it, and queues it.
 *
 * @module
 */

import type { Launch } from "../../core/device.ts";
import { mergeAxes, type Walk } from "../../kernel/walk.ts";
import type { CudaContext } from "./context.ts";
import { launchFlat, prepareElements } from "./launch_elements.ts";
import { type Facts, factsOf } from "./launch_facts.ts";
import { launchMany } from "./launch_many.ts";
import { checkLoads, checkPositions, stridesOf } from "./launch_operands.ts";
import {
  keepPlan,
  planCode,
  planFor,
  type Prepared,
  queue,
  runPlan,
} from "./launch_plans.ts";
import { prepareRows } from "./launch_rows.ts";
import { runSplit } from "./launch_split.ts";

/**
 * Queues a row program.
 *
 * @throws {RangeError} when an operand that is read at computed offsets has more than 2³¹ elements, or there are as many positions.
 */
export function launch(context: CudaContext, l: Launch): void {
  const facts = factsOf(context, l.program);
  if (!facts.perRow && launchFlat(context, facts, l)) return;
  checkLoads(facts, l);
  const code = planCode(l);
  const plan = code < 0 ? undefined : planFor(facts, code, l);
  if (plan !== undefined) {
    runPlan(context, plan, l);
    return;
  }
  checkPositions(facts, l);
  const strides = stridesOf(l);
  const prepared = facts.perRow
    ? rowsOf(context, facts, l, strides)
    : l.sizes.includes(0)
    ? undefined
    : prepareElements(context, facts, l, strides);
  if (prepared === undefined) return;
  queue(context, prepared);
  if (code >= 0) keepPlan(facts, code, l, strides, prepared);
}

/** A kernel over rows; undefined where there is none to launch, or several have been. */
function rowsOf(
  context: CudaContext,
  facts: Facts,
  l: Launch,
  strides: readonly (readonly number[])[],
): Prepared | undefined {
  const { program: p, sizes, outerRank } = l;
  if (sizes.includes(0)) return emptyRows(context, facts, l, strides);
  const walk = withInnerAxis(
    p.usesCoords
      ? { sizes, outerRank, strides }
      : mergeAxes(sizes, outerRank, strides),
  );
  return runSplit(context, facts, l, walk)
    ? undefined
    : prepareRows(context, facts, l, walk);
}

/** Queues launches of one program that have nothing to do with each other, in few kernels. */
export function launchAll(
  context: CudaContext,
  launches: readonly Launch[],
): void {
  launchMany(context, launches, (l) => launch(context, l));
}

/** Rows with no element: per-row outputs hold what a reduction of nothing gives. */
function emptyRows(
  context: CudaContext,
  facts: Facts,
  l: Launch,
  strides: readonly (readonly number[])[],
): Prepared | undefined {
  const outer = l.sizes.slice(0, l.outerRank);
  if (outer.includes(0) || !l.program.outputs.some((o) => o.per === "row")) {
    return undefined;
  }
  return prepareRows(context, facts, l, {
    sizes: [...outer, 0],
    outerRank: l.outerRank,
    strides: strides.map((own) => [...own.slice(0, l.outerRank), 0]),
  });
}

/** The walk, with an inner axis of one element where it has none. */
function withInnerAxis(walk: Walk): Walk {
  if (walk.sizes.length > walk.outerRank) return walk;
  return {
    sizes: [...walk.sizes, 1],
    outerRank: walk.outerRank,
    strides: walk.strides.map((own) => [...own, 0]),
  };
}
