/**
 * One layer of a recurrent network in one direction, over all time steps: the
 * input's products at once, then the loop over steps.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { materialize } from "../core/fuse.ts";
import { contiguous } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import { Tensor } from "../core/tensor.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { Elementwise } from "./engine.ts";
import { fill, reshape, sum } from "./foundation.ts";
import { stack } from "./joining.ts";
import { linear } from "./linear.ts";
import { batchMatmul } from "./matmul.ts";
import { t } from "./samples.ts";
import { throughDefinition } from "./through_definition.ts";
import { narrow, select } from "./slicing.ts";
import { type CellKind, cells, type LayerAttrs } from "./recurrent_cells.ts";
import { backward, forward, releaseAll, timeline } from "./recurrent_steps.ts";

interface LayerOperands {
  /** Input [T, B, I], first hidden state [B, H], weights. */
  readonly x: Tensor;
  readonly h0: Tensor;
  readonly c0: Tensor | undefined;
  readonly wIh: Tensor;
  readonly wHh: Tensor;
  readonly bIh: Tensor | undefined;
  readonly bHh: Tensor | undefined;
  /** Steps of each sequence [B, 1] (i32). */
  readonly lengths: Tensor | undefined;
}

function byName(inputs: readonly Tensor[]): LayerOperands {
  const [x, h0, c0, wIh, wHh, bIh, bHh, lengths] = inputs;
  return { x, h0, c0, wIh, wHh, bIh, bHh, lengths };
}

/** Each state of a cell as an elementwise function of gates and states, differentiable to any order. */
const stateFunctions = new Map<CellKind, readonly Elementwise[]>();

function statesOf(kind: CellKind): readonly Elementwise[] {
  let found = stateFunctions.get(kind);
  if (found === undefined) {
    const cell = cells[kind];
    const count = 2 * cell.gates + 1 + (cell.hasCell ? 1 : 0);
    const define = (i: number) => (operands: readonly Expr[]) => {
      const x = operands.slice(0, cell.gates);
      const r = operands.slice(cell.gates, 2 * cell.gates);
      const h = operands[2 * cell.gates];
      return cell.step(x, r, h, operands[2 * cell.gates + 1] ?? h)[i];
    };
    found = Array.from(
      { length: cell.hasCell ? 2 : 1 },
      (_, i) =>
        new Elementwise(`${kind} cell`, count, define(i), "promote", false),
    );
    stateFunctions.set(kind, found);
  }
  return found;
}

/** The layer step by step in operators: its definition, and the way to higher derivatives. */
function composedLayer(
  inputs: readonly Tensor[],
  { kind, reverse }: LayerAttrs,
): Tensor[] {
  const { x, h0, c0, wIh, wHh, bIh, bHh, lengths } = byName(inputs);
  const cell = cells[kind];
  const [steps, batch, features] = x.shape;
  const hidden = h0.shape[1];
  const gates = reshape(
    linear(reshape(x, [-1, features]), wIh, bIh),
    [steps, batch, cell.gates * hidden],
  );
  const split = (row: Tensor) =>
    Array.from(
      { length: cell.gates },
      (_, g) => narrow(row, 1, g * hidden, hidden),
    );
  let h = h0, c = c0;
  const ys: Tensor[] = [];
  for (const t of timeline(steps, reverse)) {
    const operands = [
      ...split(select(gates, 0, t)),
      ...split(linear(h, wHh, bHh)),
      h,
      ...(c === undefined ? [] : [c]),
    ];
    const [nextH, nextC] = statesOf(kind).map((f) => f.apply(operands));
    if (lengths === undefined) {
      ys[t] = h = nextH;
      c = nextC;
    } else {
      ys[t] = keepWithin.apply([lengths, t, nextH, fill([], 0, h.dtype)]);
      h = keepWithin.apply([lengths, t, nextH, h]);
      if (c !== undefined) c = keepWithin.apply([lengths, t, nextC, c]);
    }
  }
  return [stack(ys, 0), h, ...(c === undefined ? [] : [c])];
}

/** `b` from step `t` on where a sequence has ended, `a` before. */
const keepWithin = new Elementwise(
  "sequence end",
  4,
  ([length, t, a, b]) => k.select(k.lt(t, length), a, b),
  "promote",
  false,
);

/** Signature of {@linkcode recurrentLayer}. */
export type RecurrentLayer = (
  inputs: readonly (Tensor | undefined)[],
  attrs: LayerAttrs,
) => Tensor[];

/**
 * One layer in one direction over all steps.
 *
 * @param inputs x [T, B, I], h0 [B, H], c0 [B, H] (lstm), w_ih [G·H, I],
 * w_hh [G·H, H], b_ih [G·H], b_hh [G·H], lengths [B, 1] (i32); what is not
 * there is undefined.
 * @returns Outputs [T, B, H], the last hidden state, for lstm the last cell state.
 * @throws {ShapeError} when the extents do not fit.
 */
export const recurrentLayer: RecurrentLayer = operator<
  RecurrentLayer,
  LayerAttrs
