/**
 * Masks and the positions where they are set, and indexing as Python does it.
 *
 * @module
 */

import { isFloat } from "../core/dtype.ts";
import {
  DTypeError,
  IndexError,
  ShapeError,
  shapeText,
} from "../core/errors.ts";
import { runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { broadcastShapes, contiguousStrides } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import { cast, expand, reshape } from "./foundation.ts";
import { wrapIndices } from "./index_values.ts";
import { flatPositions } from "./positions.ts";
import { ints, t } from "./samples.ts";
import { indexSelect, take } from "./selection.ts";
import { slice, type SlicePart, sliceParts } from "./slicing.ts";

function bools(data: readonly number[], shape: readonly number[]) {
  return t(shape, { dtype: "bool", data });
}

/**
 * Coordinates of the elements that are not 0, one row for each, in row-major
 * order: i64 [count, axes]. Waits for the count.
 */
export const nonzero: (x: Tensor) => Tensor = operator<(x: Tensor) => Tensor>({
  name: "nonzero",
  family: "indexing",
  inputs: ["x"],
  formula: "{(i₀, i₁, …) : x[i₀, i₁, …] ≠ 0}, ascending",
  torch: "torch.nonzero(x)",
  onnx: "NonZero",
  constant: true,
  run: ([x]) => {
    const positions = flatPositions(x);
    const { rank } = x;
    const [value] = runRows(x.device, {
      name: `coordinates ${rank}`,
      space: [positions.size, rank],
      axes: [],
      streams: [reshape(positions, [positions.size, 1]).value],
      scalars: [...contiguousStrides(x.shape), ...x.shape],
      scalarTypes: [...x.shape, ...x.shape].map(() => "i32"),
      passes: 1,
      build: ({ streams: [position], scalars, coord }) => {
        const at = k.cast(position, "i32");
        let result = k.constant(0, "i32");
        for (let d = 0; d < rank; d++) {
          const own = k.rem(k.div(at, scalars[d]), scalars[rank + d]);
          result = k.select(k.eq(coord(1), d), own, result);
        }
        return {
          stages: [],
          outputs: [{ dtype: "i64", value: result, per: "element" }],
        };
      },
    });
    return new Tensor(value);
  },
  samples: [
    [t([2, 3], { data: [0, 1, -2, 0, 0, NaN] })],
    [bools([1, 0, 1, 1], [4])],
    [ints([0, 5, 0, 6, 7, 0, 0, 8], [2, 2, 2])],
    [t([3], { data: [0, -0, 0] })],
    [t([], { data: [2] })],
    [t([0, 3])],
  ],
});

const masked = new Elementwise(
  "maskedFill",
  3,
  ([x, mask, value]) => k.select(k.ne(mask, 0), value, x),
  "promote",
  false,
);

/**
 * The elements of `x` with a number in place of those where the mask is true.
 *
 * @throws {DTypeError} when the mask is not bool, or the number no integer and `x` is.
 */
export const maskedFill: (x: Tensor, mask: Tensor, value: number) => Tensor =
  operator<(x: Tensor, mask: Tensor, value: number) => Tensor, {
    value: number;
  }>({
    name: "maskedFill",
    family: "indexing",
    inputs: ["x", "mask"],
    attrs: { value: 0 },
    bind: (x, mask, value) => ({ inputs: [x, mask], attrs: { value } }),
    formula: "mask ? value : x",
    torch: "x.masked_fill(mask, value)",
    onnx: "Where",
    run: ([x, mask], { value }) => {
      requireMask(mask, "fill");
      if (!isFloat(x.dtype) && !Number.isInteger(value)) {
        throw new DTypeError(
          `Cannot fill a tensor of dtype ${x.dtype} with ${value}: give an integer, or convert it with .cast("f32")`,
        );
      }
      const result = masked.apply([x, mask, value]);
      return result.dtype === x.dtype ? result : cast(result, x.dtype);
    },
    samples: [
      [t([2, 3]), bools([1, 0, 0, 1, 1, 0], [2, 3]), 1.5],
      [t([2, 3]), bools([1, 0, 0], [3]), -Infinity],
      [t([2, 3]), bools([1], []), 0],
      [t([3], { dtype: "i64" }), bools([0, 1, 0], [3]), 16777217],
      [bools([1, 0], [2]), bools([1, 0], [2]), 0],
      [t([3], { dtype: "bf16" }), bools([0, 1, 0], [3]), 0.1],
      [t([0, 3]), bools([1, 0, 0], [3]), 2],
    ],
  });

function requireMask(mask: Tensor, what: string): void {
  if (mask.dtype !== "bool") {
    throw new DTypeError(
      `Cannot ${what} where a tensor of dtype ${mask.dtype} says: a mask must be bool; compare it with something, or convert with .cast("bool")`,
    );
  }
}

/**
 * The elements where the mask is true, as a vector, in row-major order; `x`
 * and the mask are broadcast. Waits for their number.
 */
export const maskedSelect: (x: Tensor, mask: Tensor) => Tensor = operator<
  (x: Tensor, mask: Tensor) => Tensor
>({
  name: "maskedSelect",
  family: "indexing",
  inputs: ["x", "mask"],
  formula: "(x[i] : mask[i]), i ascending",
  torch: "torch.masked_select(x, mask)",
  onnx: "Compress",
  caffe2: "BooleanMask",
  run: ([x, mask]) => {
    requireMask(mask, "select");
    const shape = broadcastShapes([x.shape, mask.shape], "select by a mask of");
    return take(expand(x, shape), flatPositions(expand(mask, shape)));
  },
  samples: [
    [t([2, 3]), bools([1, 0, 0, 1, 1, 0], [2, 3])],
    [t([2, 3]), bools([1, 0, 1], [3])],
    [t([3]), bools([1, 0], [2, 1])],
    [t([3]), bools([0, 0, 0], [3])],
    [t([3], { dtype: "u8" }), bools([0, 1, 1], [3])],
  ],
});

/** What {@linkcode index} takes of an axis: see {@linkcode SlicePart}, or the positions (or the mask) in a tensor. */
export type IndexPart = SlicePart | Tensor;

/**
 * Python's `x[…]`: positions, ranges, null for all of an axis, `"..."`, and
 * at most one tensor: positions (negative ones count from the end), or a
 * mask as long as its axis.
 *
 * @throws {IndexError} when something is out of range.
 */
export const index: (x: Tensor, ...parts: IndexPart[]) => Tensor = operator<
  (x: Tensor, ...parts: IndexPart[]) => Tensor,
  { parts: readonly SlicePart[]; at: number }
>({
  name: "index",
  family: "indexing",
  inputs: ["x", "positions"],
  attrs: { parts: [], at: -1 },
  rules: { parts: sliceParts },
  bind: (x, ...parts: IndexPart[]) => {
    const isPlain = (p: IndexPart): p is SlicePart =>
      typeof p !== "object" || p === null || Array.isArray(p);
    const at = parts.findIndex((p) => !isPlain(p));
    if (parts.filter((p) => !isPlain(p)).length > 1) {
      throw new IndexError(
        "Cannot index with two tensors at once: index with one after the other, or use gather",
      );
    }
    return {
      inputs: [x, parts[at] as Tensor | undefined],
      attrs: { parts: parts.map((p) => isPlain(p) ? p : null), at },
    };
  },
  formula: "y[…, i, …] = x[…, start + i · step, …], or x[…, positions[i], …]",
  torch:
    "x[tuple(positions.cpu() if i == at else ... if p == '...' else slice(None) if p is None else p if isinstance(p, int) else slice(*(list(p) + [None, None])[:3]) for i, p in enumerate(parts))]",
  run: ([x, positions], { parts, at }) => {
    const cut = slice(x, parts);
    if (positions === undefined) return cut;
    // Numbers before the tensor drop axes; "..." stands for those not named.
    const dots = parts.slice(0, at).includes("...");
    const named = parts.filter((p) => p !== "...").length;
    const kept = parts.slice(0, at).filter((p) =>
      typeof p !== "number" && p !== "..."
    ).length;
    const axis = kept + (dots ? x.rank - named : 0);
    const extent = cut.shape[axis];
    if (positions.dtype !== "bool") {
      const wrapped = wrapIndices(
        positions,
        extent,
        `index axis ${axis} of a tensor of shape ${shapeText(cut.shape)}`,
      );
      return indexSelect(cut, axis, wrapped);
    }
    if (positions.rank !== 1 || positions.size !== extent) {
      throw new ShapeError(
        `Cannot index axis ${axis} of a tensor of shape ${
          shapeText(cut.shape)
        } with a mask of shape ${
          shapeText(positions.shape)
        }: it must be a vector of ${extent}; maskedSelect takes other masks`,
      );
    }
    return indexSelect(cut, axis, flatPositions(positions));
  },
  samples: [
    [t([3, 4]), 1],
    [t([3, 4]), [0, 2], -1],
    [t([2, 3, 4]), "...", ints([3, -1, 0], [3])],
    [t([2, 3, 4]), 1, ints([2, 0], [2]), [1, null, 2]],
    [t([2, 3]), ints([1, 0, 0, 1], [2, 2])],
    [t([2, 3]), null, bools([1, 0, 1], [3])],
  ],
});
