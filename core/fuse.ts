/**
 * From pending expressions to launches: flattens the expressions that feed a
 * kernel into one program, caches programs by structure, and runs them.
 *
 * @module
 */

import { bytesOf, type DType } from "./dtype.ts";
import type { Device, Launch, Strided } from "./device.ts";
import { broadcastStrides, type Shape, sizeOf } from "./shape.ts";
import * as k from "../kernel/expr.ts";
import type { Expr, ScalarType } from "../kernel/expr.ts";
import { simplify } from "../kernel/simplify.ts";
import {
  type Output,
  type Program,
  program,
  type Stage,
} from "../kernel/program.ts";
import { sharedOrder, Value } from "./value.ts";

/** Largest number of stored operands that one kernel reads. */
export const maxLeaves = 12;
/** Largest number of expression nodes that stay pending. */
export const maxNodes = 64;

/** Called with each launch, when something wants to watch. */
export const observer: { launch?: (launch: Launch) => void } = {};

function run(device: Device, launch: Launch): void {
  observer.launch?.(launch);
  device.launch(launch);
}

/**
 * A place in the tree of structures: each step to a child is one part of an
 * expression (a template, an operand, a number), so that finding a kernel
 * again takes no text. A template's operands follow it, as many as it takes,
 * which makes paths unambiguous.
 */
class Place {
  #code = -1;
  #only: Place | undefined;
  #others: Map<number, Place> | undefined;
  /** The program of the structure that ends here. */
  program: Program | undefined;
  /** For row kernels, the axes in the order in which they are walked. */
  order: readonly number[] = none;
  /** For row kernels, whether all axes may be walked as one where operands allow it. */
  mergeable = false;

  /** The child for a part. */
  to(code: number): Place {
    if (code === this.#code) return this.#only!;
    if (this.#only === undefined) {
      this.#code = code;
      return this.#only = new Place();
    }
    this.#others ??= new Map();
    let child = this.#others.get(code);
    if (child === undefined) this.#others.set(code, child = new Place());
    return child;
  }

  /** The child for stored operand `i`. */
  leaf(i: number, dtype: DType): Place {
    return this.to(4 * (16 * i + dtypeCodes[dtype]));
  }
}

const dtypeCodes: Readonly<Record<DType, number>> = {
  f32: 0,
  f64: 1,
  f16: 2,
  bf16: 3,
  i64: 4,
  i32: 5,
  i8: 6,
  u8: 7,
  bool: 8,
};

const unit: readonly number[] = [1];
const zero: readonly number[] = [0];
const none: readonly number[] = [];

/** Operands of a kernel under construction: stored leaves, scalars, and the structure as a path. */
class Fusion {
  readonly leaves: Value[] = [];
  readonly scalars: number[] = [];
  readonly #scalarTypes: ScalarType[] = [];
  readonly #seen: Value[] = [];
  #exprs: Expr[] = [];

  /** Starts the path at `place`. */
  constructor(
    /** Where the path has led so far. */
    public place: Place,
  ) {}

  /** Adds an operand to the path; pending ones of size `size` are inlined, others computed first. */
  visit(value: Value, size: number, passes: number): void {
    const pending = value.expression;
    if (pending === undefined) {
      let i = this.leaves.indexOf(value);
      if (i < 0) i = this.leaves.push(value) - 1;
      this.place = this.place.leaf(i, value.dtype);
      return;
    }
    const again = this.#seen.indexOf(value);
    if (again >= 0) {
      this.place = this.place.to(4 * again + 1);
      return;
    }
    if (!inlines(value, size, passes)) {
      materialize(value);
      this.visit(value, size, passes);
      return;
    }
    pending.uses++;
    this.inline(value, size, passes);
  }

  /** Adds a pending value as part of the kernel. */
  inline(value: Value, size: number, passes: number): void {
    const { template, args } = value.expression!;
    this.place = this.place.to(4 * template.id + 2);
    for (let i = 0; i < args.length; i++) {
      const arg = args[i];
      if (typeof arg === "number") {
        this.scalars.push(arg);
        this.place = this.place.to(3);
      } else this.visit(arg, size, passes);
    }
    this.#seen.push(value);
  }