>({
  name: "recurrentLayer",
  family: "recurrent",
  inputs: ["x", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh", "lengths"],
  attrs: { kind: "lstm", reverse: false },
  bind: (inputs, attrs) => ({ inputs, attrs }),
  formula: "hₜ, cₜ = cell(xₜ, hₜ₋₁, cₜ₋₁), from the last t on with reverse",
  savesOutputs: true,
  results: ({ kind }) => cells[kind].hasCell ? 3 : 2,
  run: (inputs, attrs) => {
    const { x, h0, c0, wIh, wHh, bIh, bHh, lengths } = byName(inputs);
    checkLayer(byName(inputs), attrs.kind);
    const [steps, batch, features] = x.shape;
    const gates = reshape(
      linear(reshape(x, [-1, features]), wIh, bIh),
      [steps, batch, wIh.shape[0]],
    );
    materialize(gates.value);
    const dense = [h0, c0, wHh, bHh].map((v) =>
      v === undefined ? undefined : contiguous(v.value)
    );
    const [h, c, w, b] = dense;
    const f = forward(gates.value, h!, c, w!, b, lengths?.value, attrs);
    releaseAll(dense);
    const kept = [f.y, f.lastHidden, f.lastCell, f.recurrent, f.hidden, f.cell];
    return [
      ...kept.flatMap((v) => v === undefined ? [] : [new Tensor(v)]),
      gates,
    ];
  },
  // backpropagation through time: per step the derivative of the cell, then one product for each weight
  gradient: ({ inputs, outputs, grads, attrs, needs }) => {
    if (gradEnabled()) {
      return throughDefinition(
        (again) => composedLayer(again, attrs),
        inputs,
        grads,
      );
    }
    const { x, wIh, wHh, bHh, lengths } = byName(inputs);
    const cell = cells[attrs.kind];
    const results = cell.hasCell ? 3 : 2;
    const [recurrent, hidden] = outputs.slice(results);
    const gates = outputs[outputs.length - 1];
    const trace = {
      recurrent: recurrent.value,
      hidden: hidden.value,
      cell: cell.hasCell ? outputs[results + 2].value : undefined,
    };
    const dense = (v: Tensor) => new Tensor(contiguous(v.value)).value;
    const dy = dense(
      grads[0] ?? fill(outputs[0].shape, 0, x.dtype, x.device),
    );
    const last = grads.slice(1, results).map((g) => g && dense(g));
    const w = dense(wHh);
    const b = bHh && dense(bHh);
    const d = backward(
      trace,
      gates.value,
      w,
      b,
      lengths?.value,
      dy,
      last[0],
      last[1],
      attrs,
    );
    const [steps, batch, features] = x.shape;
    const width = wIh.shape[0];
    const dx = reshape(new Tensor(d.dx), [-1, width]);
    const dr = reshape(new Tensor(d.dr), [-1, width]);
    const dh0 = new Tensor(d.dh0);
    const dc0 = d.dc0 === undefined ? undefined : new Tensor(d.dc0);
    const xs = reshape(x, [-1, features]);
    const hs = reshape(hidden, [-1, hidden.shape[2]]);
    const biases = [
      needs(5) ? sum(dx, 0) : undefined,
      needs(6) ? sum(dr, 0) : undefined,
    ];
    // Equal gates have equal sums.
    if (cell.addsGates && needs(5)) biases[1] = biases[0];
    return [
      needs(0)
        ? reshape(batchMatmul(dx, wIh), [steps, batch, features])
        : undefined,
      dh0,
      dc0,
      needs(3) ? batchMatmul(dx, xs, { transposeA: true }) : undefined,
      needs(4) ? batchMatmul(dr, hs, { transposeA: true }) : undefined,
      ...biases,
    ];
  },
  samples: (["lstm", "gru", "tanh", "relu"] as const).flatMap((kind) => {
    const g = cells[kind].gates;
    const scale = { low: -0.9, high: 0.8 };
    const c0 = cells[kind].hasCell ? t([2, 3], scale) : undefined;
    const weights = [t([3 * g, 2], scale), t([3 * g, 3], scale)];
    const biases = [t([3 * g], scale), t([3 * g], { low: -0.5, high: 0.4 })];
    const lengths = t([2, 1], { dtype: "i32", data: [2, 3] });
    return [
      [[t([3, 2, 2]), t([2, 3], scale), c0, ...weights, ...biases, undefined], {
        kind,
      }],
      [[
        t([3, 2, 2]),
        t([2, 3], scale),
        c0,
        ...weights,
        undefined,
        undefined,
        lengths,
      ], { kind, reverse: true }],
    ];
  }),
});

function checkLayer(o: LayerOperands, kind: CellKind): void {
  const { x, h0, wIh, wHh } = o;
  const { gates, hasCell } = cells[kind];
  const bad = (why: string) =>
    new ShapeError(
      `Cannot run a ${kind} layer on an input of shape ${
        shapeText(x.shape)
      } with a state of shape ${shapeText(h0.shape)} and weights of shapes ${
        shapeText(wIh.shape)
      } and ${shapeText(wHh.shape)}: ${why}`,
    );
  if (x.rank !== 3) throw bad("the input must be [time, batch, features]");
  if (x.shape[0] === 0) throw bad("there must be at least one time step");
  if (h0.rank !== 2 || h0.shape[0] !== x.shape[1]) {
    throw bad("the state must be [batch, hidden]");
  }
  const hidden = h0.shape[1];
  if (
    wIh.rank !== 2 || wIh.shape[0] !== gates * hidden ||
    wIh.shape[1] !== x.shape[2]
  ) {
    throw bad(`the first weights must be [${gates * hidden}, ${x.shape[2]}]`);
  }
  if (
    wHh.rank !== 2 || wHh.shape[0] !== gates * hidden || wHh.shape[1] !== hidden
  ) {
    throw bad(`the second weights must be [${gates * hidden}, ${hidden}]`);
  }
  if (hasCell && o.c0 === undefined) throw bad("a cell state is needed too");
}
