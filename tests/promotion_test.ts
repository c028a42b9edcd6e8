/** Promotion of dtypes, against PyTorch 2.15's `torch.result_type` for every pair. */

import { assertEquals } from "@std/assert";
import { add, type DType, ones } from "../mod.ts";

const dtypes: readonly DType[] = [
  "f32",
  "f64",
  "f16",
  "bf16",
  "i64",
  "i32",
  "i8",
  "u8",
  "bool",
];

// A row per left operand, a column per right one, in the order of `dtypes`.
// i16, which Decaf lacks, is i32 here.
const withDimensions = `
f32 f32 f64 f32 f32 f32 f32 f32 f32 f32
f64 f64 f64 f64 f64 f64 f64 f64 f64 f64
f16 f32 f64 f16 f32 f16 f16 f16 f16 f16
bf16 f32 f64 f32 bf16 bf16 bf16 bf16 bf16 bf16
i64 f32 f64 f16 bf16 i64 i64 i64 i64 i64
i32 f32 f64 f16 bf16 i64 i32 i32 i32 i32
i8 f32 f64 f16 bf16 i64 i32 i8 i32 i8
u8 f32 f64 f16 bf16 i64 i32 i32 u8 u8
bool f32 f64 f16 bf16 i64 i32 i8 u8 bool`;

// The right operand is zero-dimensional.
const withZeroDimensional = `
f32 f32 f32 f32 f32 f32 f32 f32 f32 f32
f64 f64 f64 f64 f64 f64 f64 f64 f64 f64
f16 f16 f16 f16 f16 f16 f16 f16 f16 f16
bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16
i64 f32 f64 f16 bf16 i64 i64 i64 i64 i64
i32 f32 f64 f16 bf16 i32 i32 i32 i32 i32
i8 f32 f64 f16 bf16 i8 i8 i8 i8 i8
u8 f32 f64 f16 bf16 u8 u8 u8 u8 u8
bool f32 f64 f16 bf16 i64 i32 i8 u8 bool`;

// A tensor with dimensions and a whole number, and a fraction; a
// zero-dimensional tensor and a whole number, and a fraction.
const withNumbers = `
f32 f32 f32 f32 f32
f64 f64 f64 f64 f64
f16 f16 f16 f16 f16
bf16 bf16 bf16 bf16 bf16
i64 i64 f32 i64 f32
i32 i32 f32 i32 f32
i8 i8 f32 i8 f32
u8 u8 f32 u8 f32
bool i64 f32 i64 f32`;

function rows(table: string): string[][] {
  return table.trim().split("\n").map((line) => line.split(" "));
}

function check(table: string, left: number[], right: number[]): void {
  const made = dtypes.map((a) =>
    [
      a,
      ...dtypes.map((b) =>
        add(ones(left, { dtype: a }), ones(right, { dtype: b })).dtype
      ),
    ].join(" ")
  );
  assertEquals(made, rows(table).map((row) => row.join(" ")));
}

Deno.test("two tensors promote as in PyTorch", () => {
  check(withDimensions, [2], [2]);
  check(withDimensions, [], []);
});

Deno.test("a zero-dimensional tensor only changes the category", () => {
  check(withZeroDimensional, [2], []);
});

Deno.test("a number only changes the category", () => {
  const made = dtypes.map((dtype) => [
    dtype,
    ...[[2], []].flatMap((shape) =>
      [3, 2.5].map((number) => add(ones(shape, { dtype }), number).dtype)
    ),
  ]);
  assertEquals(made, rows(withNumbers));
});
