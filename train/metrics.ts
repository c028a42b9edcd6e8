/**
 * Metrics: numbers that say how good answers are, gathered batch by batch.
 *
 * @module
 */

import { IndexError, ShapeError, shapeText } from "../core/errors.ts";
import { checkOptions, type OptionNames } from "../core/options.ts";
import { sameShape, type Shape } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";

/** Gathers a number over batches. */
export interface Metric {
  /** Name in logs. */
  readonly name: string;
  /** Adds a batch: the model's outputs, the targets, and the batch's mean loss. */
  update(output: Tensor, target: Tensor, loss: number): void;
  /** Adds a batch where its number of examples and its mean loss are enough to know: a training then leaves its outputs on the device. */
  updateLoss?(examples: number, loss: number): void;
  /** The number over everything since the last reset. */
  value(): number;
  /** The number of the last batch alone, where there is such a thing. */
  last?(): number;
  /** Forgets everything. */
  reset(): void;
  /** What was gathered, as plain data. */
  state(): unknown;
  /** Takes over what `state` gave. */
  restore(state: unknown): void;
}

/**
 * Refuses two that go by one name, as numbers, logs and checkpoints could not
 * tell them apart.
 *
 * @throws {TypeError} naming it.
 */
export function requireNames(
  doing: string,
  named: readonly { readonly name?: string }[],
): void {
  const seen = new Set<string>();
  for (const { name } of named) {
    if (name === undefined) continue;
    if (seen.has(name)) {
      throw new TypeError(
        `Cannot ${doing} with two metrics or callbacks called "${name}": { ...metric, name: "…" } is one of another name`,
      );
    }
    seen.add(name);
  }
}

/** Which labels count. */
export interface LabelOptions {
  /** Rows of this label are left out, as `crossEntropy` leaves them out; none when omitted. */
  readonly ignoreIndex?: number;
}

const labelOptions: OptionNames<LabelOptions> = { ignoreIndex: true };

/** Rows of scores [N, C] (or [N, C, positions…], [N, T, C] with i32/i64 targets [N, T]) with their classes. */
interface Scores {
  /** The rows that count. */
  readonly rows: readonly number[];
  readonly classes: number;
  readonly score: (row: number, c: number) => number;
  readonly target: (row: number) => number;
}

/** Scores per row: classes on axis 1, or on the last one when the targets have all axes before it. */
function scoresOf(
  output: Tensor,
  target: Tensor,
  { ignoreIndex }: LabelOptions,
): Scores {
  const { shape } = output;
  const data = output.data() as Float32Array;
  const labels = target.data();
  const axis = classAxis(shape, target.shape);
  const classes = shape[axis];
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const rows: number[] = [];
  for (let row = 0; row < target.size; row++) {
    const label = Number(labels[row]);
    if (label === ignoreIndex) continue;
    if (!(label >= 0 && label < classes)) {
      throw new IndexError(
        `Cannot measure label ${label} of row ${row}: the outputs have ${classes} classes, so labels lie from 0 to ${
          classes - 1
        }; { ignoreIndex: ${label} } leaves such rows out`,
      );
    }
    rows.push(row);
  }
  return {
    rows,
    classes,
    score: (row, c) =>
      data[(Math.floor(row / inner) * classes + c) * inner + row % inner],
    target: (row) => Number(labels[row]),
  };
}

function classAxis(shape: Shape, target: Shape): number {
  for (const axis of [shape.length - 1, 1]) {
    const rest = shape.filter((_, d) => d !== axis);
    if (axis in shape && sameShape(rest, target)) return axis;
  }
  throw new ShapeError(
    `Cannot measure outputs of shape ${
      shapeText(shape)
    } against targets of shape ${
      shapeText(target)
    }: the targets must have the outputs' shape without the axis of classes`,
  );
}

/** How many classes come before this one: larger scores, and equal ones of lower number. NaN is the largest, as in PyTorch. */
function placeOf(s: Scores, row: number, c: number): number {
  const own = s.score(row, c);
  let before = 0;
  for (let other = 0; other < s.classes; other++) {
    const score = s.score(row, other);
    const equal = Object.is(score, own) || score === own;
    const larger = score > own || (Number.isNaN(score) && !Number.isNaN(own));
    if (larger || (equal && other < c)) before++;
  }
  return before;
}

function best(s: Scores, row: number): number {
  let winner = 0;
  for (let c = 1; c < s.classes; c++) {
    const score = s.score(row, c), high = s.score(row, winner);
    if (score > high || (Number.isNaN(score) && !Number.isNaN(high))) {
      winner = c;
    }
  }
  return winner;
}

/** What a batch adds to two sums. */
interface Share {
  readonly sum: number;
  readonly count: number;
}

