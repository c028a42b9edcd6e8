/**
 * Numbers of eight bits as GPUs multiply them: `e4m3` (3 bits of mantissa, up
 * to 448, no infinities) and `e5m2` (2 bits of mantissa, up to 57344). Tensors
 * of such numbers are tensors of their bytes, of dtype u8.
 *
 * Micikevicius et al., FP8 Formats for Deep Learning, 2022.
 *
 * @module
 */

import { runRows } from "../core/row_kernels.ts";
import { operator, requireDType } from "../core/op.ts";
import { Tensor } from "../core/tensor.ts";
import type { DType } from "../core/dtype.ts";
import * as k from "../kernel/expr.ts";
import { t } from "./samples.ts";

/** A format of eight bits. */
export type Fp8Format = "e4m3" | "e5m2";

/** Options of {@linkcode toFp8} and {@linkcode fromFp8}. */
export interface Fp8Options {
  /** The format; "e4m3" when omitted. */
  format?: Fp8Format;
}

/** How a format of eight bits is laid out. */
export interface Fp8Layout {
  /** Bits of the mantissa. */
  readonly mantissa: number;
  /** Offset of the exponent. */
  readonly bias: number;
  /** Largest number. */
  readonly largest: number;
  /** Bits of the f32 from which on values are too large. */
  readonly limit: number;
  /** Byte of what is too large: the largest number, or infinity. */
  readonly beyond: number;
  /** Whether there are infinities. */
  readonly infinite: boolean;
}

const fp8Layouts: Readonly<Record<Fp8Format, Fp8Layout>> = {
  e4m3: {
    mantissa: 3,
    bias: 7,
    largest: 448,
    limit: 0x43e80000, // 464
    beyond: 0x7e,
    infinite: false,
  },
  e5m2: {
    mantissa: 2,
    bias: 15,
    largest: 57344,
    limit: 0x47800000, // 65536
    beyond: 0x7c,
    infinite: true,
  },
};

/** The layout of a format. */
export function layoutOf(format: Fp8Format): Fp8Layout {
  if (Object.hasOwn(fp8Layouts, format)) return fp8Layouts[format];
  throw new RangeError(
    `Cannot use "${format}" as a format of 8 bits: there is ${
      Object.keys(fp8Layouts).join(" and ")
    }`,
  );
}

/** The byte nearest to an f32, ties to even. */
function encode(x: k.Expr, { mantissa, bias, limit, beyond }: Fp8Layout) {
  const shift = 23 - mantissa;
  const bits = k.bitcast(x, "i32");
  const size = k.and(bits, 0x7fffffff);
  const odd = k.and(k.shru(size, shift), 1);
  const half = (1 << shift - 1) - 1;
  const rebased = k.add(k.add(size, odd), ((bias - 127) << 23) + half);
  const normal = k.shru(rebased, shift);
  // Adding this power of two has the hardware round at the last bit of the small ones.
  const power = 127 - bias + shift + 1;
  const shifted = k.add(k.bitcast(size, "f32"), 2 ** (power - 127));
  const small = k.sub(k.bitcast(shifted, "i32"), power << 23);
  const finite = k.select(k.lt(size, (128 - bias) << 23), small, normal);
  const special = k.select(
    k.lt(0x7f800000, size),
    k.constant(0x7f, "i32"), // NaN
    k.constant(beyond, "i32"),
  );
  const byte = k.select(k.le(limit, size), special, finite);
  return k.or(byte, k.and(k.shru(bits, 24), 0x80));
}

/** The f32 that a byte stands for. */
function decode(byte: k.Expr, { mantissa, bias, infinite }: Fp8Layout) {
  const shift = 23 - mantissa;
  const size = k.and(byte, 0x7f);
  const small = k.mul(k.cast(size, "f32"), 2 ** (1 - bias - mantissa));
  const placed = k.add(k.shl(size, shift), (127 - bias) << 23);
  const normal = k.bitcast(placed, "f32");
  const finite = k.select(k.lt(size, 1 << mantissa), small, normal);
  const first = infinite ? 0x7c : 0x7f;
  const special = k.select(
    k.eq(size, infinite ? 0x7c : -1),
    k.constant(Infinity, "f32"),
    k.constant(NaN, "f32"),
  );
  const value = k.select(k.le(first, size), special, finite);
  return k.select(k.eq(k.and(byte, 0x80), 0), value, k.neg(value));
}

