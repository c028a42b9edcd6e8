/**
 * Runs row programs on a GPU: merges axes, picks the shape of the kernel,
 * finds or compiles it, and queues it.
 *
 * @module
 */

import type { Launch } from "../../core/device.ts";
import { mergeAxes, type Walk } from "../../kernel/walk.ts";
import type { CudaContext } from "./context.ts";
import { launchElements } from "./launch_elements.ts";
import { type Facts, factsOf } from "./launch_facts.ts";
import { launchMany } from "./launch_many.ts";
import { checkLoads, checkPositions, stridesOf } from "./launch_operands.ts";
import { runRows } from "./launch_rows.ts";
import { runSplit } from "./launch_split.ts";

/**
 * Queues a row program.
 *
 * @throws {RangeError} when an operand that is read at computed offsets has more than 2³¹ elements, or there are as many positions.
 */
export function launch(context: CudaContext, l: Launch): void {
  const facts = factsOf(context, l.program);
  const { sizes } = l;
  if (!facts.perRow) {
    launchElements(context, facts, l);
    return;
  }
  checkLoads(facts, l);
  checkPositions(facts, l);
  const { program: p, outerRank } = l;
  const strides = stridesOf(l);
  if (sizes.includes(0)) {
    emptyRows(context, facts, l, strides);
    return;
  }
  const walk = withInnerAxis(
    p.usesCoords
      ? { sizes, outerRank, strides }
      : mergeAxes(sizes, outerRank, strides),
  );
  if (!runSplit(context, facts, l, walk)) runRows(context, facts, l, walk);
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
): void {
  const outer = l.sizes.slice(0, l.outerRank);
  if (outer.includes(0) || !l.program.outputs.some((o) => o.per === "row")) {
    return;
  }
  runRows(context, facts, l, {
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
