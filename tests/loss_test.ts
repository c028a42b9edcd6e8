/** What the samples of the losses cannot show: refusals, CTC's gradient, large batches, second derivatives of it all. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  crossEntropy,
  ctcLoss,
  gaussianNllLoss,
  gradients,
  l1Loss,
  logSoftmax,
  mseLoss,
  multiMarginLoss,
  nllLoss,
  softmax,
  sum,
  type Tensor,
} from "../mod.ts";
import { defaultDevice } from "../core/device.ts";
import {
  DTypeError,
  GradientError,
  IndexError,
  ShapeError,
} from "../core/errors.ts";
import { fromHost } from "../core/tensor.ts";

function f64(shape: readonly number[], f: (i: number) => number): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float64Array.from({ length: size }, (_, i) => f(i));
  return fromHost(data, "f64", shape, { requiresGrad: true });
}

function f32(shape: readonly number[], f: (i: number) => number): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length: size }, (_, i) => f(i));
  return fromHost(data, "f32", shape, { requiresGrad: true });
}

function labels(...numbers: number[]): Tensor {
  return fromHost(BigInt64Array.from(numbers, BigInt), "i64", [numbers.length]);
}

function list(x: Tensor): number[] {
  return Array.from(x.data() as Float64Array);
}

function assertNear(a: number[], b: number[], bound: number): void {
  assertEquals(a.length, b.length);
  a.forEach((v, i) =>
    assert(
      Math.abs(v - b[i]) <= bound * (1 + Math.abs(b[i])),
      `element ${i} is ${v}, expected ${b[i]}`,
    )
  );
}

/** The call, and what a device that runs behind the host finds out later. */
function settled(call: () => unknown): () => void {
  return () => {
    call();
    defaultDevice().synchronize();
  };
}

Deno.test("losses of labels refuse what is no class, with the number of classes", () => {
  const x = f32([2, 3], (i) => i);
  for (const loss of [crossEntropy, nllLoss, multiMarginLoss]) {
    assertThrows(
      settled(() => loss(x, labels(0, 3))),
      IndexError,
      "3 among 3 classes",
    );
    assertThrows(
      settled(() => loss(x, labels(-2, 0))),
      IndexError,
      "-2 among 3",
    );
    // A label that is one only in its lower 32 bits.
    assertThrows(
      settled(() => loss(x, labels(2 ** 32, 0))),
      IndexError,
      "4294967296",
    );
    assertThrows(() => loss(x, labels(0)), ShapeError, "labels of shape [1]");
  }
  assertThrows(
    settled(() => multiMarginLoss(x, labels(-1, 0))),
    IndexError,
    "-1 among",
  );
  assertThrows(
    () => crossEntropy(x, f32([2, 2], () => 0.5)),
    ShapeError,
    "targets of shape [2, 2]",
  );
  assertThrows(
    () => nllLoss(x, f32([2], () => 1)),
    DTypeError,
    "class numbers",
  );
  assertThrows(
    () => crossEntropy(x, labels(0, 1), { labelSmoothing: 2 }),
    RangeError,
    "from 0 to 1",
  );
  assertThrows(
    () => crossEntropy(x, labels(0, 1), { weight: f32([2], () => 1) }),
    ShapeError,
    "shape [3]",
  );
});

Deno.test("crossEntropy of ignored rows only is NaN, as in PyTorch, and their gradient 0 in a sum", () => {
  const x = f32([2, 3], (i) => i);
  const none = labels(-100, -100);
  assert(Number.isNaN(crossEntropy(x, none).item()));
  const loss = crossEntropy(x, none, { reduction: "sum" });
  assertEquals(loss.item(), 0);
  assertEquals(list(gradients(loss, [x])[0]!), [0, 0, 0, 0, 0, 0]);
});

Deno.test("crossEntropy: the fused gradient is (softmax − one-hot) / rows", () => {
  const rows = 37, classes = 70;
  const x = f32([rows, classes], (i) => Math.sin(i * 1.3) * 4);
  const target = labels(...Array.from({ length: rows }, (_, i) => i * 7 % 70));
  const [grad] = gradients(crossEntropy(x, target), [x]);
  const expected = list(softmax(x, 1)).map((p, i) => {
    const row = Math.floor(i / classes);
    return (p - (i % classes === row * 7 % 70 ? 1 : 0)) / rows;
  });
  assertNear(list(grad!), expected, 1e-6);
  const [composed] = gradients(crossEntropy(x, target), [x], {
    createGraph: true,
  });
  assertNear(list(composed!), expected, 1e-6);
});

