/**
 * Elementwise kernels with operands that lie in another order than the
 * results: those operands are brought into order first, which costs less than
 * collecting them element by element.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import type { Launch, Strided } from "../../core/device.ts";
import { contiguousStrides } from "../../core/shape.ts";
import { product, type Walk } from "../../kernel/walk.ts";
import { execute, factsOf } from "./launch_execute.ts";
import { allocate, release } from "./memory.ts";
import { maxOuterAxes, transpose } from "./transpose.ts";

/** Elements below which another kernel costs more than it saves. */
const fewElements = 1 << 11;

/** Runs a launch that has transposed operands; false when it has none. */
export function runTransposed(
  l: Launch,
  walk: Walk,
  operands: readonly Strided[],
): boolean {
  const { program: p } = l;
  const { sizes } = walk;
  const rank = sizes.length;
  if (rank < 2 || rank > maxOuterAxes || p.usesCoords) return false;
  const size = product(sizes, 0, rank);
  if (size < fewElements) return false;
  const facts = factsOf(p);
  if (facts.perRow || facts.linear) return false;
  const axes = p.inputs.map((_, i) =>
    bytesOf(operands[i].dtype) === 4 ? sideAxis(walk, i) : -1
  );
  if (axes.every((axis) => axis < 0)) return false;
  const output = p.inputs.length;
  if (
    operands.length === 2 && p.outputs[0].value.op === "input" &&
    p.inputs[0] === p.outputs[0].dtype && walk.strides[1][rank - 1] === 1
  ) {
    reorder(
      walk,
      axes[0],
      operands[0],
      0,
      addressOf(operands[1]),
      walk.strides[1],
    );
    return true;
  }
  const ordered = contiguousStrides(sizes);
  const inOrder = [...operands], strides = [...walk.strides];
  const taken: number[] = [];
  try {
    for (let i = 0; i < output; i++) {
      if (axes[i] < 0) continue;
      const address = allocate(4 * size);
      taken.push(address);
      reorder(walk, axes[i], operands[i], i, address, ordered);
      const storage = { ...operands[i].storage, address } as Strided["storage"];
      inOrder[i] = {
        storage,
        dtype: operands[i].dtype,
        offset: 0,
        strides: ordered,
      };
      strides[i] = ordered;
    }
    execute(p, { ...walk, strides }, inOrder, l.limits, l.scalars);
  } finally {
    taken.forEach(release);
  }
  return true;
}

/** The axis along which an operand that jumps along the last one lies side by side; −1 where there is none. */
function sideAxis({ sizes, strides }: Walk, operand: number): number {
  const own = strides[operand];
  const last = sizes.length - 1;
  if (own[last] <= 1 || sizes[last] < 4 || own.includes(0)) return -1;
  return own.findIndex((stride, d) => stride === 1 && sizes[d] >= 4);
}

function addressOf({ storage, offset, dtype }: Strided): number {
  return storage.address + offset * bytesOf(dtype);
}

/** Copies operand `i` to an address, with the given strides there. */
function reorder(
  { sizes, strides }: Walk,
  axis: number,
  operand: Strided,
  i: number,
  address: number,
  target: readonly number[],
): void {
  const own = strides[i];
  const last = sizes.length - 1;
  transpose({
    source: addressOf(operand),
    target: address,
    rows: sizes[axis],
    columns: sizes[last],
    sourceStep: 4 * own[last],
    targetStep: 4 * target[axis],
    outer: sizes.flatMap((extent, d) =>
      d === axis || d === last
        ? []
        : [[extent, 4 * own[d], 4 * target[d]] as const]
    ),
  });
}
