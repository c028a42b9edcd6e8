/**
 * Runs row programs on the CPU: merges axes, and picks the way in which the
 * rest is walked.
 *
 * @module
 */

import type { Launch, Strided } from "../../core/device.ts";
import { mergeAxes, product } from "../../kernel/walk.ts";
import { execute } from "./launch_execute.ts";
import { runSplit, splits } from "./launch_split.ts";
import { runTransposed } from "./launch_transposed.ts";

/** Elements that a kernel can count: it does so in signed 32-bit integers. */
const maxElements = 2 ** 31 - 1;

function checkElements({ sizes, limits }: Launch): void {
  let count = product(sizes, 0, sizes.length);
  for (const limit of limits) count = Math.max(count, limit);
  if (count > maxElements) {
    throw new RangeError(
      `Cannot run a kernel over ${count} elements on the CPU: it takes at most ${maxElements}; work on parts of the tensor`,
    );
  }
}

/**
 * Runs a launch to its end.
 *
 * @throws {RangeError} when there are 2³¹ elements or more.
 */
export function launch(l: Launch): void {
  const { program: p, sizes, outerRank } = l;
  checkElements(l);
  if (sizes.includes(0)) {
    // Nothing to walk, but per-row outputs of empty rows hold the identity.
    emptyRows(l);
    return;
  }
  const operands: readonly Strided[] = l.inputs.concat(l.outputs);
  const strides = new Array<readonly number[]>(operands.length);
  for (let i = 0; i < strides.length; i++) strides[i] = operands[i].strides;
  const walk = sizes.length === 1 || p.usesCoords
    ? { sizes, outerRank, strides }
    : mergeAxes(sizes, outerRank, strides);
  if (splits(p, walk)) runSplit(l, walk);
  else if (!runTransposed(l, walk, operands)) {
    execute(p, walk, operands, l.limits, l.scalars);
  }
}

function emptyRows(l: Launch): void {
  const outer = l.sizes.slice(0, l.outerRank);
  if (outer.includes(0) || !l.program.outputs.some((o) => o.per === "row")) {
    return;
  }
  // One pass over no elements: a row loop whose inner extent is zero.
  const operands = [...l.inputs, ...l.outputs];
  const walk = {
    sizes: [...outer, 0],
    outerRank: l.outerRank,
    strides: operands.map((o) => [...o.strides.slice(0, l.outerRank), 0]),
  };
  execute(l.program, walk, operands, l.limits, l.scalars);
}