  /** The operand as an expression; call in the order of `visit`. Only needed when the program is new. */
  build(value: Value): Expr {
    const pending = value.expression;
    if (pending === undefined) {
      return k.input(this.leaves.indexOf(value), k.computeType(value.dtype));
    }
    const again = this.#seen.indexOf(value);
    if (this.#exprs[again] !== undefined) return this.#exprs[again];
    const { template } = pending;
    // In the order of visit, so that scalars get the numbers they were given at.
    const args = pending.args.map((arg, i) => {
      if (typeof arg !== "number") return this.build(arg);
      const type = scalarTypeOf(template.expr, i);
      return k.scalar(this.#scalarTypes.push(type) - 1, type);
    });
    const body = k.transform(
      template.expr,
      (e) => e.op === "input" || e.op === "scalar" ? args[Number(e.value)] : e,
    );
    const expr = k.roundTo(body, template.dtype);
    this.#exprs[again] = expr;
    return expr;
  }

  /** Starts building: scalars are numbered in the order of `visit`. */
  begin(): void {
    this.#exprs = [];
    this.#scalarTypes.length = 0;
  }

  /** Types of the scalars seen by `build`. */
  get scalarTypes(): ScalarType[] {
    return this.#scalarTypes;
  }
}

function scalarTypeOf(expr: Expr, i: number): ScalarType {
  let type: ScalarType = "f32";
  k.traverse([expr], (e) => {
    if (e.op === "scalar" && e.value === i) type = e.type;
  });
  return type;
}

function inlines(value: Value, size: number, passes: number): boolean {
  const pending = value.expression!;
  if (pending.leaves === 0) return true; // a constant fill costs nothing
  if (value.size !== size) return false; // a broadcast operand would be recomputed for every copy
  return !(pending.template.heavy && (pending.uses >= 2 || passes > 1));
}

const elementwise = new Place();

/** Finds or makes the program that computes a pending value; its place is the fusion's. */
function compileElementwise(value: Value): Fusion {
  const fusion = new Fusion(elementwise);
  fusion.inline(value, value.size, 1); // the root itself is stored, not recomputed
  if (fusion.place.program === undefined) {
    fusion.begin();
    const expr = simplify(fusion.build(value));
    const inputs = fusion.leaves.map((l) => l.dtype);
    fusion.place.program = program(inputs, fusion.scalarTypes, [], [
      { dtype: value.dtype, value: expr, per: "element" },
    ]);
  }
  return fusion;
}

/** The program that would compute a pending value. */
export function pendingProgram(value: Value): Program {
  return compileElementwise(value).place.program!;
}

/** Computes a pending value; does nothing to a stored one. */
export function materialize(value: Value): void {
  const pending = value.expression;
  if (pending === undefined) return;
  const { leaves, scalars, place } = compileElementwise(value);
  value.reserve();
  const { size, shape, strides } = value;
  if (size > 0) {
    const { program } = place;
    const flat = shape.length === 0 ||
      allFlat(leaves, leaves.length, size, value);
    // Results are written in the order of their memory.
    const order = flat || value.contiguous || program!.usesCoords
      ? undefined
      : memoryOrder(strides);
    const walk = (list: readonly number[]) =>
      order === undefined ? list : pick(list, order, 0, order.length);
    run(value.device, {
      name: pending.template.name,
      program: program!,
      sizes: flat ? [size] : walk(shape),
      outerRank: flat ? 0 : shape.length - 1,
      inputs: flat
        ? flatOperands(leaves, leaves.length, size)
        : leaves.map((leaf) =>
          strided(leaf, walk(broadcastStrides(leaf.shape, leaf.strides, shape)))
        ),
      limits: none,
      outputs: [strided(value, flat ? unit : walk(strides))],
      scalars,
    });
  }
  value.settle();
}

/** Axes from the largest step to the smallest. */
function memoryOrder(strides: readonly number[]): number[] {
  return strides.map((_, d) => d).sort((a, b) => strides[b] - strides[a]);
}

/** Whether the first values are single elements, or dense in the memory order of `like`: then one axis is enough. */
function allFlat(
  values: readonly Value[],
  count: number,
  size: number,
  like: Value,
): boolean {
  const rowMajor = like.contiguous;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (value.size === 1) continue;
    if (value.size !== size) return false;
    if (!(rowMajor ? value.contiguous : sameLayout(value, like))) return false;
  }
  return true;
}

/** Whether images with their channels last have their elements in the same places. */
function sameLayout(a: Value, b: Value): boolean {
  if (a.shape.length !== b.shape.length) return false;
  for (let d = 0; d < a.shape.length; d++) {
    if (a.shape[d] !== b.shape[d]) return false;
    if (a.shape[d] !== 1 && a.strides[d] !== b.strides[d]) return false;
  }
  return b.channelsLast;
}

/** Operands over a single axis; those from `streamed` on are read by `load` only. */
function flatOperands(
  values: readonly Value[],
  streamed: number,
  size: number,
): Strided[] {
  const operands = new Array<Strided>(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    const still = i >= streamed || (value.size === 1 && size !== 1);
    operands[i] = strided(value, still ? zero : unit);
  }
  return operands;
}

function strided(value: Value, strides: readonly number[]): Strided {
  return {
    storage: value.storage,
    dtype: value.dtype,
    offset: value.offset,
    strides,
  };
}

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
  /** Existing values to overwrite, one per output, instead of new ones. */
  readonly into?: readonly Value[];
  /** Whether results per element lie in memory as the streams do where those are images with their channels last; row-major otherwise. */
  readonly keepsOrder?: boolean;
  /** How often the row is walked (stages and outputs per element). */
  readonly passes: number;
  /** Stages and outputs. */
  build(builder: RowBuilder): { stages: Stage[]; outputs: Output[] };
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

/** Launches that are to be run together. */
export class LaunchQueue {
  #queued: { device: Device; launch: Launch }[] = [];
  #held: Value[] = [];

