/**
 * One layer of a recurrent network in one direction, over all time steps: the
 * input's products at once, then per step one product and one kernel. A cell
 * is a few scalar expressions; its backward pass is derived from them.
 *
 * @module
 */

import { gradEnabled, innerGradients } from "../core/autograd.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { contiguous, materialize, runRows } from "../core/fuse.ts";
import { operator } from "../core/op.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import { differentiate } from "../kernel/differentiate.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { add, mul } from "./arithmetic.ts";
import { Elementwise } from "./engine.ts";
import { fill, reshape, sum } from "./foundation.ts";
import { stack } from "./joining.ts";
import { batchMatmul, linear } from "./matmul.ts";
import { t } from "./samples.ts";
import { narrow, select } from "./slicing.ts";

/** Kinds of recurrent cells. */
export type CellKind = "lstm" | "gru" | "tanh" | "relu";

/** A cell: how gates and states make new states. */
interface Cell {
  /** Gates per hidden unit. */
  readonly gates: number;
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

const cells: Readonly<Record<CellKind, Cell>> = {
  // c′ = σ(f)·c + σ(i)·tanh(g), h′ = σ(o)·tanh(c′); gates i, f, g, o
  lstm: {
    gates: 4,
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
    hasCell: false,
    step: (x, r) => [k.tanh(k.add(x[0], r[0]))],
  },
  relu: {
    gates: 1,
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

/** Step t of [T, B, …] data, gate `g` of `gates`, as [B, H]. */
function gateView(all: Value, t: number, g: number, hidden: number): Value {
  const [, batch, width] = all.shape;
  return all.view(
    [batch, hidden],
    [width, 1],
    all.offset + t * batch * width + g * hidden,
  );
}

function stepView(all: Value, t: number): Value {
  const [, batch, width] = all.shape;
  return all.view([batch, width], [width, 1], all.offset + t * batch * width);
}

/** c[B, n] = a[B, m]·op(w), without an operator call. */
function multiplyInto(c: Value, a: Value, w: Value, transpose: boolean): void {
  const operand = (v: Value, swap: boolean) => ({
    storage: v.storage,
    offset: v.offset,
    rowStride: v.strides[swap ? 1 : 0],
    columnStride: v.strides[swap ? 0 : 1],
    batchStrides: [],
  });
  c.device.matmul({
    dtype: c.dtype as "f32",
    m: c.shape[0],
    n: c.shape[1],
    k: a.shape[1],
    batchShape: [],
    a: operand(a, false),
    b: operand(w, transpose),
    c: operand(c, false),
  });
}

function releaseAll(values: readonly (Value | undefined)[]): void {
  for (const value of values) value?.release();
}

/** The order in which steps are taken. */
function timeline(steps: number, reverse: boolean): number[] {
  const order = Array.from({ length: steps }, (_, t) => t);
  return reverse ? order.reverse() : order;
}

/** Whether step `t` is within the sequence, as a condition; always true without lengths. */
function within(lengths: Expr | undefined, t: Expr): Expr | undefined {
  return lengths === undefined ? undefined : k.lt(t, lengths);
}

function choose(condition: Expr | undefined, a: Expr, b: Expr): Expr {
  return condition === undefined ? a : k.select(condition, a, b);
}

/** All results of a forward pass that the backward pass reads. */
interface Trace {
  /** Recurrent gates [T, B, G·H]. */
  readonly recurrent: Value;
  /** Hidden states before each step, [T, B, H]. */
  readonly hidden: Value;
  /** Cell states before each step. */
  readonly cell: Value | undefined;
}

interface Forward extends Trace {
  readonly y: Value;
  readonly lastHidden: Value;
  readonly lastCell: Value | undefined;
}

/** Runs all steps; `x` are the input's gates [T, B, G·H]. */
function forward(
  x: Value,
  h0: Value,
  c0: Value | undefined,
  w: Value,
  b: Value | undefined,
  lengths: Value | undefined,
  { kind, reverse }: LayerAttrs,
): Forward {
  const cell = cells[kind];
  const { device, dtype } = x;
  const [steps, batch, width] = x.shape;
  const hidden = width / cell.gates;
  const state = () => Value.empty(device, dtype, [batch, hidden]);
  const recurrent = Value.empty(device, dtype, [steps, batch, width]);
  const before = Value.empty(device, dtype, [steps, batch, hidden]);
  const cellBefore = cell.hasCell
    ? Value.empty(device, dtype, [steps, batch, hidden])
    : undefined;
  const y = Value.empty(device, dtype, [steps, batch, hidden]);
  const order = timeline(steps, reverse);
  copyInto(stepView(before, order[0]), h0);
  if (cellBefore !== undefined) copyInto(stepView(cellBefore, order[0]), c0!);
  const lastHidden = state();
  const lastCell = cell.hasCell ? state() : undefined;
  order.forEach((t, n) => {
    const h = stepView(before, t);
    const r = stepView(recurrent, t);
    multiplyInto(r, h, w, true);
    const c = cellBefore === undefined ? undefined : stepView(cellBefore, t);
    const next = order[n + 1];
    const nextHidden = next === undefined
      ? lastHidden.retain()
      : stepView(before, next);
    const nextCell = cellBefore === undefined
      ? undefined
      : next === undefined
      ? lastCell!.retain()
      : stepView(cellBefore, next);
    const out = stepView(y, t);
    const gates = Array.from({ length: cell.gates }, (_, g) => g);
    const xs = gates.map((g) => gateView(x, t, g, hidden));
    const rs = gates.map((g) => gateView(recurrent, t, g, hidden));
    const bs = b === undefined
      ? []
      : gates.map((g) => b.view([1, hidden], [0, 1], b.offset + g * hidden));
    const streams = [
      ...xs,
      ...rs,
      ...bs,
      h,
      ...(c === undefined ? [] : [c]),
      ...(lengths === undefined ? [] : [lengths]),
    ];
    runRows(device, {
      name: `${kind} step${b === undefined ? "" : " bias"}${
        lengths === undefined ? "" : " lengths"
      }`,
      space: [batch, hidden],
      axes: [],
      streams,
      scalars: [t],
      scalarTypes: ["i32"],
      passes: 1,
      into: [out, nextHidden, ...(nextCell === undefined ? [] : [nextCell])],
      build: ({ streams: s, scalars: [time] }) => {
        const leaves = stepLeaves(
          s,
          cell,
          b !== undefined,
          lengths !== undefined,
        );
        const states = cell.step(leaves.x, leaves.r, leaves.h, leaves.c);
        const inside = within(leaves.lengths, time);
        const zero = k.constant(0, leaves.h.type);
        return {
          stages: [],
          outputs: [
            { dtype, per: "element", value: choose(inside, states[0], zero) },
            {
              dtype,
              per: "element",
              value: choose(inside, states[0], leaves.h),
            },
            ...(cell.hasCell
              ? [{
                dtype,
                per: "element" as const,
                value: choose(inside, states[1], leaves.c),
              }]
              : []),
          ],
        };
      },
    });
    releaseAll([h, r, c, nextHidden, nextCell, out, ...xs, ...rs, ...bs]);
  });
  return {
    recurrent,
    hidden: before,
    cell: cellBefore,
    y,
    lastHidden,
    lastCell,
  };
}

/** The leaves of a step by their meaning, in the order of the streams. */
function stepLeaves(
  s: readonly Expr[],
  cell: Cell,
  bias: boolean,
  lengths: boolean,
): {
  x: Expr[];
  r: Expr[];
  h: Expr;
  c: Expr;
  lengths: Expr | undefined;
  used: number;
} {
  const g = cell.gates;
  const x = s.slice(0, g);
  let used = 2 * g;
  let r = s.slice(g, used);
  if (bias) {
    r = r.map((e, i) => k.add(e, s[used + i]));
    used += g;
  }
  const h = s[used++];
  const c = cell.hasCell ? s[used++] : h;
  return {
    x,
    r,
    h,
    c,
    lengths: lengths ? k.cast(s[used++], "i32") : undefined,
    used,
  };
}

/** Copies a state into a view, and releases the view. */
function copyInto(target: Value, source: Value): void {
  runRows(target.device, {
    name: "copy",
    space: target.shape,
    axes: [],
    streams: [source],
    passes: 1,
    into: [target],
    build: ({ streams }) => ({
      stages: [],
      outputs: [{ dtype: target.dtype, value: streams[0], per: "element" }],
    }),
  });
  target.release();
}

/** Gradients of the gates (of input and recurrence) at all steps, and of the first states. */
interface Backward {
  readonly dx: Value;
  readonly dr: Value;
  readonly dh0: Value;
  readonly dc0: Value | undefined;
}

/** Walks the steps backwards. */
function backward(
  trace: Trace,
  x: Value,
  w: Value,
  b: Value | undefined,
  lengths: Value | undefined,
  dy: Value,
  dhLast: Value | undefined,
  dcLast: Value | undefined,
  { kind, reverse }: LayerAttrs,
): Backward {
  const cell = cells[kind];
  const { device, dtype } = x;
  const [steps, batch, width] = x.shape;
  const hidden = width / cell.gates;
  const state = () => Value.empty(device, dtype, [batch, hidden]);
  const zeros = () => {
    const z = state();
    runRows(device, {
      name: `zeros ${dtype}`,
      space: z.shape,
      axes: [],
      streams: [],
      passes: 1,
      into: [z],
      build: () => ({
        stages: [],
        outputs: [{
          dtype,
          value: k.constant(0, k.computeType(dtype)),
          per: "element",
        }],
      }),
    });
    return z;
  };
  const dx = Value.empty(device, dtype, x.shape);
  const dr = Value.empty(device, dtype, x.shape);
  let through = dhLast === undefined ? zeros() : dhLast.retain(); // by way of the product
  let direct = zeros(); // by way of the state itself
  let dc = cell.hasCell
    ? (dcLast === undefined ? zeros() : dcLast.retain())
    : undefined;
  const gates = Array.from({ length: cell.gates }, (_, g) => g);
  for (const t of timeline(steps, reverse).reverse()) {
    const h = stepView(trace.hidden, t);
    const c = trace.cell === undefined ? undefined : stepView(trace.cell, t);
    const g = stepView(dy, t);
    const xs = gates.map((i) => gateView(x, t, i, hidden));
    const rs = gates.map((i) => gateView(trace.recurrent, t, i, hidden));
    const bs = b === undefined
      ? []
      : gates.map((i) => b.view([1, hidden], [0, 1], b.offset + i * hidden));
    const dxs = gates.map((i) => gateView(dx, t, i, hidden));
    const drs = gates.map((i) => gateView(dr, t, i, hidden));
    const nextDirect = state();
    const nextCell = dc === undefined ? undefined : state();
    const own = [
      ...xs,
      ...rs,
      ...bs,
      h,
      ...(c === undefined ? [] : [c]),
      ...(lengths === undefined ? [] : [lengths]),
    ];
    runRows(device, {
      name: `${kind} step backward${b === undefined ? "" : " bias"}${
        lengths === undefined ? "" : " lengths"
      }`,
      space: [batch, hidden],
      axes: [],
      streams: [...own, g, through, direct, ...(dc === undefined ? [] : [dc])],
      scalars: [t],
      scalarTypes: ["i32"],
      passes: 1,
      into: [
        ...dxs,
        ...drs,
        nextDirect,
        ...(nextCell === undefined ? [] : [nextCell]),
      ],
      build: ({ streams: s, scalars: [time] }) => {
        // Differentiate with respect to names, then put the leaves in.
        const leaves = stepLeaves(
          s,
          cell,
          b !== undefined,
          lengths !== undefined,
        );
        const type = leaves.h.type;
        const [gy, a, d, gc] = s.slice(leaves.used);
        const names = {
          x: leaves.x.map((_, i) => k.input(1000 + i, type)),
          r: leaves.r.map((_, i) => k.input(1100 + i, type)),
          h: k.input(1200, type),
          c: k.input(1201, type),
          gh: k.input(1300, type),
          gc: k.input(1301, type),
        };
        const states = cell.step(names.x, names.r, names.h, names.c);
        const inside = within(leaves.lengths, time);
        const zero = k.constant(0, type);
        const total = k.add(a, d);
        const put = new Map<Expr, Expr>([
          ...names.x.map((e, i): [Expr, Expr] => [e, leaves.x[i]]),
          ...names.r.map((e, i): [Expr, Expr] => [e, leaves.r[i]]),
          [names.h, leaves.h],
          [names.c, leaves.c],
          [names.gh, k.add(gy, total)],
          [names.gc, gc],
        ]);
        const seeds = [names.gh, names.gc];
        const grad = (leaf: Expr, past: Expr): Expr => {
          let result: Expr | undefined;
          states.forEach((e, i) => {
            const part = differentiate(e, leaf, seeds[i]);
            if (part !== undefined) {
              result = result === undefined ? part : k.add(result, part);
            }
          });
          const value = k.transform(result ?? zero, (e) => put.get(e) ?? e);
          return choose(inside, value, past);
        };
        const values = [
          ...names.x.map((e) => grad(e, zero)),
          ...names.r.map((e) => grad(e, zero)),
          // Past the end, the state passes through.
          grad(names.h, total),
          ...(cell.hasCell ? [grad(names.c, gc)] : []),
        ];
        return {
          stages: [],
          outputs: values.map((value) => ({
            dtype,
            per: "element" as const,
            value,
          })),
        };
      },
    });
    const nextThrough = state();
    const dgates = stepView(dr, t);
    multiplyInto(nextThrough, dgates, w, false);
    releaseAll([
      h,
      c,
      g,
      ...xs,
      ...rs,
      ...bs,
      ...dxs,
      ...drs,
      dgates,
      through,
      direct,
      dc,
    ]);
    through = nextThrough;
    direct = nextDirect;
    dc = nextCell;
  }
  const [dh0] = runRows(device, {
    name: "sum of two",
    space: [batch, hidden],
    axes: [],
    streams: [through, direct],
    passes: 1,
    build: ({ streams: [a, d] }) => ({
      stages: [],
      outputs: [{ dtype, per: "element", value: k.add(a, d) }],
    }),
  });
  releaseAll([through, direct]);
  return { dx, dr, dh0, dc0: dc };
}

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
export function composedLayer(
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
  formula: "the cell's equations, step by step",
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
    if (gradEnabled()) return throughDefinition(inputs, grads, attrs);
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
    const dy = contiguous(
      (grads[0] ?? fill(outputs[0].shape, 0, x.dtype, x.device)).value,
    );
    const last = grads.slice(1, results).map((g) =>
      g === undefined ? undefined : contiguous(g.value)
    );
    const w = contiguous(wHh.value);
    const b = bHh === undefined ? undefined : contiguous(bHh.value);
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
    releaseAll([dy, w, b, ...last]);
    const [steps, batch, features] = x.shape;
    const width = wIh.shape[0];
    const dx = reshape(new Tensor(d.dx), [-1, width]);
    const dr = reshape(new Tensor(d.dr), [-1, width]);
    const dh0 = new Tensor(d.dh0);
    const dc0 = d.dc0 === undefined ? undefined : new Tensor(d.dc0);
    const xs = reshape(x, [-1, features]);
    const hs = reshape(hidden, [-1, hidden.shape[2]]);
    return [
      needs(0)
        ? reshape(batchMatmul(dx, wIh), [steps, batch, features])
        : undefined,
      dh0,
      dc0,
      needs(3) ? batchMatmul(dx, xs, { transposeA: true }) : undefined,
      needs(4) ? batchMatmul(dr, hs, { transposeA: true }) : undefined,
      needs(5) ? sum(dx, 0) : undefined,
      needs(6) ? sum(dr, 0) : undefined,
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

/** Gradients by way of the composed definition, recorded for further derivatives. */
function throughDefinition(
  inputs: readonly Tensor[],
  grads: readonly (Tensor | undefined)[],
  attrs: LayerAttrs,
): (Tensor | undefined)[] {
  const results = composedLayer(inputs, attrs);
  let total: Tensor | undefined;
  results.forEach((result, i) => {
    const grad = grads[i];
    if (grad === undefined) return;
    const part = sum(mul(result, grad));
    total = total === undefined ? part : add(total, part);
  });
  if (total === undefined) return [];
  const wanted = inputs.filter((x) => x?.requiresGrad);
  // The arriving gradients have a past of their own, in which the walk must not get lost.
  const arriving = grads.filter((g) => g !== undefined);
  const found = innerGradients(total, [...wanted, ...arriving], {
    createGraph: true,
  });
  return inputs.map((x) =>
    x?.requiresGrad ? found[wanted.indexOf(x)] : undefined
  );
}

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
