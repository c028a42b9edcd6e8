/**
 * Padding in all modes, and sequences padded to one length.
 *
 * @module
 */

import { oneOf, value } from "../core/attributes.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { operator } from "../core/op.ts";
import type { Tensor } from "../core/tensor.ts";
import { expand, reshape } from "./foundation.ts";
import { concat, stack } from "./joining.ts";
import { flip } from "./repeating.ts";
import { t } from "./samples.ts";
import { narrow, select } from "./slicing.ts";
import { type Layout, placed, viewOf } from "./views.ts";

/** What padding holds: one value, the reflection at the edge, the edge itself, or the other end. */
export type PadMode = "constant" | "reflect" | "replicate" | "circular";

/** Options of {@linkcode pad}. */
export interface PadOptions {
  /** What the padding holds. */
  mode?: PadMode;
  /** Value of constant padding. */
  value?: number;
}

/** Positions added before and after each axis; the list names the last axis first. */
function paddingOf(
  widths: readonly number[],
  x: Tensor,
): { before: number[]; after: number[] } {
  const axes = widths.length / 2;
  if (
    !Number.isInteger(axes) || axes > x.rank ||
    widths.some((n) => !Number.isInteger(n))
  ) {
    throw new ShapeError(
      `Cannot pad a tensor of shape ${shapeText(x.shape)} by [${
        widths.join(", ")
      }]: give two integers per axis, the last axis first, for at most ${x.rank} axes`,
    );
  }
  const before = x.shape.map(() => 0), after = x.shape.map(() => 0);
  for (let i = 0; i < axes; i++) {
    before[x.rank - 1 - i] = widths[2 * i];
    after[x.rank - 1 - i] = widths[2 * i + 1];
  }
  x.shape.forEach((n, d) => {
    if (n + before[d] + after[d] < 0) {
      throw new ShapeError(
        `Cannot pad axis ${d} of a tensor of shape ${shapeText(x.shape)} by ${
          before[d]
        } and ${after[d]}: fewer than no positions would be left`,
      );
    }
  });
  return { before, after };
}

/** The part that padding moves: from `from` on, `count` positions of each axis. */
function box(
  { strides, offset }: Layout,
  from: readonly number[],
  count: readonly number[],
): Layout {
  return {
    shape: count,
    strides,
    offset: count.includes(0)
      ? offset
      : from.reduce((at, n, d) => at + n * strides[d], offset),
  };
}

function padBox(
  x: Tensor,
  before: readonly number[],
  after: readonly number[],
  value: number,
): Tensor {
  const kept = x.shape.map((n, d) =>
    Math.max(0, n + Math.min(0, before[d]) + Math.min(0, after[d]))
  );
  const shape = x.shape.map((n, d) => n + before[d] + after[d]);
  // Where all is cut away by one side alone, nothing is copied.
  const inner = kept.map((n, d) => Math.min(n, shape[d]));
  const source = viewOf(
    x,
    (whole) => box(whole, before.map((n) => Math.max(0, -n)), inner),
  );
  const result = placed(
    source,
    shape,
    (whole) => box(whole, before.map((n) => Math.max(0, n)), inner),
    value,
  );
  source.dispose();
  return result;
}

/** One axis with its reflection, its edges or its other end on both sides. */
function extended(
  x: Tensor,
  axis: number,
  left: number,
  right: number,
  mode: Exclude<PadMode, "constant">,
): Tensor {
  const cut = Math.max(0, -left);
  const extent = x.shape[axis] - cut - Math.max(0, -right);
  const core = cut > 0 || right < 0 ? narrow(x, axis, cut, extent) : x;
  const before = Math.max(0, left), after = Math.max(0, right);
  if (before === 0 && after === 0) return core;
  const most = { reflect: extent - 1, replicate: Infinity, circular: extent };
  if (extent < 1 || before > most[mode] || after > most[mode]) {
    throw new ShapeError(
      `Cannot pad axis ${axis} of a tensor of shape ${
        shapeText(x.shape)
      } by ${left} and ${right} in mode "${mode}": its extent allows at most ${
        extent < 1 ? 0 : most[mode]
      }`,
    );
  }
  const piece = (from: number, count: number) =>
    narrow(core, axis, from, count);
  const edge = (from: number, count: number) => {
    const one = piece(from, 1);
    return expand(one, one.shape.map((n, d) => d === axis ? count : n));
  };
  const [first, last] = {
    reflect: () => [
      flip(piece(Math.min(1, before), before), axis),
      flip(piece(extent - 1 - after, after), axis),
    ],
    replicate: () => [edge(0, before), edge(extent - 1, after)],
    circular: () => [piece(extent - before, before), piece(0, after)],
  }[mode]();
  return concat([first, core, last], axis);
}