Deno.test("losses of pairs refuse shapes that would be broadcast", () => {
  const x = f32([4, 1], (i) => i), y = f32([4], (i) => i);
  for (const loss of [mseLoss, l1Loss]) {
    assertThrows(() => loss(x, y), ShapeError, "[4, 1] and [4]");
  }
  assertThrows(
    () => gaussianNllLoss(x, x, f32([3], () => 1)),
    ShapeError,
    "variances of shape [3]",
  );
  assertThrows(
    () => mseLoss(x, x, { reduction: "avg" as "mean" }),
    TypeError,
    '"none", "mean", "sum"',
  );
});

const logits = () => f64([6, 2, 4], (i) => ((i * 37 + 11) % 64) / 16 - 2);
const targets = fromHost(BigInt64Array.of(1n, 2n, 2n, 3n, 1n, 0n), "i64", [
  2,
  3,
]);

Deno.test("ctcLoss: value and gradient of logits are PyTorch's", () => {
  // F.ctc_loss(F.log_softmax(x, -1), targets, (6, 4), (3, 2), reduction="sum")
  const x = logits();
  const loss = ctcLoss(logSoftmax(x), targets, [6, 4], [3, 2], {
    reduction: "sum",
  });
  assertNear([loss.item()], [8.713561979754239], 1e-12);
  // deno-fmt-ignore
  const expected = [
    0.0264257, -0.67778056, 0.05868251, 0.59267235, -0.42453379, 0.05442521,
    0.54967518, -0.17956661, 0.06214329, 0.00608061, -0.16990358, 0.10167968,
    0.01290289, 0.29158769, 0.05868251, -0.36317309, -0.09848802, 0.05250389,
    -0.05569556, 0.10167968, -0.33969728, -0.0899876, 0.54967518, -0.1199903,
    -0.50970697, 0.31723465, -0.40020003, 0.59267235, 0.05370131, -0.21998668,
    0.14032741, 0.02595796, -0.12044326, 0.05442521, -0.03566164, 0.10167968,
    0, 0, 0, 0, -0.16332024, 0.75860279, -0.62124051, 0.02595796, 0, 0, 0, 0,
  ];
  assertNear(list(gradients(loss, [x])[0]!), expected, 1e-7);
});

Deno.test("ctcLoss: the gradient of log-probabilities is that of the value", () => {
  const x = logits();
  const at = (step: number) =>
    ctcLoss(
      f64([6, 2, 4], (i) => list(x)[i] + step * Math.sin(i)),
      targets,
      [6, 4],
      [3, 2],
    );
  const loss = ctcLoss(x, targets, [6, 4], [3, 2]);
  const slopes = list(gradients(loss, [x])[0]!);
  const slope = slopes.reduce((s, g, i) => s + g * Math.sin(i), 0);
  const numeric = (at(1e-6).item() - at(-1e-6).item()) / 2e-6;
  assertNear([slope], [numeric], 1e-8);
});

Deno.test("ctcLoss refuses lengths, labels and second derivatives that cannot be", () => {
  const x = logits();
  assertThrows(() => ctcLoss(x, targets, [7, 4], [3, 2]), ShapeError, "7");
  assertThrows(
    () => ctcLoss(x, targets, [6], [3, 2]),
    ShapeError,
    "2 examples",
  );
  assertThrows(() => ctcLoss(x, targets, [6, 4], [4, 2]), ShapeError, "4");
  assertThrows(
    () => ctcLoss(x, labels(1, 9, 1), [6, 4], [2, 1]),
    IndexError,
    "label 9 among 4 classes",
  );
  assertThrows(
    () =>
      gradients(ctcLoss(x, targets, [6, 4], [3, 2]), [x], {
        createGraph: true,
      }),
    GradientError,
    "twice",
  );
  // Lengths may be tensors.
  const loss = ctcLoss(x, targets, labels(6, 4), labels(3, 2));
  assertEquals(
    loss.item(),
    ctcLoss(x, targets, [6, 4], [3, 2]).item(),
  );
});

Deno.test("a sum of softmaxes does not depend on the scores", () => {
  const x = f32([5, 33], (i) => Math.cos(i) * 3);
  const [grad] = gradients(sum(softmax(x)), [x]);
  assert(list(grad!).every((g) => Math.abs(g) < 1e-6));
});