function convert(
  x: Tensor,
  name: string,
  dtype: DType,
  define: (x: k.Expr) => k.Expr,
): Tensor {
  const [value] = runRows(x.device, {
    name,
    space: x.shape,
    axes: [],
    streams: [x.value],
    passes: 1,
    build: ({ streams: [e] }) => ({
      stages: [],
      outputs: [{ dtype, per: "element", value: define(e) }],
    }),
  });
  return new Tensor(value);
}

const torchTypes =
  "{'e4m3': torch.float8_e4m3fn, 'e5m2': torch.float8_e5m2}[format]";

const halfway = [
  ...[0, -0, 1, -1, 1.0625, 1.1875, 17, 18, 19, 20, 447, 448, 456, 464, 465],
  ...[479, 480, 500, -1e30, Infinity, -Infinity, NaN, 57344, 61439, 61440],
  ...[65535, 65536, 2 ** -6, 2 ** -9, 2 ** -10, 1.5 * 2 ** -10, 2 ** -14],
  ...[2 ** -16, 2 ** -17, 1.5 * 2 ** -17, 3 * 2 ** -18, -(2 ** -16), 1e-30],
];

/**
 * Floats as bytes of an eight-bit format, each the nearest number, ties to
 * even. What is too large becomes 448 in `e4m3` and infinite in `e5m2`.
 *
 * @param x Floats.
 * @returns Bytes, of dtype u8 and the shape of x.
 * @throws {DTypeError} for integers.
 */
export const toFp8: (x: Tensor, options?: Fp8Options) => Tensor = operator<
  (x: Tensor, options?: Fp8Options) => Tensor,
  { format: Fp8Format }
>({
  name: "toFp8",
  family: "fp8",
  inputs: ["x"],
  attrs: { format: "e4m3" },
  constant: true,
  formula: "bytes of x rounded to e4m3 or e5m2",
  torch: `x.to(${torchTypes}).view(torch.uint8)`,
  run: ([x], { format }) => {
    requireDType("bring to 8 bits", x, ["f32", "f16", "bf16", "f64"]);
    const layout = layoutOf(format);
    return convert(
      x,
      `toFp8 ${format}`,
      "u8",
      (e) => encode(k.cast(e, "f32"), layout),
    );
  },
  samples: (["e4m3", "e5m2"] as const).flatMap((format) => [
    [t([6, 5]), { format }],
    [t([halfway.length], { data: halfway }), { format }],
    [t([64], { low: -0.02, high: 0.02 }), { format }],
    [t([64], { low: -600, high: 600, dtype: "bf16" }), { format }],
    [t([64], { low: -70000, high: 70000, dtype: "f64" }), { format }],
    [t([8], { dtype: "f16" }), { format }],
    [t([]), { format }],
    [t([0]), { format }],
  ]),
});

/**
 * The f32 numbers that bytes of an eight-bit format stand for.
 *
 * @param bytes Bytes, of dtype u8.
 * @returns Floats of the shape of the bytes.
 * @throws {DTypeError} for anything but u8.
 */
export const fromFp8: (bytes: Tensor, options?: Fp8Options) => Tensor =
  operator<
    (bytes: Tensor, options?: Fp8Options) => Tensor,
    { format: Fp8Format }
  >({
    name: "fromFp8",
    family: "fp8",
    inputs: ["bytes"],
    attrs: { format: "e4m3" },
    constant: true,
    formula: "numbers whose e4m3 or e5m2 bytes these are",
    torch: `bytes.view(${torchTypes}).to(torch.float32)`,
    run: ([bytes], { format }) => {
      requireDType("take as numbers of 8 bits", bytes, ["u8"]);
      const layout = layoutOf(format);
      return convert(
        bytes,
        `fromFp8 ${format}`,
        "f32",
        (e) => decode(e, layout),
      );
    },
    samples: (["e4m3", "e5m2"] as const).flatMap((format) => [
      [t([256], { dtype: "u8", data: [...Array(256).keys()] }), { format }],
      [t([2, 0], { dtype: "u8" }), { format }],
    ]),
  });
