/**
 * Products of matrices whose elements are brought to eight bits first, with
 * one scale per matrix.
 *
 * @module
 */

import type { DType } from "../core/dtype.ts";
import { promote } from "../core/dtype.ts";
import { DTypeError, ShapeError, shapeText } from "../core/errors.ts";
import { materialize } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { abs, div, mul } from "./arithmetic.ts";
import { eq, where } from "./comparison.ts";
import { max } from "./extrema.ts";
import { cast, reshape } from "./foundation.ts";
import { type Fp8Format, fromFp8, layoutOf, toFp8 } from "./fp8.ts";
import { batchMatmul } from "./matmul.ts";
import { asRows, isProductType } from "./products.ts";
import { t } from "./samples.ts";
import { transpose } from "./shape.ts";

/** Options of {@linkcode scaledMatmul}. */
export interface ScaledMatmulOptions {
  /** Format of a; "e4m3" when omitted. */
  formatA?: Fp8Format;
  /** Format of b; "e4m3" when omitted. */
  formatB?: Fp8Format;
}

/** Signature of {@linkcode scaledMatmul}. */
export type ScaledMatmul = (
  a: Tensor,
  b: Tensor,
  options?: ScaledMatmulOptions,
) => Tensor;

/** A matrix in eight bits: value = scale · number of the byte. */
interface Scaled {
  readonly bytes: Tensor;
  readonly scale: Tensor;
}

/** x in eight bits, scaled so that its largest element is the format's largest number. */
function quantize(x: Tensor, format: Fp8Format, wide: DType): Scaled {
  const values = cast(x, wide);
  const largest = max(abs(values));
  const scale = where(
    eq(largest, 0),
    1,
    div(largest, layoutOf(format).largest),
  );
  return { bytes: toFp8(div(values, scale), { format }), scale };
}

function check(a: Tensor, b: Tensor): void {
  if (a.rank === 0 || b.rank !== 2 || a.shape[a.rank - 1] !== b.shape[0]) {
    throw new ShapeError(
      `Cannot multiply tensors of shapes ${shapeText(a.shape)} and ${
        shapeText(b.shape)
      } in 8 bits: the second must be a matrix [in, out], and the last axis of the first must be in`,
    );
  }
  if (a.dtype !== b.dtype || !isProductType(a.dtype)) {
    throw new DTypeError(
      `Cannot multiply tensors of dtypes ${a.dtype} and ${b.dtype} in 8 bits: both must have one floating-point type`,
    );
  }
}

/** The product by the device's library; undefined when it does not take it. */
function scaled(
  a: Scaled,
  b: Scaled,
  { formatA, formatB }: Required<ScaledMatmulOptions>,
  dtype: DType,
): Tensor | undefined {
  const { device } = a.bytes;
  const kernel = device.kernels.scaledProduct;
  if (kernel === undefined || !isProductType(dtype) || dtype === "f64") {
    return undefined;
  }
  const [m, k] = a.bytes.shape;
  const n = b.bytes.shape[0];
  for (const { bytes, scale } of [a, b]) {
    materialize(bytes.value);
    materialize(scale.value);
  }
  const c = new Tensor(Value.empty(device, dtype, [m, n]));
  const taken = kernel({
    dtype,
    m,
    n,
    k,
    formatA,
    formatB,
    a: a.bytes.value,
    b: b.bytes.value,
    scaleA: a.scale.value,
    scaleB: b.scale.value,
    c: c.value,
  });
  if (taken) return c;
  c.dispose();
  return undefined;
}

const torchQuantize =
  "lambda x, f: (lambda x, f: (lambda s: (x / s).to(f).to(x.dtype) * s)(torch.where(x.abs().max() == 0, 1, x.abs().max() / torch.finfo(f).max)))(x.to(torch.promote_types(x.dtype, torch.float32)), {'e4m3': torch.float8_e4m3fn, 'e5m2': torch.float8_e5m2}[f])";

/**
 * a·b with both brought to eight-bit floats, each scaled so that its largest
 * element is the largest number of the format; sums are kept in f32 (f64 for
 * f64). GPUs of compute capability 8.9 and above multiply the bytes where the
 * extents are multiples of 16; everywhere else the same numbers are multiplied
 * as f32.
 *
 * The gradient passes through the rounding as if it were the identity, and is
 * itself brought to `e5m2`, whose range is wider.
 *
 * @param a Tensor [..., in].
 * @param b Matrix [in, out] of the same dtype.
 * @returns Tensor [..., out] of that dtype.
 * @throws {ShapeError} when the extents do not fit.
 * @throws {DTypeError} for integers and unequal dtypes.
 */
export const scaledMatmul: ScaledMatmul = operator<
  ScaledMatmul,
  Required<ScaledMatmulOptions>
>({
  name: "scaledMatmul",
  family: "fp8",
  inputs: ["a", "b"],
  attrs: { formatA: "e4m3", formatB: "e4m3" },
  formula: "fp8(a) · fp8(b)",
  torch:
    `(lambda q: (q(a, formatA) @ q(b, formatB)).to(a.dtype))(${torchQuantize})`,
  run: ([a, b], formats) => {
    check(a, b);
    const { formatA, formatB } = formats;
    layoutOf(formatA);
    layoutOf(formatB);
    const shape = [...a.shape.slice(0, -1), b.shape[1]];
    const rows = asRows(a);
    const wide = promote(a.dtype, "f32");
    if (rows.size === 0 || b.size === 0) {
      return reshape(batchMatmul(rows, b), shape);
    }
    // The library wants the elements of each sum side by side in both factors.
    const left = quantize(rows, formatA, wide);
    const right = quantize(transpose(b), formatB, wide);
    const c = scaled(left, right, formats, a.dtype);
    if (c !== undefined) return reshape(c, shape);
    const product = batchMatmul(
      cast(fromFp8(left.bytes, { format: formatA }), wide),
      cast(fromFp8(right.bytes, { format: formatB }), wide),
      { transposeB: true },
    );
    const result = mul(product, mul(left.scale, right.scale));
    return reshape(cast(result, a.dtype), shape);
  },
  // As if nothing were rounded: da = g·bᵀ, db = aᵀ·g
  gradient: ({ inputs: [a, b], shapes, grad, attrs, needs }) => {
    const g = asRows(grad);
    const { formatA, formatB } = attrs;
    return [
      needs(0)
        ? reshape(
          scaledMatmul(g, transpose(b), { formatA: "e5m2", formatB }),
          shapes[0],
        )
        : undefined,
      needs(1)
        ? scaledMatmul(transpose(asRows(a)), g, { formatA, formatB: "e5m2" })
        : undefined,
    ];
  },
  samples: [
    // Rounding has no slope: PyTorch and differences know no gradient.
    [t([4, 6], { grad: false }), t([6, 5], { grad: false })],
    [
      t([2, 3, 8], { grad: false, low: -100, high: 100 }),
      t([8, 4], { grad: false, low: -0.01, high: 0.01 }),
      { formatA: "e5m2" },
    ],
    [
      t([16, 16], { grad: false, dtype: "bf16" }),
      t([16, 32], { grad: false, dtype: "bf16" }),
      { formatB: "e5m2" },
    ],
    [
      t([3], { grad: false, data: [0, 0, 0] }),
      t([3, 2], { grad: false }),
    ],
  ],
});
