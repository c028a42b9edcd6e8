/**
 * Row kernels: operators that reduce, gather or write several results, with the
 * pending expressions of their operands; and what is made of them, copies.
 *
 * @module
 */

import { bytesOf } from "./dtype.ts";
import type { Device, DeviceFlag, Launch, Strided } from "./device.ts";
import { FusedExpressions, Fusion, materialize, Place } from "./fuse.ts";
import {
  allFlat,
  flatOperands,
  type LaunchQueue,
  none,
  pick,
  run,
  strided,
} from "./launches.ts";
import { type Shape, sizeOf } from "./shape.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ScalarType } from "../kernel/expr.ts";
import {
  type Output,
  type Program,
  program,
  type Stage,
} from "../kernel/program.ts";
import { simplify } from "../kernel/simplify.ts";
import { sharedOrder, Value } from "./value.ts";

/** What a row kernel's builder gets to write its expressions with. */
export interface RowBuilder {
  /** The streamed operands at the current position. */
  readonly streams: readonly Expr[];
  /** The run-time scalars. */
  readonly scalars: readonly Expr[];
  /** Coordinate along an axis of the iteration space, as i32. */
  coord(axis: number): Expr;
  /** Element `offset` (i32) of table `i`. */
  load(i: number, offset: Expr): Expr;
}

/** A kernel over an iteration space, some of whose axes are reduced. */
export interface RowKernel {
  /** Names the structure that `build` returns, together with the axes and the dtypes of streams and tables: equal names, equal structures. */
  readonly name: string;
  /** Extents to iterate over. */
  readonly space: Shape;
  /** Axes of the space that form a row, ascending. */
  readonly axes: readonly number[];
  /** Operands read once per position, broadcast to the space; may be pending. */
  readonly streams: readonly Value[];
  /** Operands read at computed offsets, counted in row-major order. */
  readonly tables?: readonly Value[];
  /** Run-time scalars. */
  readonly scalars?: readonly number[];
  /** Types of the run-time scalars. */
  readonly scalarTypes?: readonly ScalarType[];
  /** The scalars of the next run, where they change from run to run of a captured step. */
  readonly live?: () => readonly number[];
  /** Existing values to overwrite instead of new ones, by output; the operands may be among them, read where they are written. */
  readonly into?: readonly (Value | undefined)[];
  /** Set where `build` refuses an element, or a row; there must be one if it does. */
  readonly flag?: DeviceFlag;
  /** Whether results per element lie in memory as the streams do where those are images with their channels last; row-major otherwise. */
  readonly keepsOrder?: boolean;
  /** How often the row is walked (stages and outputs per element). */
  readonly passes: number;
  /** Stages, outputs, and which elements (rows, where there are any) are refused. */
  build(
    builder: RowBuilder,
  ): { stages: Stage[]; outputs: Output[]; refuses?: Expr };
}

const rowKernels = new Map<string, Place>();

/** Where the structures of a row kernel begin. */
function rowPlace(kernel: RowKernel): Place {
  let place = rowKernels.get(kernel.name);
  if (place === undefined) rowKernels.set(kernel.name, place = new Place());
  place = place.to(kernel.space.length).to(kernel.streams.length);
  const { axes } = kernel;
  for (let i = 0; i < axes.length; i++) place = place.to(4 * axes[i] + 3);
  return place;
}

const noValues: readonly Value[] = [];

/**
 * Runs a row kernel and returns its results: [space] per element, [space without axes] per row.
 *
 * @param device Where.
 * @param kernel What to compute.
 * @param queue Takes the launch instead of its being run; only for kernels that write into existing values.
 */
export function runRows(
  device: Device,
  kernel: RowKernel,
  queue?: LaunchQueue,
): Value[] {
  const { tables = noValues } = kernel;
  if (tables.length === 0) return runDense(device, kernel, tables, queue);
  const dense: Value[] = [];
  try {
    // Before the streams are looked at, which may be pending on a table.
    for (const table of tables) dense.push(contiguous(table));
    return runDense(device, kernel, dense);
  } finally {
    for (const table of dense) table.release();
  }
}

