/**
 * What the samples of the elementwise operators cannot say: gradients where
 * functions bend (numbers from PyTorch 2), extreme arguments against exact
 * formulas in double precision, refusals, and long tensors on several threads
 * against the same function on the host.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  diff,
  type DType,
  fold,
  fromHost,
  gradients,
  logSumExp,
  noGrad,
  overlapAdd,
  sum,
  type Tensor,
  type TensorOptions,
} from "../mod.ts";
import * as activation from "../ops/activation.ts";
import * as arithmetic from "../ops/arithmetic.ts";
import * as comparison from "../ops/comparison.ts";
import { full, ones, tensor, zeros } from "../ops/creation.ts";
import { cast } from "../ops/foundation.ts";
import * as math from "../ops/math.ts";

type Function = (x: Tensor) => Tensor;

const grad: TensorOptions = { requiresGrad: true };

/** The gradient of Σ f(x). */
function slopes(f: Function, at: number[], dtype: "f32" | "f64"): number[] {
  const x = tensor(at, { ...grad, dtype });
  const [gradient] = gradients(sum(f(x)), [x]);
  return gradient === undefined
    ? at.map(() => 0)
    : gradient.toArray() as number[];
}

Deno.test("gradients at bends are PyTorch's", () => {
  const bends: [Function, number[], number[]][] = [
    [activation.relu, [0, -0, 1, -1], [0, 0, 1, 0]],
    [activation.relu6, [0, -0, 6, 3], [0, 0, 0, 1]],
    [activation.hardTanh, [-1, 1, 0, 2], [0, 0, 1, 0]],
    [activation.hardSwish, [-3, 3, 0], [0, 1, 0.5]],
    [activation.leakyRelu, [0, 1], [0.01, 1]],
    [(x) => activation.elu(x, { alpha: 2 }), [0, 1], [2, 1]],
    [activation.softsign, [0, 1], [1, 0.25]],
    [activation.hardShrink, [0.5, -0.5, 0.75], [0, 0, 1]],
    [activation.softShrink, [0.5, -0.5, 0.75], [0, 0, 1]],
    [(x) => activation.threshold(x, 1, 7), [1, 2], [0, 1]],
    [arithmetic.abs, [0, -0, 2, -2], [0, 0, 1, -1]],
    [(x) => arithmetic.clamp(x, -1, 1), [-1, 1, 0], [0, 0, 1]],
    [(x) => arithmetic.maximum(x, zeros([3])), [0, 1, -1], [0.5, 1, 0]],
    [(x) => arithmetic.minimum(x, zeros([3])), [0, 1, -1], [0.5, 0, 1]],
    [arithmetic.sign, [0, 3], [0, 0]],
    [math.round, [0.5, 3], [0, 0]],
    [math.frac, [1, 2.5], [1, 1]],
    [(x) => math.atan2(x, zeros([1])), [0], [0]],
    [(x) => arithmetic.pow(x, 0), [0, 2], [0, 0]],
    [(x) => arithmetic.pow(x, 1), [0, 2], [1, 1]],
  ];
  for (const dtype of ["f32", "f64"] as const) {
    for (const [f, at, expected] of bends) {
      const found = slopes(f, at, dtype);
      expected.forEach((e, i) =>
        assert(
          Math.abs(found[i] - e) < 1e-6,
          `${f.name || f}: ${found} at ${at}, expected ${expected}`,
        )
      );
    }
  }
});

Deno.test("what a branch does not take does not reach its gradient", () => {
  const far = [1e4, -1e4, 300, -300];
  assertEquals(slopes(activation.elu, far, "f32"), [1, 0, 1, 0]);
  assertEquals(slopes(activation.softplus, far, "f32"), [1, 0, 1, 0]);
  // log is −∞ or NaN where it is not chosen.
  const safe: Function = (x) =>
    comparison.where(comparison.gt(x, 0), math.log(x), 0);
  assertEquals(slopes((x) => noNaN(safe(x)), [2, 4], "f64"), [0.5, 0.25]);
  const [a, b] = [tensor([1, NaN], grad), tensor([Infinity, 2], grad)];
  const mask = tensor([true, false]);
  const found = gradients(sum(comparison.where(mask, a, b)), [a, b]);
  assertEquals(found.map((g) => g!.toArray()), [[1, 0], [0, 1]]);
});

function noNaN(x: Tensor): Tensor {
  assertEquals(sum(cast(comparison.isNan(x), "i64")).item(), 0);
  return x;
}

/** Largest |f(x) − g(x)| / |g(x)| over the points. */
function relativeError(f: number[], g: number[]): number {
  return Math.max(
    ...f.map((v, i) => v === g[i] ? 0 : Math.abs(v - g[i]) / Math.abs(g[i])),
  );
}

