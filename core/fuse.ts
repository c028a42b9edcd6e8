/**
 * From pending expressions to launches: flattens the expressions that feed a
 * kernel into one program, caches programs by structure, and runs them.
 *
 * @module
 */

import { bytesOf } from "./dtype.ts";
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
import { Value } from "./value.ts";

/** Largest number of stored operands that one kernel reads. */
export const maxLeaves = 12;
/** Largest number of expression nodes that stay pending. */
export const maxNodes = 64;

/** Called with each launch, when something wants to watch (the profiler, `explain`). */
export const observer: { launch?: (launch: Launch, what: string) => void } = {};

function run(device: Device, launch: Launch, what: string): void {
  observer.launch?.(launch, what);
  device.launch(launch);
}

/** Operands of a kernel under construction: stored leaves, scalars, and the structure as text. */
class Fusion {
  readonly leaves: Value[] = [];
  readonly scalars: number[] = [];
  readonly #scalarTypes: ScalarType[] = [];
  readonly #seen: Value[] = [];
  #exprs: Expr[] = [];
  key = "";

  /** Adds an operand to the key; pending ones of size `size` are inlined, others computed first. */
  visit(value: Value, size: number, passes: number): void {
    const pending = value.expression;
    if (pending === undefined) {
      let i = this.leaves.indexOf(value);
      if (i < 0) i = this.leaves.push(value) - 1;
      this.key += `L${i}${value.dtype}`;
      return;
    }
    const again = this.#seen.indexOf(value);
    if (again >= 0) {
      this.key += `@${again}`;
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
    this.key += `T${template.id}(`;
    for (const arg of args) {
      if (typeof arg === "number") {
        this.scalars.push(arg);
        this.key += "#";
      } else this.visit(arg, size, passes);
    }
    this.key += ")";
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

const programs = new Map<string, Program>();

function compileElementwise(
  value: Value,
): { fusion: Fusion; program: Program } {
  const fusion = new Fusion();
  fusion.inline(value, value.size, 1); // the root itself is stored, not recomputed
  const key = `${value.dtype}:${fusion.key}`;
  let found = programs.get(key);
  if (found === undefined) {
    fusion.begin();
    const expr = simplify(fusion.build(value));
    const inputs = fusion.leaves.map((l) => l.dtype);
    found = program(inputs, fusion.scalarTypes, [], [
      { dtype: value.dtype, value: expr, per: "element" },
    ]);
    programs.set(key, found);
  }
  return { fusion, program: found };
}

/** The program that would compute a pending value. */
export function pendingProgram(value: Value): Program {
  return compileElementwise(value).program;
}

/** Computes a pending value; does nothing to a stored one. */
export function materialize(value: Value): void {
  const pending = value.expression;
  if (pending === undefined) return;
  const { fusion, program } = compileElementwise(value);
  value.reserve();
  if (value.size > 0) {
    const { sizes, inputs } = layout(value.shape, value.size, fusion.leaves);
    const strides = sizes.length === 1 ? unit : value.strides;
    const output = {
      storage: value.storage,
      dtype: value.dtype,
      offset: 0,
      strides,
    };
    run(value.device, {
      program,
      sizes,
      outerRank: sizes.length - 1,
      inputs,
      limits: none,
      outputs: [output],
      scalars: fusion.scalars,
    }, pending.template.name);
  }
  value.settle();
}

const unit: readonly number[] = [1];
const zero: readonly number[] = [0];
const none: readonly number[] = [];

/** Strides of the leaves over the shape; one merged axis when all are contiguous or single elements. */
function layout(
  shape: Shape,
  size: number,
  leaves: readonly Value[],
): { sizes: readonly number[]; inputs: Strided[] } {
  let flat = true;
  for (const leaf of leaves) {
    if (leaf.size !== 1 && (leaf.size !== size || !leaf.contiguous)) {
      flat = false;
      break;
    }
  }
  if (flat || shape.length === 0) {
    const inputs = leaves.map((leaf) =>
      strided(leaf, leaf.size === 1 && size !== 1 ? zero : unit)
    );
    return { sizes: [size], inputs };
  }
  return {
    sizes: shape,
    inputs: leaves.map((leaf) =>
      strided(leaf, broadcastStrides(leaf.shape, leaf.strides, shape))
    ),
  };
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
  /** Operands read at computed offsets; contiguous. */
  readonly tables?: readonly Value[];
  /** Run-time scalars. */
  readonly scalars?: readonly number[];
  /** Types of the run-time scalars. */
  readonly scalarTypes?: readonly ScalarType[];
  /** Existing values to overwrite, one per output, instead of new ones. */
  readonly into?: readonly Value[];
  /** How often the row is walked (stages and outputs per element). */
  readonly passes: number;
  /** Stages and outputs. */
  build(builder: RowBuilder): { stages: Stage[]; outputs: Output[] };
}

/** Runs a row kernel and returns its results: [space] per element, [space without axes] per row. */
export function runRows(device: Device, kernel: RowKernel): Value[] {
  const { space, axes, streams, tables = [] } = kernel;
  const size = sizeOf(space);
  const fusion = new Fusion();
  for (const stream of streams) {
    fusion.visit(stream, size, kernel.passes);
    fusion.key += ";";
  }
  const streamed = fusion.leaves.length;
  for (const table of tables) {
    materialize(table);
    fusion.leaves.push(table);
    fusion.key += `,${table.dtype}`;
  }
  const own = kernel.scalars ?? none;
  const inner = axes;
  const outer = space.map((_, d) => d).filter((d) => !inner.includes(d));
  const order = [...outer, ...inner];
  const key = `${kernel.name}:${space.length}:${inner}:${fusion.key}`;
  let compiled = programs.get(key);
  if (compiled === undefined) {
    fusion.begin();
    const exprs = streams.map((stream) => fusion.build(stream));
    const first = fusion.scalars.length;
    const types = kernel.scalarTypes ?? own.map((): ScalarType => "f32");
    const { stages, outputs } = kernel.build({
      streams: exprs,
      scalars: types.map((type, i) => k.scalar(first + i, type)),
      coord: (axis) => k.coord(order.indexOf(axis)),
      load: (i, offset) =>
        k.load(streamed + i, k.computeType(tables[i].dtype), offset),
    });
    compiled = program(
      fusion.leaves.map((l) => l.dtype),
      [...fusion.scalarTypes, ...types],
      stages.map((s) => ({ op: s.op, value: simplify(s.value) })),
      outputs.map((o) => ({ ...o, value: simplify(o.value) })),
    );
    programs.set(key, compiled);
  }
  const rowShape = outer.map((d) => space[d]);
  const results: Value[] = [];
  try {
    compiled.outputs.forEach((o, i) =>
      results.push(
        kernel.into?.[i] ??
          Value.empty(device, o.dtype, o.per === "row" ? rowShape : space),
      )
    );
  } catch (error) {
    if (kernel.into === undefined) results.forEach((r) => r.release());
    throw error;
  }
  if (results.every((r) => r.size === 0)) return results;
  const permute = (strides: readonly number[]) => order.map((d) => strides[d]);
  const inputs = fusion.leaves.map((leaf, i) =>
    strided(
      leaf,
      i < streamed
        ? permute(broadcastStrides(leaf.shape, leaf.strides, space))
        : order.map(() => 0),
    )
  );
  const outputs = results.map((r, i) =>
    strided(
      r,
      compiled.outputs[i].per === "row"
        ? [...r.strides, ...inner.map(() => 0)]
        : permute(r.strides),
    )
  );
  run(device, {
    program: compiled,
    sizes: order.map((d) => space[d]),
    outerRank: outer.length,
    inputs,
    limits: fusion.leaves.map((l) => l.size),
    outputs,
    scalars: [...fusion.scalars, ...own],
  }, kernel.name);
  return results;
}

/** A stored, contiguous form of the value: itself (retained), or a copy. */
export function contiguous(value: Value): Value {
  materialize(value);
  return value.contiguous ? value.retain() : copy(value);
}

/** A contiguous copy. */
export function copy(value: Value): Value {
  return runRows(value.device, {
    name: "copy",
    space: value.shape,
    axes: [],
    streams: [value],
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
  const bytes = new Uint8Array(value.size * width);
  if (value.size > 0) {
    value.device.read(dense.storage, dense.offset * width, bytes);
  }
  dense.release();
  return bytes;
}
