/** The arrays that `tests/golden/formats/make.py` writes, in its order. */
import type { ArrayRecord } from "../formats/array_record.ts";

const counting = Int32Array.from({ length: 24 }, (_, i) => i - 12);

/** The arrays by name. */
export const goldenArrays: Record<string, ArrayRecord> = {
  f32: {
    data: new Float32Array([1.5, -2.25, 0, 3e38, -0, 1e-45]),
    shape: [2, 3],
    dtype: "f32",
  },
  f64: {
    data: new Float64Array([Math.PI, -1e300, Infinity]),
    shape: [3],
    dtype: "f64",
  },
  f16: {
    data: new Uint16Array([0x3c00, 0xb800, 0x7bff, 0x0001]),
    shape: [2, 2],
    dtype: "f16",
  },
  i64: { data: new BigInt64Array([2n ** 62n, -1n]), shape: [2], dtype: "i64" },
  i32: { data: counting, shape: [2, 3, 4], dtype: "i32" },
  i8: { data: new Int8Array([-128, 127]), shape: [2], dtype: "i8" },
  u8: { data: new Uint8Array([0, 255]), shape: [1, 2, 1], dtype: "u8" },
  bool: { data: new Uint8Array([1, 0, 1]), shape: [3], dtype: "bool" },
  scalar: { data: new Float32Array([7]), shape: [], dtype: "f32" },
  empty: { data: new Float32Array(0), shape: [0, 3], dtype: "f32" },
};

/** The bytes of one of the files beside the script. */
export function goldenFile(name: string): Uint8Array {
  return Deno.readFileSync(
    new URL(`./golden/formats/${name}`, import.meta.url),
  );
}