/** Runs a row kernel whose tables are contiguous. */
function runDense(
  device: Device,
  kernel: RowKernel,
  tables: readonly Value[],
  queue?: LaunchQueue,
): Value[] {
  const { space, axes, streams, scalars = none } = kernel;
  const size = sizeOf(space);
  const fusion = new Fusion(rowPlace(kernel));
  const { leaves } = fusion;
  for (let i = 0; i < streams.length; i++) {
    fusion.visit(streams[i], size, kernel.passes);
  }
  const streamed = leaves.length;
  for (let i = 0; i < tables.length; i++) {
    fusion.place = fusion.place.leaf(leaves.push(tables[i]), tables[i].dtype);
  }
  const { place } = fusion;
  const program = place.program ??= compileRows(kernel, fusion, streamed);
  const { order } = place;
  const outerRank = order.length - axes.length;
  const results = rowResults(device, kernel, program, order);
  // A kernel that only refuses elements has no results.
  const like = results[0] ?? leaves[0];
  if (like.size === 0 && results.every((r) => r.size === 0)) return results;
  const flat = place.mergeable && allFlat(leaves, streamed, size, like) &&
    allFlat(results, results.length, size, like);
  const launch: Launch = {
    name: kernel.name,
    program,
    sizes: flat ? [size] : pick(space, order, 0, order.length),
    outerRank: flat ? 0 : outerRank,
    inputs: flat
      ? flatOperands(leaves, streamed, size)
      : operandsAlong(leaves, streamed, space, order),
    limits: tables.length === 0 ? none : leaves.map((l) => l.size),
    outputs: flat
      ? flatOperands(results, results.length, size)
      : resultsAlong(results, program, order),
    scalars: fusion.scalars.length === 0
      ? scalars
      : scalars.length === 0
      ? fusion.scalars
      : [...fusion.scalars, ...scalars],
    live: kernel.live && (() => [...fusion.scalars, ...kernel.live!()]),
    flag: kernel.flag,
  };
  if (queue !== undefined) {
    queue.add(device, launch, leaves);
    return results;
  }
  try {
    run(device, launch);
  } catch (error) {
    // Nobody gets the results of a kernel that did not run.
    results.forEach((r, i) => {
      if (kernel.into?.[i] === undefined) r.release();
    });
    throw error;
  }
  return results;
}

/** Operands broadcast to the space, whose axes are walked in the given order; those from `streamed` on are read by `load` only. */
function operandsAlong(
  leaves: readonly Value[],
  streamed: number,
  space: Shape,
  order: readonly number[],
): Strided[] {
  const operands = new Array<Strided>(leaves.length);
  const rank = order.length;
  for (let i = 0; i < leaves.length; i++) {
    const { shape, strides } = leaves[i];
    const lead = rank - shape.length;
    const steps = new Array<number>(rank);
    for (let d = 0; d < rank; d++) {
      const own = order[d] - lead;
      steps[d] = i >= streamed || own < 0 || shape[own] !== space[order[d]]
        ? 0
        : strides[own];
    }
    operands[i] = strided(leaves[i], steps);
  }
  return operands;
}

/** Results likewise; those per row have the outer axes only. */
function resultsAlong(
  results: readonly Value[],
  program: Program,
  order: readonly number[],
): Strided[] {
  const operands = new Array<Strided>(results.length);
  const rank = order.length;
  for (let i = 0; i < results.length; i++) {
    const { strides } = results[i];
    const perRow = program.outputs[i].per === "row";
    const steps = new Array<number>(rank);
    for (let d = 0; d < rank; d++) {
      steps[d] = perRow ? strides[d] ?? 0 : strides[order[d]];
    }
    operands[i] = strided(results[i], steps);
  }
  return operands;
}

