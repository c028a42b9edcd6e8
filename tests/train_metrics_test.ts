/** Metrics: what they count, and what they refuse. */

import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { fromHost, tensor } from "../mod.ts";
import { accuracy, confusionMatrix, topK } from "../train/metrics.ts";

Deno.test("metrics: counts by hand", () => {
  const scores = fromHost(
    Float32Array.from([3, 1, 2, 1, 3, 2, 0, 1, 2, 2, 2, 1]),
    "f32",
    [4, 3],
  );
  const target = fromHost(Int32Array.from([0, 2, 2, 1]), "i32", [4]);
  const right = accuracy(), matrix = confusionMatrix(3), two = topK(2);
  for (const metric of [right, matrix, two]) {
    metric.update(scores, target, 0.5);
  }
  // Of equal scores the first wins.
  assertEquals(matrix.matrix(), [[1, 0, 0], [1, 0, 0], [0, 1, 1]]);
  assertEquals(right.value(), 2 / 4);
  assertEquals(two.value(), 1);
  assertEquals([matrix.precision(0), matrix.recall(0)], [1 / 2, 1]);
  assertEquals(matrix.f1(2), 2 / 3);
  const sequence = fromHost(
    Float32Array.from([1, 0, 0, 1, 0, 1]),
    "f32",
    [1, 3, 2],
  );
  const tokens = fromHost(Int32Array.from([0, 1, 0]), "i32", [1, 3]);
  const overTime = accuracy();
  overTime.update(sequence, tokens, 0);
  assertEquals(overTime.value(), 2 / 3);
  assertThrows(
    () => right.update(scores, fromHost(new Int32Array(3), "i32", [3]), 0),
    TypeError,
    "outputs of shape [4, 3] against targets of shape [3]",
  );
});

Deno.test("metrics: a confusion matrix is scikit-learn's", () => {
  const labels = [
    ...[3, 0, 0, 0, 0, 3, 3, 1, 0, 0, 1, 1],
    ...[1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 3, 1],
  ];
  const answers = [
    ...[3, 0, 1, 2, 0, 2, 2, 1, 0, 3, 1, 1],
    ...[0, 1, 1, 3, 1, 1, 0, 0, 1, 3, 3, 0],
  ];
  const matrix = confusionMatrix(4), right = accuracy();
  // In batches of 5, which do not divide the rows.
  for (let from = 0; from < labels.length; from += 5) {
    const scores = answers.slice(from, from + 5).map((answer) =>
      Array.from({ length: 4 }, (_, c) => Number(c === answer) + c / 8)
    );
    const target = tensor(labels.slice(from, from + 5), { dtype: "i64" });
    for (const metric of [matrix, right]) {
      metric.update(tensor(scores, { dtype: "f32" }), target, 0);
    }
  }
  // confusion_matrix, precision_recall_fscore_support, f1_score(macro), accuracy_score
  const rows = [[5, 1, 1, 2], [2, 8, 0, 1], [0, 0, 0, 0], [0, 0, 2, 2]];
  assertEquals(matrix.matrix(), rows);
  const classes = [0, 1, 2, 3];
  const near = (actual: number[], expected: number[]) =>
    actual.forEach((x, i) =>
      Number.isNaN(expected[i])
        ? assertEquals(x, NaN)
        : assertAlmostEquals(x, expected[i], 1e-12)
    );
  near(classes.map(matrix.precision), [5 / 7, 8 / 9, 0, 0.4]);
  near(classes.map(matrix.recall), [5 / 9, 8 / 11, NaN, 0.5]);
  near(classes.map(matrix.f1), [0.625, 0.8, 0, 0.4444444444444444]);
  near([matrix.value(), right.value()], [0.4673611111111111, 0.625]);
});

Deno.test("metrics: ignored labels are left out, and labels that are no class refused", () => {
  const scores = tensor([[3, 1, 2], [1, 3, 2], [0, 1, 2], [2, 2, 1]]);
  const labels = tensor([0, -100, 2, -100], { dtype: "i64" });
  const ignoreIndex = -100;
  const matrix = confusionMatrix(3, { ignoreIndex });
  for (
    const [metric, value] of [
      [accuracy({ ignoreIndex }), 1],
      [topK(1, { ignoreIndex }), 1],
      [matrix, 1],
    ] as const
  ) {
    metric.update(scores, labels, 0);
    assertEquals(metric.value(), value, metric.name);
  }
  assertEquals(matrix.matrix(), [[1, 0, 0], [0, 0, 0], [0, 0, 1]]);
  for (const metric of [accuracy(), topK(3), confusionMatrix(3)]) {
    const sentence = "Cannot measure label -100 of row 1: the outputs have 3";
    assertThrows(() => metric.update(scores, labels, 0), RangeError, sentence);
    const beyond = tensor([0, 1, 3, 2], { dtype: "i64" });
    assertThrows(() => metric.update(scores, beyond, 0), RangeError, "label 3");
  }
  const none = accuracy({ ignoreIndex });
  none.update(scores, tensor([-100, -100, -100, -100], { dtype: "i64" }), 0);
  assertEquals(none.value(), NaN);
});

Deno.test("metrics: NaN is the largest score, as argmax and topk of PyTorch say", () => {
  const scores = tensor([[NaN, 1], [1, NaN], [NaN, NaN]]);
  const labels = tensor([1, 1, 0], { dtype: "i64" });
  const matrix = confusionMatrix(2), right = accuracy(), two = topK(2);
  for (const metric of [matrix, right, two]) metric.update(scores, labels, NaN);
  assertEquals(matrix.matrix(), [[1, 0], [1, 1]]);
  assertEquals([right.value(), two.value()], [2 / 3, 1]);
});

Deno.test("metrics: a saved state stays as it was", () => {
  const matrix = confusionMatrix(2);
  const scores = tensor([[2, 1]]), label = tensor([0], { dtype: "i64" });
  matrix.update(scores, label, 0);
  const saved = matrix.state();
  matrix.update(scores, label, 0);
  matrix.reset();
  matrix.restore(saved);
  assertEquals(matrix.matrix(), [[1, 0], [0, 0]]);
  assertThrows(() => confusionMatrix(0), RangeError, "of 0 classes");
  assertThrows(() => topK(0), RangeError, "Cannot measure the top 0");
  assertThrows(() => topK(1.5), RangeError, "Cannot measure the top 1.5");
  assertThrows(
    () => accuracy({ ignoreindex: 1 } as object),
    TypeError,
    "did you mean ignoreIndex?",
  );
});
