/** What operators say to operands and options that make no sense. */

import { assertThrows } from "@std/assert";
import {
  adaptiveAvgPool,
  adaptiveMaxPool,
  add,
  avgPool,
  backward,
  cast,
  diagEmbed,
  diagonal,
  type DType,
  DTypeError,
  exp,
  fromHost,
  full,
  gradients,
  IndexError,
  matmul,
  maxPool,
  maxPoolWithIndices,
  ones,
  ShapeError,
  softmax,
  sum,
  type Tensor,
  tensor,
  zeros,
} from "../mod.ts";

const nothing = undefined as unknown as Tensor;
const number = 3 as unknown as Tensor;

Deno.test("an operand that is missing, or no tensor, is named", () => {
  const x = ones([2]);
  const cases: [() => unknown, string][] = [
    [() => exp(nothing), "Cannot apply exp to undefined"],
    [() => add(x, nothing), "Cannot apply add to undefined"],
    [() => (add as (x: Tensor) => Tensor)(x), "Cannot apply add to undefined"],
    [() => add(x, "1" as unknown as Tensor), "must be tensors or numbers"],
    [() => sum(nothing), "Cannot apply sum to undefined"],
    [() => softmax(number, 0), "Cannot apply softmax to a number"],
    [() => matmul(x, number), "Cannot apply matmul to a number"],
  ];
  for (const [call, text] of cases) assertThrows(call, TypeError, text);
});

Deno.test("adaptive pooling takes one to three spatial axes and positive sizes", () => {
  const x = ones([1, 2, 4, 6]);
  for (const pool of [adaptiveAvgPool, adaptiveMaxPool]) {
    for (const size of [0, -1, 0.5, NaN, [2, -3]]) {
      assertThrows(() => pool(x, size), RangeError, "positive integers");
    }
    assertThrows(() => pool(ones([2, 3]), 1), ShapeError, "one to three");
    assertThrows(() => pool(ones([1, 2, 0]), 1), ShapeError, "at least 1");
  }
});

Deno.test("names of dtypes from elsewhere are explained", () => {
  const torch = "float32" as DType;
  const sentence = 'dtype "float32": there is f32, f64, f16, bf16, i64, i32, ' +
    'i8, u8, bool; did you mean "f32"?';
  for (
    const make of [
      () => zeros([2], { dtype: torch }),
      () => full([2], 1, { dtype: torch }),
      () => tensor([1], { dtype: torch }),
      () => cast(ones([2]), torch),
    ]
  ) {
    assertThrows(make, DTypeError, sentence);
  }
});

Deno.test("diagonals start at whole offsets", () => {
  for (const take of [diagonal, diagEmbed]) {
    assertThrows(
      () => take(ones([3, 3]), { offset: 0.5 }),
      IndexError,
      "with offset 0.5: it must be an integer",
    );
  }
});

Deno.test("what is no tensor, and no list of them, is refused by gradients and makers", () => {
  const x = tensor([1, 2], { requiresGrad: true });
  const y = sum(x);
  const list = x as unknown as Tensor[];
  const cases: [() => unknown, string][] = [
    [() => gradients(y, list), "must be a list of tensors, such as [x]"],
    [() => gradients(number, [x]), "Cannot differentiate the result"],
    [() => gradients(y, [number]), "with respect to input 0"],
    [() => backward(nothing), "Cannot differentiate the result"],
    [
      () => fromHost([1, 2] as unknown as Float32Array, "f32", [2]),
      "no typed array",
    ],
    [
      () => fromHost(new Float32Array(2), "f64", [2]),
      "of dtype f64 from a Float32Array",
    ],
  ];
  for (const [call, text] of cases) assertThrows(call, TypeError, text);
});

Deno.test("truth values are not pooled, nor are their matrices multiplied", () => {
  const x = ones([1, 1, 4, 4]).cast("bool");
  const cases: (() => unknown)[] = [
    () => maxPool(x, 2),
    () => maxPoolWithIndices(x, 2),
    () => avgPool(x, 2),
    () => adaptiveAvgPool(x, 3),
    () => matmul(x, x),
  ];
  for (const call of cases) {
    assertThrows(call, DTypeError, "of dtype bool: ");
  }
});
