/**
 * The time loop of a recurrent layer, forward and backward: per step one product
 * and one kernel. The backward kernel is derived from the cell's expressions.
 *
 * @module
 */

import type { MatrixOperand } from "../core/device.ts";
import { runRows } from "../core/row_kernels.ts";
import { Value } from "../core/value.ts";
import { differentiate } from "../kernel/differentiate.ts";
import * as k from "../kernel/expr.ts";
import type { Expr } from "../kernel/expr.ts";
import { type Cell, cells, type LayerAttrs } from "./recurrent_cells.ts";

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

function matrixOperand(v: Value, swap: boolean): MatrixOperand {
  return {
    storage: v.storage,
    offset: v.offset,
    rowStride: v.strides[swap ? 1 : 0],
    columnStride: v.strides[swap ? 0 : 1],
    batchStrides: [],
  };
}

/** The right factor op(w) of all steps' products in the order in which the device reads it, where it gains by that. */
function packed(w: Value, transpose: boolean): Value | undefined {
  const { device, dtype, shape: [rows, columns] } = w;
  if (device.packFactor === undefined || (dtype !== "f32" && dtype !== "f64")) {
    return undefined;
  }
  const [k, n] = transpose ? [columns, rows] : [rows, columns];
  const factor = { dtype, k, n, b: matrixOperand(w, transpose) } as const;
  const into = Value.empty(device, dtype, [device.packedElements!(factor)]);
  device.packFactor(factor, into);
  return into;
}

/** c[B, n] = a[B, m]·op(w), without an operator call. */
function multiplyInto(
  c: Value,
  a: Value,
  w: Value,
  transpose: boolean,
  packed: Value | undefined,
): void {
  c.device.matmul({
    dtype: c.dtype as "f32",
    m: c.shape[0],
    n: c.shape[1],
    k: a.shape[1],
    batchShape: [],
    a: matrixOperand(a, false),
    b: matrixOperand(w, transpose),
    c: matrixOperand(c, false),
    packed,
  });
}

/** Releases values. */
export function releaseAll(values: readonly (Value | undefined)[]): void {
  for (const value of values) value?.release();
}

/** The order in which steps are taken. */
export function timeline(steps: number, reverse: boolean): number[] {
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
export interface Trace {
  /** Recurrent gates [T, B, G·H]. */
  readonly recurrent: Value;
  /** Hidden states before each step, [T, B, H]. */
  readonly hidden: Value;
  /** Cell states before each step. */
  readonly cell: Value | undefined;
}

/** All results of a forward pass. */
export interface Forward extends Trace {
  /** Outputs [T, B, H]. */
  readonly y: Value;
  /** Last hidden state [B, H]. */
  readonly lastHidden: Value;
  /** Last cell state. */
  readonly lastCell: Value | undefined;
}

/** Runs all steps; `x` are the input's gates [T, B, G·H]. */
export function forward(
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
  const factor = packed(w, true);
  copyInto(stepView(before, order[0]), h0);
  if (cellBefore !== undefined) copyInto(stepView(cellBefore, order[0]), c0!);
  const lastHidden = state();
  const lastCell = cell.hasCell ? state() : undefined;
  order.forEach((t, n) => {
    const h = stepView(before, t);
    const r = stepView(recurrent, t);
    multiplyInto(r, h, w, true, factor);
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
  factor?.release();
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
export interface Backward {
  /** Of the input's gates [T, B, G·H]. */
  readonly dx: Value;
  /** Of the recurrent gates. */
  readonly dr: Value;
  /** Of the first hidden state [B, H]. */
  readonly dh0: Value;
  /** Of the first cell state. */
  readonly dc0: Value | undefined;
}

/** Walks the steps backwards. */
export function backward(
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
  // Where the cell only adds its gates, their gradients are the same.
  const dr = cell.addsGates ? dx.retain() : Value.empty(device, dtype, x.shape);
  const factor = packed(w, false);
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
    const drs = cell.addsGates
      ? []
      : gates.map((i) => gateView(dr, t, i, hidden));
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
          ...(cell.addsGates ? [] : names.r.map((e) => grad(e, zero))),
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
    multiplyInto(nextThrough, dgates, w, false, factor);
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
  factor?.release();
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