Deno.test("the logistic family keeps its relative precision everywhere", () => {
  const points = [-80, -40, -17, -5, -1, -1e-3, 0, 1e-3, 1, 5, 17, 40, 80];
  const logistic = (x: number) =>
    x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x));
  const decay = (x: number) => logistic(x) * logistic(-x);
  const softplus = (x: number) =>
    Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const exact: [Function, (x: number) => number, (x: number) => number][] = [
    [activation.sigmoid, logistic, decay],
    [activation.logSigmoid, (x) => -softplus(-x), (x) => logistic(-x)],
    [
      (x) => activation.softplus(x, { threshold: 1e9 }),
      softplus,
      logistic,
    ],
  ];
  for (const [f, value, slope] of exact) {
    for (const [dtype, bound] of [["f32", 1e-6], ["f64", 1e-14]] as const) {
      const x = tensor(points, { dtype });
      const values = f(x).toArray() as number[];
      const at = x.toArray() as number[];
      assert(relativeError(values, at.map(value)) < bound, `${f} in ${dtype}`);
      const found = slopes(f, points, dtype);
      assert(
        relativeError(found, at.map(slope)) < bound,
        `slope of ${f} in ${dtype}: ${found}`,
      );
    }
  }
  // Where e⁻ˣ overflows nothing is NaN, in any order of derivative.
  const x = tensor([-1000, -100, 100, 1000], { ...grad, dtype: "f32" });
  const [first] = gradients(sum(activation.sigmoid(x)), [x], {
    createGraph: true,
  });
  const [second] = gradients(sum(first!), [x]);
  for (const g of [first, second]) {
    assert((g!.toArray() as number[]).every((v) => Math.abs(v) < 1e-40));
  }
});

Deno.test("integers wrap, divide and shift as integers", () => {
  const x = (data: number[], dtype: "i64" | "i32" | "u8" | "i8") =>
    tensor(data, { dtype });
  const cases: [Tensor, string, number[]][] = [
    [arithmetic.add(x([250], "u8"), 10), "u8", [4]],
    [arithmetic.mul(x([100], "i8"), 3), "i8", [44]],
    [arithmetic.neg(x([1], "u8")), "u8", [255]],
    [arithmetic.add(x([2 ** 31 - 1], "i32"), 1), "i32", [-(2 ** 31)]],
    [arithmetic.floorDivide(x([-7, 7], "i64"), 2), "i64", [-4, 3]],
    [arithmetic.floorDivide(x([-7, 7], "i64"), x([0], "i64")), "i64", [
      0,
      0,
    ]],
    [arithmetic.remainder(x([-7, 7], "i32"), -3), "i32", [-1, -2]],
    [arithmetic.fmod(x([-7, 7], "i32"), x([0], "i32")), "i32", [0, 0]],
    [arithmetic.div(x([1, 3], "i32"), 2), "f32", [0.5, 1.5]],
    [arithmetic.pow(x([3, -3], "i64"), 3), "i64", [27, -27]],
    [arithmetic.pow(x([2], "i32"), 33), "i32", [0]],
    [comparison.bitwiseLeftShift(x([1, 3], "i32"), 31), "i32", [
      -(2 ** 31),
      -(2 ** 31),
    ]],
    [math.exp(x([0, 1], "i64")), "f32", [1, Math.fround(Math.E)]],
    [arithmetic.clamp(x([-5, 5], "i64"), -1.5, 2), "f32", [-1.5, 2]],
  ];
  for (const [result, dtype, values] of cases) {
    assertEquals<string>(result.dtype, dtype);
    (result.toArray() as number[]).forEach((v, i) =>
      assert(Math.abs(v - values[i]) <= 1e-6 * Math.abs(values[i]), `${v}`)
    );
  }
});

Deno.test("numbers stand on either side, and choose the dtype", () => {
  const f16 = tensor([1], { dtype: "f16" }),
    i32 = tensor([1], { dtype: "i32" });
  assertEquals(arithmetic.sub(1, f16).dtype, "f16");
  assertEquals(arithmetic.pow(2, i32).dtype, "i32");
  assertEquals(arithmetic.mul(0.5, i32).dtype, "f32");
  assertEquals(arithmetic.sub(5, tensor([1, 2])).toArray(), [4, 3]);
  assertEquals(arithmetic.div(1, tensor([4.5])).item(), Math.fround(1 / 4.5));
  assertEquals(comparison.lt(2, tensor([1, 3])).toArray(), [0, 1]);
});