/**
 * Padding with one value: what {@linkcode pad} does in mode `"constant"`, and
 * its own gradient.
 *
 * @throws {ShapeError} when the widths do not fit the axes.
 */
export const constantPad: (
  x: Tensor,
  widths: readonly number[],
  value?: number,
) => Tensor = operator<
  (x: Tensor, widths: readonly number[], value?: number) => Tensor,
  { widths: readonly number[]; value: number }
>({
  name: "constantPad",
  family: "shape",
  inputs: ["x"],
  attrs: { widths: [], value: 0 },
  bind: (x, widths, value) => ({ inputs: [x], attrs: { widths, value } }),
  formula: "y[…, i, …] = x[…, i − before, …], value outside",
  torch: "F.pad(x, widths, value=value)",
  onnx: "Pad",
  saves: [],
  run: ([x], { widths, value }) => {
    const { before, after } = paddingOf(widths, x);
    return padBox(x, before, after, value);
  },
  // ∂pad: the gradient with the padding cut off, and zeros where x was cut
  gradient: ({ grad, attrs: { widths } }) => [
    constantPad(grad, widths.map((n) => -n), 0),
  ],
  samples: [
    [t([2, 3]), [1, 2], 0],
    [t([2, 3]), [-1, 1, 2, -1], 7],
    [t([2, 2, 2]), [0, 0, 0, 0, 1, 0], 0],
  ],
});

/**
 * Pads axes at both ends. `widths` lists two numbers per axis, the last axis
 * first: `[left, right, top, bottom, …]`; negative ones cut off.
 *
 * @throws {ShapeError} when a reflection or the other end is not long enough.
 */
export const pad: (
  x: Tensor,
  widths: readonly number[],
  options?: PadOptions,
) => Tensor = operator<
  (x: Tensor, widths: readonly number[], options?: PadOptions) => Tensor,
  { widths: readonly number[]; mode: PadMode; value: number }
>({
  name: "pad",
  family: "shape",
  inputs: ["x"],
  attrs: { widths: [], mode: "constant", value: 0 },
  rules: { mode: oneOf("constant", "reflect", "replicate", "circular") },
  bind: (x, widths, options) => ({
    inputs: [x],
    attrs: { widths, ...options },
  }),
  formula:
    "y[…, i, …] = x[…, m(i − before), …], m(j) = j inside; outside value, m(j) = |j| or 2(n − 1) − j (reflect), min(max(j, 0), n − 1) (replicate), j mod n (circular)",
  torch: 'F.pad(x, widths, mode, value if mode == "constant" else None)',
  onnx: "Pad",
  caffe2: "PadImage",
  run: ([x], { widths, mode, value }) => {
    if (mode === "constant") return constantPad(x, widths, value);
    const { before, after } = paddingOf(widths, x);
    let result = reshape(x, x.shape);
    for (let d = x.rank - 1; d >= 0; d--) {
      result = extended(result, d, before[d], after[d], mode);
    }
    return result;
  },
  samples: [
    [t([2, 3]), [1, 2]],
    [t([2, 3]), [1, 2, 0, 1], { value: -1.5 }],
    [t([2, 3]), [-1, 1, 1, -2]],
    [t([3]), [-1, -2]],
    [t([0, 2]), [1, 1, 1, 0]],
    [t([2], { dtype: "i64" }), [1, 0], { value: 3 }],
    [t([2, 3]), []],
    [t([1, 2, 4]), [2, 3], { mode: "reflect" }],
    [t([1, 3, 4]), [1, 3, 2, 1], { mode: "reflect" }],
    [t([1, 4, 4]), [-1, 2, 1, -2], { mode: "reflect" }],
    [t([1, 2, 3]), [4, 1], { mode: "replicate" }],
    [t([1, 2, 3]), [1, 0, 0, 3], { mode: "replicate" }],
    [t([1, 1, 2, 2, 2]), [1, 1, 1, 1, 2, 1], { mode: "replicate" }],
    [t([1, 2, 3]), [3, 2], { mode: "circular" }],
    [t([1, 3, 3]), [1, 2, 2, 0], { mode: "circular" }],
  ],
});