  /**
   * Adds a launch.
   *
   * @param device Where it will run.
   * @param launch What.
   * @param values What it reads and writes: kept until it has run, whoever else lets go of them.
   */
  add(device: Device, launch: Launch, values: readonly Value[]): void {
    for (const value of values) this.#held.push(value.retain());
    this.#queued.push({ device, launch });
  }

  /** Runs what was added: those of one program together, where the device can. */
  run(): void {
    try {
      this.#run();
    } finally {
      for (const value of this.#held) value.release();
      this.#held = [];
    }
  }

  #run(): void {
    const queued = this.#queued;
    this.#queued = [];
    const groups = new Map<Device, Map<Program, Launch[]>>();
    for (const { device, launch } of queued) {
      observer.launch?.(launch);
      if (device.launchAll === undefined) {
        device.launch(launch);
        continue;
      }
      let programs = groups.get(device);
      if (programs === undefined) groups.set(device, programs = new Map());
      const group = programs.get(launch.program);
      if (group === undefined) programs.set(launch.program, [launch]);
      else group.push(launch);
    }
    for (const [device, programs] of groups) {
      for (const launches of programs.values()) device.launchAll!(launches);
    }
  }
}

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
  if (results.every((r) => r.size === 0)) return results;
  const flat = place.mergeable && allFlat(leaves, streamed, size, results[0]) &&
    allFlat(results, results.length, size, results[0]);
  const launch: Launch = {
    name: kernel.name,
    program,
    sizes: flat ? [size] : pick(space, order, 0, order.length),
    outerRank: flat ? 0 : outerRank,
    inputs: flat
      ? flatOperands(leaves, streamed, size)
      : leaves.map((leaf, i) => {
        if (i >= streamed) return strided(leaf, order.map(() => 0));
        const own = broadcastStrides(leaf.shape, leaf.strides, space);
        return strided(leaf, pick(own, order, 0, order.length));
      }),
    limits: tables.length === 0 ? none : leaves.map((l) => l.size),
    outputs: flat
      ? flatOperands(results, results.length, size)
      : results.map((r, i) =>
        strided(
          r,
          program.outputs[i].per === "row"
            ? [...r.strides, ...axes.map(() => 0)]
            : pick(r.strides, order, 0, order.length),
        )
      ),
    scalars: scalars.length === 0
      ? fusion.scalars
      : [...fusion.scalars, ...scalars],
    live: kernel.live && (() => [...fusion.scalars, ...kernel.live!()]),
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
  fusion.begin();
  const exprs = streams.map((stream) => fusion.build(stream));
  const first = fusion.scalars.length;
  const types = kernel.scalarTypes ?? scalars.map((): ScalarType => "f32");
  const { stages, outputs } = kernel.build({
    streams: exprs,
    scalars: types.map((type, i) => k.scalar(first + i, type)),
    coord: (axis) => k.coord(order.indexOf(axis)),
    load: (i, offset) =>
      k.load(streamed + i, k.computeType(tables[i].dtype), offset),
  });
  const made = program(
    fusion.leaves.map((l) => l.dtype),
    [...fusion.scalarTypes, ...types],
    stages.map((s) => ({ op: s.op, value: simplify(s.value) })),
    outputs.map((o) => ({ ...o, value: simplify(o.value) })),
  );
  fusion.place.mergeable = space.length > 0 && axes.length === 0 &&
    stages.length === 0 && outputs.every((o) => o.per === "element") &&
    !made.usesCoords;
  return made;
}

const noValues: readonly Value[] = [];

/** `values[order[from]]` to `values[order[to − 1]]`. */
function pick(
  values: readonly number[],
  order: readonly number[],
  from: number,
  to: number,
): number[] {
  const picked = new Array<number>(to - from);
  for (let i = from; i < to; i++) picked[i - from] = values[order[i]];
  return picked;
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