/** The values that a row kernel writes; none is left behind when memory runs out. */
function rowResults(
  device: Device,
  { space, axes, into, streams, keepsOrder }: RowKernel,
  program: Program,
  order: readonly number[],
): Value[] {
  const results: Value[] = [];
  const strides = keepsOrder
    ? sharedOrder(streams, space, sizeOf(space))
    : undefined;
  try {
    for (const { dtype, per } of program.outputs) {
      const given = into?.[results.length];
      results.push(
        given ??
          (per === "element"
            ? Value.empty(device, dtype, space, strides)
            : Value.empty(
              device,
              dtype,
              pick(space, order, 0, order.length - axes.length),
            )),
      );
    }
  } catch (error) {
    results.forEach((r, i) => {
      if (r !== into?.[i]) r.release();
    });
    throw error;
  }
  return results;
}

/** Makes the program of a row kernel, and notes the order of its axes. */
function compileRows(
  kernel: RowKernel,
  fusion: Fusion,
  streamed: number,
): Program {
  const { space, axes, streams, tables = noValues, scalars = none } = kernel;
  const outer = space.map((_, d) => d).filter((d) => !axes.includes(d));
  const order = fusion.place.order = [...outer, ...axes];
  const fused = new FusedExpressions(fusion.leaves);
  const exprs = streams.map((stream) => fused.of(stream));
  const first = fusion.scalars.length;
  const types = kernel.scalarTypes ?? scalars.map((): ScalarType => "f32");
  const { stages, outputs, refuses } = kernel.build({
    streams: exprs,
    scalars: types.map((type, i) => k.scalar(first + i, type)),
    coord: (axis) => k.coord(order.indexOf(axis)),
    load: (i, offset) =>
      k.load(streamed + i, k.computeType(tables[i].dtype), offset),
  });
  const made = program(
    fusion.leaves.map((l) => l.dtype),
    [...fused.scalarTypes, ...types],
    stages.map((s) => ({ op: s.op, value: simplify(s.value) })),
    outputs.map((o) => ({ ...o, value: simplify(o.value) })),
    refuses && simplify(refuses),
  );
  fusion.place.mergeable = space.length > 0 && axes.length === 0 &&
    stages.length === 0 && outputs.every((o) => o.per === "element") &&
    !made.usesCoords;
  return made;
}

/** A stored, contiguous form of the value: itself (retained), or a copy. */
export function contiguous(value: Value): Value {
  materialize(value);
  return value.contiguous ? value.retain() : copy(value);
}

/** A stored form of the value with the given strides (contiguous when omitted): itself (retained), or a copy. */
export function dense(value: Value, strides?: readonly number[]): Value {
  if (strides === undefined) return contiguous(value);
  materialize(value);
  const same = value.shape.every((n, d) =>
    n === 1 || value.strides[d] === strides[d]
  );
  return same ? value.retain() : copy(value, strides);
}

/** A copy: contiguous, or dense in another order of the axes. */
export function copy(value: Value, strides?: readonly number[]): Value {
  const { device, dtype, shape } = value;
  const into = strides && [Value.empty(device, dtype, shape, strides)];
  return runRows(device, {
    name: "copy",
    space: shape,
    axes: [],
    streams: [value],
    into,
    passes: 1,
    build: ({ streams }) => ({
      stages: [],
      outputs: [{ dtype: value.dtype, value: streams[0], per: "element" }],
    }),
  })[0];
}

/** Copies the elements to the host, in row-major order, as raw bytes. */
export function readBytes(value: Value): Uint8Array<ArrayBuffer> {
  const dense = contiguous(value);
  const width = bytesOf(value.dtype);
  try {
    const bytes = new Uint8Array(value.size * width);
    if (value.size > 0) {
      value.device.read(dense.storage, dense.offset * width, bytes);
    }
    return bytes;
  } finally {
    dense.release();
  }
}