// ---- padded sequences ----

/** How {@linkcode padSequence} lays its result out. */
export interface PadSequenceOptions {
  /** Whether the batch comes before the time. */
  batchFirst?: boolean;
  /** What stands behind the end of short sequences. */
  paddingValue?: number;
}

/**
 * Sequences of different lengths [Tᵢ, …] as one tensor [max T, batch, …], the
 * short ones padded at the end.
 *
 * @throws {ShapeError} when extents after the first differ.
 */
export const padSequence: (
  xs: readonly Tensor[],
  options?: PadSequenceOptions,
) => Tensor = operator<
  (xs: readonly Tensor[], options?: PadSequenceOptions) => Tensor,
  Required<PadSequenceOptions>
>({
  name: "padSequence",
  family: "shape",
  inputs: ["...xs"],
  attrs: { batchFirst: false, paddingValue: 0 },
  rules: { paddingValue: value },
  bind: (xs, options) => ({ inputs: xs, attrs: options }),
  formula: "y[t, b, …] = (t < T_b ? x_b[t, …] : paddingValue)",
  torch: "torch.nn.utils.rnn.pad_sequence(xs, batchFirst, paddingValue)",
  caffe2: "PackSegments",
  run: (xs, { batchFirst, paddingValue }) => {
    const scalar = xs.length === 0 || xs.some((x) => x.rank === 0);
    if (scalar) {
      throw new ShapeError(
        `Cannot pad sequences of shapes ${
          xs.map((x) => shapeText(x.shape)).join(", ") || "(none)"
        }: give at least one tensor, each with a time axis`,
      );
    }
    const longest = Math.max(...xs.map((x) => x.shape[0]));
    const padded = xs.map((x) => {
      const missing = longest - x.shape[0];
      const widths = [...new Array<number>(2 * x.rank - 1).fill(0), missing];
      return missing === 0 ? x : pad(x, widths, { value: paddingValue });
    });
    return stack(padded, batchFirst ? 0 : 1);
  },
  samples: [
    [[t([3, 2]), t([1, 2])]],
    [[t([1]), t([3]), t([2])], { batchFirst: true, paddingValue: -1 }],
  ],
});

/**
 * The sequences [lengthᵢ, …] in a padded tensor, without a copy: the inverse
 * of {@linkcode padSequence}.
 *
 * @throws {ShapeError} when there is not one length per sequence.
 */
export const unpadSequence: (
  x: Tensor,
  lengths: readonly number[],
  options?: { batchFirst?: boolean },
) => Tensor[] = operator<
  (
    x: Tensor,
    lengths: readonly number[],
    options?: { batchFirst?: boolean },
  ) => Tensor[],
  { lengths: readonly number[]; batchFirst: boolean }
>({
  name: "unpadSequence",
  family: "shape",
  inputs: ["x"],
  attrs: { lengths: [], batchFirst: false },
  bind: (x, lengths, options) => ({
    inputs: [x],
    attrs: { lengths, ...options },
  }),
  formula: "y_b[t, …] = x[t, b, …], t < lengths[b]",
  torch:
    "[x.select(0 if batchFirst else 1, i)[:n] for i, n in enumerate(lengths)]",
  caffe2: "UnpackSegments",
  run: ([x], { lengths, batchFirst }) => {
    const batch = batchFirst ? 0 : 1;
    if (x.rank < 2 || lengths.length !== x.shape[batch]) {
      throw new ShapeError(
        `Cannot unpad a tensor of shape ${
          shapeText(x.shape)
        } with ${lengths.length} lengths: there must be one for each position of axis ${batch}`,
      );
    }
    return lengths.map((length, i) =>
      narrow(select(x, batch, i), 0, 0, length)
    );
  },
  samples: [
    [t([3, 2, 2]), [3, 1]],
    [t([2, 3]), [2, 3], { batchFirst: true }],
  ],
});
