/**
 * Calls on which elementwise operators are compared with PyTorch.
 *
 * @module
 */

import type { Sample } from "../core/op.ts";
import { t } from "./samples.ts";

/** Both signs of zero and infinity, NaN and ±1; the NaN keeps finite differences away from kinks. */
export const extremes: readonly number[] = [
  NaN,
  Infinity,
  -Infinity,
  0,
  -0,
  1,
  -1,
];

/** Ranges of generated values; [−2, 2) when omitted. */
export interface Range {
  /** Smallest value. */
  readonly low?: number;
  /** Bound of the values. */
  readonly high?: number;
}

/** Floats of every width, zero-dimensional, empty, axes of extent 1. */
export function floatSamples(range: Range = {}): Sample[] {
  return [
    [t([2, 3], range)],
    [t([], range)],
    [t([0, 3], range)],
    [t([2, 1, 3], { ...range, dtype: "f64" })],
    [t([4], { ...range, dtype: "f16" })],
    [t([4], { ...range, dtype: "bf16" })],
  ];
}

/** Floats, and the values where conventions show. */
export function allFloatSamples(range: Range = {}): Sample[] {
  return [...floatSamples(range), [t([7], { data: extremes })]];
}

/** One sample per integer type. */
export function integerSamples(range: Range = {}): Sample[] {
  return [
    [t([3, 2], { low: -5, high: 6, ...range, dtype: "i64" })],
    [t([5], { low: -5, high: 6, ...range, dtype: "i32" })],
    [t([5], { low: -5, high: 6, ...range, dtype: "i8" })],
    [t([5], { ...range, low: 0, high: range.high ?? 6, dtype: "u8" })],
  ];
}

/** Two operands under every kind of broadcasting. */
export function pairSamples(a: Range = {}, b: Range = {}): Sample[] {
  return [
    [t([2, 3], a), t([2, 3], b)],
    [t([2, 3], a), t([3], b)],
    [t([2, 1], a), t([1, 3], b)],
    [t([4], a), t([], b)],
    [t([], a), t([2, 2], b)],
    [t([0, 3], a), t([3], b)],
    [t([5], { ...a, dtype: "f64" }), t([5], b)],
    [t([2, 2], { ...a, dtype: "f16" }), t([2], { ...b, dtype: "bf16" })],
    [t([3], a), t([], { ...b, dtype: "f64", grad: false })],
  ];
}

/** Integers of every width, with each other and with numbers. */
export function integerPairSamples(b: Range = {}): Sample[] {
  const divisor = { low: 1, high: 4, ...b };
  return [
    [
      t([2, 3], { dtype: "i64", low: -7, high: 8 }),
      t([3], { ...divisor, dtype: "i64" }),
    ],
    [
      t([6], { dtype: "i32", low: -7, high: 8 }),
      t([6], { ...divisor, dtype: "i32" }),
    ],
    [
      t([5], { dtype: "i8", low: -7, high: 8 }),
      t([5], { ...divisor, dtype: "i8" }),
    ],
    [
      t([5], { dtype: "u8", low: 0, high: 9 }),
      t([5], { dtype: "u8", low: 1, high: 4 }),
    ],
    [t([5], { dtype: "i32", low: -7, high: 8 }), 3],
  ];
}