/** A metric that is a quotient of two sums. */
function ratio(
  name: string,
  measure: (output: Tensor, target: Tensor, loss: number) => Share,
  finish: (mean: number) => number = (mean) => mean,
  measureLoss?: (examples: number, loss: number) => Share,
): Metric {
  let sum = 0, count = 0;
  let part: Share = { sum: NaN, count: 1 };
  const add = (more: Share) => {
    part = more;
    sum += part.sum;
    count += part.count;
  };
  return {
    name,
    update: (output, target, loss) => add(measure(output, target, loss)),
    updateLoss: measureLoss &&
      ((examples, loss) => add(measureLoss(examples, loss))),
    value: () => finish(count === 0 ? NaN : sum / count),
    last: () => finish(part.sum / part.count),
    reset() {
      sum = 0;
      count = 0;
    },
    state: () => ({ sum, count }),
    restore(state) {
      ({ sum, count } = state as { sum: number; count: number });
    },
  };
}

/** A metric that looks at losses only. */
function ratioOfLosses(
  name: string,
  finish?: (mean: number) => number,
): Metric {
  const weighted = (loss: number, count: number) => ({
    sum: loss * count,
    count,
  });
  return ratio(
    name,
    (output, _, loss) => weighted(loss, output.shape[0]),
    finish,
    (examples, loss) => weighted(loss, examples),
  );
}

/** Mean loss per example. */
export function meanLoss(): Metric {
  return ratioOfLosses("loss");
}

/** Share of rows whose target is among the `k` largest scores, by name. */
function shareOfFirst(name: string, k: number, options: LabelOptions): Metric {
  checkOptions(`measure ${name}`, options, labelOptions);
  return ratio(name, (output, target) => {
    const s = scoresOf(output, target, options);
    const right = s.rows.filter((row) => placeOf(s, row, s.target(row)) < k);
    return { sum: right.length, count: s.rows.length };
  });
}

/** Share of rows whose largest score is that of the target, from 0 to 1. */
export function accuracy(options: LabelOptions = {}): Metric {
  return shareOfFirst("accuracy", 1, options);
}

/**
 * Share of rows whose target is among the `k` largest scores.
 *
 * @throws {RangeError} unless `k` is a positive integer.
 */
export function topK(k: number, options: LabelOptions = {}): Metric {
  if (!Number.isInteger(k) || k < 1) {
    throw new RangeError(
      `Cannot measure the top ${k}: it must be a positive integer`,
    );
  }
  return shareOfFirst(`top${k}`, k, options);
}

/** e to the mean loss: the number of equally likely answers that the loss stands for. */
export function perplexity(): Metric {
  return ratioOfLosses("perplexity", Math.exp);
}

/** Counts of true classes (rows) against predicted ones (columns). */
export interface ConfusionMatrix extends Metric {
  /** The counts [true][predicted]. */
  matrix(): number[][];
  /** Of those predicted as the class, the share that is of it; NaN when none was predicted. */
  precision(c: number): number;
  /** Of those of the class, the share that was predicted; NaN when there is none. */
  recall(c: number): number;
  /** Harmonic mean of precision and recall. */
  f1(c: number): number;
}

/**
 * Confusion matrix over `classes` classes; as a number, it is the mean F1 over
 * the classes that occur.
 *
 * @throws {RangeError} unless `classes` is a positive integer.
 */
export function confusionMatrix(
  classes: number,
  options: LabelOptions = {},
): ConfusionMatrix {
  checkOptions("make a confusion matrix", options, labelOptions);
  if (!Number.isInteger(classes) || classes < 1) {
    throw new RangeError(
      `Cannot make a confusion matrix of ${classes} classes: it must be a positive integer`,
    );
  }
  let counts = new Array<number>(classes * classes).fill(0);
  const row = (c: number) =>
    counts.slice(c * classes, (c + 1) * classes).reduce((a, b) => a + b, 0);
  const column = (c: number) =>
    counts.reduce((a, n, i) => i % classes === c ? a + n : a, 0);
  const hits = (c: number) => counts[c * classes + c];
  const f1 = (c: number) => 2 * hits(c) / (row(c) + column(c));
  return {
    name: "f1",
    update(output, target) {
      const s = scoresOf(output, target, options);
      if (s.classes !== classes) {
        throw new ShapeError(
          `Cannot count ${s.classes} classes in a confusion matrix of ${classes}: make it with the outputs' number of classes`,
        );
      }
      for (const i of s.rows) counts[s.target(i) * classes + best(s, i)]++;
    },
    value() {
      const seen = Array.from({ length: classes }, (_, c) => c).filter((c) =>
        row(c) + column(c) > 0
      );
      return seen.reduce((sum, c) => sum + f1(c), 0) / seen.length;
    },
    reset() {
      counts.fill(0);
    },
    state: () => [...counts],
    restore(state) {
      counts = [...state as number[]];
    },
    matrix: () =>
      Array.from(
        { length: classes },
        (_, c) => counts.slice(c * classes, (c + 1) * classes),
      ),
    precision: (c) => hits(c) / column(c),
    recall: (c) => hits(c) / row(c),
    f1,
  };
}