Deno.test("allClose compares with tolerances", () => {
  const { allClose } = comparison;
  const x = tensor([1, 2, 3.5]);
  assert(allClose(x, x));
  assert(allClose(x, arithmetic.add(x, 1e-6)));
  assert(!allClose(x, arithmetic.add(x, 1e-3)));
  assert(allClose(x, arithmetic.add(x, 1e-3), { atol: 1e-2 }));
  assert(!allClose(tensor([NaN]), tensor([NaN])));
  assert(allClose(tensor([NaN]), tensor([NaN]), { equalNan: true }));
  assert(allClose(zeros([0]), zeros([0])));
  assert(allClose(tensor([2, 2]), 2));
});

Deno.test("operands of the wrong kind are refused", () => {
  const truth = tensor([true]), half = tensor([0.5]), whole = tensor([2]);
  const refused: [() => unknown, string][] = [
    [() => arithmetic.neg(truth), "negate a tensor of dtype bool"],
    [() => arithmetic.sub(whole, truth), "subtract"],
    [() => arithmetic.abs(truth), "absolute value"],
    [() => arithmetic.floorDivide(truth, truth), "quotient"],
    [() => arithmetic.remainder(whole.cast("i32"), 0), "divided by 0"],
    [() => arithmetic.pow(truth, truth), "truth values alone"],
    [() => arithmetic.addcmul(truth, truth, truth), "truth values alone"],
    [() => arithmetic.pow(whole, -1), "power -1"],
    [() => arithmetic.clamp(half), "without a bound"],
    [() => comparison.bitwiseAnd(half, whole), "bits of"],
    [() => comparison.bitwiseLeftShift(truth, truth), "shift"],
    [() => comparison.where(whole, 1, 2), "choose by"],
    [() => activation.relu(truth), "activate"],
    [() => math.floor(truth), "round"],
    [() => activation.glu(zeros([3])), "even"],
    [() => activation.prelu(zeros([2, 3]), zeros([2])), "3 channels"],
    [() => arithmetic.add(zeros([2]), zeros([3])), "[2]"],
    [() => arithmetic.add(zeros([2]), [1] as unknown as Tensor), "an array"],
  ];
  for (const [call, words] of refused) assertThrows(call, Error, words);
});

Deno.test("truth values count as 0 and 1 beside numbers", () => {
  const truth = tensor([true, false]), whole = tensor([3, -2]);
  const cases: [Tensor, DType, number[]][] = [
    [arithmetic.floorDivide(truth, whole), "i64", [0, 0]],
    [arithmetic.remainder(truth, whole), "i64", [1, 0]],
    [arithmetic.fmod(whole.cast("u8"), ones([2]).cast("bool")), "u8", [0, 0]],
    [arithmetic.truncDivide(truth, tensor([0.5, 2])), "f32", [2, 0]],
    [comparison.bitwiseLeftShift(truth, 2), "i64", [4, 0]],
    [comparison.bitwiseRightShift(whole, truth), "i64", [1, -2]],
    [arithmetic.square(truth), "i64", [1, 0]],
    [diff(truth), "bool", [1]],
    [fold(truth.reshape([1, 1, 2]), [2], [1]), "bool", [1, 0]],
    [overlapAdd(truth.reshape([2, 1]), [2]), "bool", [1, 0]],
  ];
  for (const [result, dtype, data] of cases) {
    assertEquals(result.dtype, dtype);
    assertEquals(Array.from(result.data(), Number), data);
  }
  const sum = logSumExp(whole);
  assert(Math.abs(sum.item() - Math.log(Math.exp(3) + Math.exp(-2))) < 1e-6);
});

Deno.test("long tensors give what short ones give", () => {
  // Several chunks and a remainder; every lane path of the kernel, with and without fusion.
  const n = 200_003;
  const host = Float32Array.from({ length: n }, (_, i) => Math.sin(i) * 3);
  const x = fromHost(host, "f32", [n]);
  const y = noGrad(() =>
    arithmetic.add(
      arithmetic.mul(activation.sigmoid(x), math.exp(arithmetic.neg(x))),
      arithmetic.remainder(x, 0.75),
    )
  ).data() as Float32Array;
  for (const i of [0, 1, 4, 65_535, 65_536, 131_077, n - 3, n - 1]) {
    const v = host[i];
    const rest = v - 0.75 * Math.floor(v / 0.75);
    const expected = Math.exp(-v) / (1 + Math.exp(-v)) + rest;
    assert(Math.abs(y[i] - expected) < 1e-5, `${i}: ${y[i]} for ${expected}`);
  }
  assertEquals(full([n], 2).dtype, "i64");
  assertEquals(sum(ones([n])).item(), n);
});
