/**
 * In-place updates of persistent tensors (parameters, optimizer state): the
 * only writes to existing memory. Many results in one pass over the data.
 *
 * @module
 */

import { capturing } from "./capture.ts";
import { GraphError, shapeText } from "./errors.ts";
import { materialize } from "./fuse.ts";
import { KernelNames } from "./kernel_names.ts";
import { LaunchQueue } from "./launches.ts";
import {
  copy,
  dense,
  type RowBuilder,
  type RowKernel,
  runRows,
} from "./row_kernels.ts";
import type { Output } from "../kernel/program.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ScalarType } from "../kernel/expr.ts";
import type { Tensor } from "./tensor.ts";
import { Value } from "./value.ts";

/** An update of several tensors of one shape, computed together. */
export interface Update {
  /** Names the structure of `define`: equal names, equal structures. */
  readonly name: string;
  /** Tensors that are read and overwritten. */
  readonly targets: readonly Tensor[];
  /** Tensors that are only read; may be pending. */
  readonly operands: readonly Tensor[];
  /** Run-time scalars. */
  readonly scalars: readonly number[];
  /** The scalars of the next run, where they change from run to run of a captured step. */
  readonly live?: () => readonly number[];
  /** New values of the targets, in the type they compute in. */
  define(
    targets: readonly Expr[],
    operands: readonly Expr[],
    scalars: readonly Expr[],
  ): readonly Expr[];
}

/**
 * Whether nothing else refers to the bytes: then they are overwritten, else
 * the tensor gets new memory, so that saved and pending values stay correct.
 */
export function exclusive(value: Value): boolean {
  return value.expression === undefined && value.refs === 1 &&
    value.storage.owners === 1 && (value.contiguous || value.channelsLast);
}

/** New memory for a target whose bytes somebody else refers to. */
function elsewhere({ name }: Update, old: Value): Value {
  const { device, dtype, shape } = old;
  if (capturing()) {
    throw new GraphError(
      `Cannot capture the update ${name} of a tensor of shape ${
        shapeText(shape)
      }: something else refers to its bytes, so it would move to new memory and a replay would update the old one; dispose of views and detached copies of the parameters first`,
    );
  }
  const order = old.channelsLast ? old.strides : undefined;
  return Value.empty(device, dtype, shape, order);
}

let gate: Tensor | undefined;

/** Runs `body`, whose updates leave their targets as they are where a single element is 0 when they run. */
export function gatedBy<T>(condition: Tensor, body: () => T): T {
  const outer = gate;
  gate = condition;
  try {
    return body();
  } finally {
    gate = outer;
  }
}

/** The update, where the gate that is in force lets it happen. */
function gated(u: Update): Update {
  if (gate === undefined) return u;
  return {
    ...u,
    operands: [...u.operands, gate],
    define(targets, operands, scalars) {
      const open = operands[operands.length - 1];
      const news = u.define(targets, operands.slice(0, -1), scalars);
      return news.map((x, i) => k.select(k.gt(open, 0), x, targets[i]));
    },
  };
}

const kernelNames = new KernelNames();

/** Runs an update. */
export function update(u: Update): void {
  runUpdate(u, undefined);
}

/** Runs updates of different tensors, whose operands are not among the targets of others: together, where the device can. */
export function updateAll(updates: readonly Update[]): void {
  const queue = new LaunchQueue();
  try {
    for (const u of updates) runUpdate(u, queue);
  } finally {
    queue.run();
  }
}

function runUpdate(asked: Update, queue: LaunchQueue | undefined): void {
  const u = gated(asked);
  const { targets, operands } = u;
  const count = targets.length;
  let shared = false;
  for (let i = 0; i < count; i++) {
    materialize(targets[i].value);
    if (targets[i].value.refs > 1) shared = true;
  }
  const streams = new Array<Value>(count + operands.length);
  for (let i = 0; i < operands.length; i++) {
    const operand = streams[count + i] = operands[i].value;
    // It may read the targets: computed first, it sees the old bytes.
    if (shared && (operand.expression?.leaves ?? 0) > 0) materialize(operand);
  }
  const into: Value[] = [];
  let inPlace = true;
  const giveUp = () => {
    into.forEach((value, i) => {
      if (value !== streams[i]) value.release();
    });
  };
  try {
    for (let i = 0; i < count; i++) {
      const old = streams[i] = targets[i].value;
      into.push(exclusive(old) ? old : elsewhere(u, old));
      if (into[i] !== old) inPlace = false;
    }
  } catch (error) {
    giveUp();
    throw error;
  }
  const name = kernelNames.of(
    asked.name,
    u === asked ? 0 : 1,
    () => `update ${u.name}${u === asked ? "" : " where open"}`,
  );
  const type = scalarType(streams[0]);
  const kernel: RowKernel = {
    name,
    space: streams[0].shape,
    axes: [],
    streams,
    scalars: u.scalars,
    live: u.live,
    scalarTypes: type === "f32" ? undefined : u.scalars.map(() => type),
    into,
    passes: 1,
    build: (builder) => updateOutputs(u, type, builder),
  };
  // What moves to new memory frees the old: its launch cannot wait.
  try {
    runRows(streams[0].device, kernel, inPlace ? queue : undefined);
  } catch (error) {
    giveUp();
    throw error;
  }
  for (let i = 0; i < count; i++) {
    if (into[i] === streams[i]) {
      into[i].writes++;
      continue;
    }
    into[i].madeBy = streams[i].madeBy;
    into[i].loosen();
    targets[i].setValue(into[i]);
  }
}

function updateOutputs(
  u: Update,
  type: ScalarType,
  { streams, scalars }: RowBuilder,
): { stages: []; outputs: Output[] } {
  const count = u.targets.length;
  const wide = streams.map((s) => k.cast(s, type));
  const results = u.define(wide.slice(0, count), wide.slice(count), scalars);
  const outputs = results.map((value, i): Output => {
    const { dtype } = u.targets[i];
    return { dtype, value: k.roundTo(value, dtype), per: "element" };
  });
  return { stages: [], outputs };
}

function scalarType({ dtype }: Value): "f32" | "f64" | "i64" {
  return dtype === "f64" || dtype === "i64" ? dtype : "f32";
}

/** Overwrites a tensor with the elements of another of the same shape and dtype; it keeps its memory order. */
export function assign(target: Tensor, source: Tensor): void {
  if (capturing()) {
    throw new GraphError(
      `Cannot capture the assignment of a tensor of shape ${
        shapeText(target.shape)
      }: it moves to new memory, and a replay would not see it; update it in place`,
    );
  }
  const { value } = source;
  const order = target.value.channelsLast ? target.value.strides : undefined;
  const fresh = value.expression === undefined
    ? copy(value, order)
    : dense(value, order);
  fresh.madeBy = target.value.madeBy;
  fresh.loosen();
  target.setValue(fresh);
}
