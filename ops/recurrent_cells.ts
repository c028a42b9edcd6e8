/**
 * Recurrent cells: how gates and states make new states, as scalar expressions.
 *
 * @module
 */

import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";

/** Kinds of recurrent cells. */
export type CellKind = "lstm" | "gru" | "tanh" | "relu";

/** A cell: how gates and states make new states. */
export interface Cell {
  /** Gates per hidden unit. */
  readonly gates: number;
  /** Whether each gate is the sum of the input's and the recurrent one, so that the gradients of both are the same. */
  readonly addsGates: boolean;
  /** Whether there is a cell state besides the hidden state. */
  readonly hasCell: boolean;
  /** New hidden (and cell) state; `x` are the input's gates, `r` the recurrent ones, biases included. */
  step(
    x: readonly Expr[],
    r: readonly Expr[],
    h: Expr,
    c: Expr,
  ): readonly Expr[];
}

/** The cells by kind. */
export const cells: Readonly<Record<CellKind, Cell>> = {
  // c′ = σ(f)·c + σ(i)·tanh(g), h′ = σ(o)·tanh(c′); gates i, f, g, o
  lstm: {
    gates: 4,
    addsGates: true,
    hasCell: true,
    step: (x, r, _, c) => {
      const [i, f, g, o] = x.map((e, n) => k.add(e, r[n]));
      const next = k.add(
        k.mul(k.sigmoid(f), c),
        k.mul(k.sigmoid(i), k.tanh(g)),
      );
      return [k.mul(k.sigmoid(o), k.tanh(next)), next];
    },
  },
  // n = tanh(xₙ + σ(r)·rₙ), h′ = (1 − σ(z))·n + σ(z)·h; gates r, z, n
  gru: {
    gates: 3,
    addsGates: false,
    hasCell: false,
    step: (x, r, h) => {
      const reset = k.sigmoid(k.add(x[0], r[0]));
      const keep = k.sigmoid(k.add(x[1], r[1]));
      const candidate = k.tanh(k.add(x[2], k.mul(reset, r[2])));
      return [k.add(candidate, k.mul(keep, k.sub(h, candidate)))];
    },
  },
  tanh: {
    gates: 1,
    addsGates: true,
    hasCell: false,
    step: (x, r) => [k.tanh(k.add(x[0], r[0]))],
  },
  relu: {
    gates: 1,
    addsGates: true,
    hasCell: false,
    step: (x, r) => {
      const s = k.add(x[0], r[0]);
      return [k.select(k.le(s, 0), 0, s)];
    },
  },
};

/** Attributes of a layer. */
export interface LayerAttrs {
  /** Kind of cell. */
  kind: CellKind;
  /** Whether time runs backwards. */
  reverse: boolean;
}
