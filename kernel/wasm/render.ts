/**
 * Renders a row program as a WebAssembly module that exports
 * `run(params, begin, end)`.
 *
 * Two loop orders exist. In *row* order the vector axis is the last inner
 * axis: a row is reduced across lanes. In *column* order it is the last outer
 * axis: lanes are different rows, each reduced by its own lane.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import {
  FunctionBuilder,
  type MemoryLimits,
  ModuleBuilder,
} from "./assembler.ts";
import { Elements, type Step } from "./elements.ts";
import { LaneEmitter } from "./lanes.ts";
import { lower } from "./lower.ts";
import { type ParamLayout, paramLayout } from "./params.ts";
import { type Accumulator, type Copy, isArg, Reducer } from "./reduce.ts";
import * as k from "../expr.ts";
import type { Expr, ScalarType } from "../expr.ts";
import { type Pass, planPasses } from "../passes.ts";
import { type Output, type Program, roots, type Stage } from "../program.ts";

/** How a program is specialised before its sizes are known. */
export interface Variant {
  /** Loop order. */
  readonly mode: "row" | "column";
  /** Outer axes. */
  readonly outerRank: number;
  /** Inner axes. */
  readonly innerRank: number;
  /** For each operand, inputs first: its movement along the vector axis. */
  readonly steps: readonly ("zero" | "unit" | "any")[];
  /** Whether costly values may wait in the memory of outputs: no output is an operand too. */
  readonly keep: boolean;
}

/** Whether anything in the program is 64 bits wide in registers. */
export function isWide(p: Program): boolean {
  let wide = false;
  k.traverse(roots(p.stages, p.outputs), (e) => {
    if (e.type === "f64" || e.type === "i64") wide = true;
  });
  return wide;
}

/** Columns that one work item of column order covers. */
export function columnBlock(p: Program): number {
  return isWide(p) ? 8 : 16;
}

/** The module's bytes. */
export function render(
  p: Program,
  variant: Variant,
  memory: MemoryLimits,
): Uint8Array<ArrayBuffer> {
  return new Renderer(p, variant).module(memory);
}

class Renderer {
  readonly #program: Program;
  readonly #variant: Variant;
  readonly #wide: boolean;
  readonly #lanes: number;
  readonly #layout: ParamLayout;
  readonly #passes: readonly Pass[];
  readonly #stages: Stage[];
  readonly #outputs: Output[];
  readonly #module = new ModuleBuilder();
  readonly #imports = new Map<string, number>();
  #f!: FunctionBuilder;
  #elements!: Elements;
  #reducer!: Reducer;
  readonly #constants = new Map<Expr, number>();
  readonly #counters: (number | undefined)[] = [];
  readonly #stageLocals: number[][] = [];
  #position = -1;
  #innerPosition = -1;
  #rowStart = -1;
  #usesLinear = false;
  #usesPosition = false;

  constructor(p: Program, variant: Variant) {
    this.#program = p;
    this.#variant = variant;
    this.#wide = isWide(p);
    this.#lanes = this.#wide ? 2 : 4;
    this.#layout = paramLayout(p, variant.outerRank + variant.innerRank);
    const plan = planPasses(p, variant.keep);
    this.#passes = plan.passes.map((pass) => ({
      stages: pass.stages,
      kept: pass.kept.map((kept) => ({ ...kept, value: lower(kept.value) })),
    }));
    this.#stages = plan.stages.map((s) => ({
      op: s.op,
      value: lower(s.value),
    }));
    this.#outputs = plan.outputs.map((o) => ({ ...o, value: lower(o.value) }));
    k.traverse(roots(this.#stages, this.#outputs), (e) => {
      if (e.op === "linear") this.#usesLinear = true;
    });
    this.#usesPosition = this.#usesLinear || p.stages.some((s) => isArg(s));
  }

  module(memory: MemoryLimits): Uint8Array<ArrayBuffer> {
    const m = this.#module;
    m.importMemory("env", "memory", memory);
    // Imports must be known before functions are defined: write the body once to collect them.
    this.#write(new FunctionBuilder(3), (name, arity) => {
      let index = this.#imports.get(name);
      if (index === undefined) {
        index = m.importFunction("env", name, Array(arity).fill("f64"), [
          "f64",
        ]);
        this.#imports.set(name, index);
      }
      return index;
    });
    m.func(
      "run",
      ["i32", "i32", "i32"],
      [],
      (f) => this.#write(f, (name) => this.#imports.get(name)!),
    );
    return m.toBytes();
  }

  #find: (name: string, arity: 1 | 2) => number = () => 0;

  #write(
    f: FunctionBuilder,
    find: (name: string, arity: 1 | 2) => number,
  ): void {
    this.#f = f;
    this.#find = find;
    this.#elements = new Elements(f, this.#wide);
    this.#reducer = new Reducer(
      f,
      this.#wide,
      (name, arity) => this.#find(name, arity),
    );
    this.#constants.clear();
    this.#counters.length = 0;
    this.#stageLocals.length = 0;
    this.#position = f.local("i32");
    this.#innerPosition = f.local("i32");
    this.#rowStart = f.local("i32");
    this.#hoistConstants();
    const bases = this.#variant.steps.map((_, i) => {
      const base = f.local("i32");
      f.get(params).load("i32.load", this.#layout.address(i)).set(base);
      return base;
    });
    if (this.#variant.mode === "column") this.#columns(bases);
    else if (this.#variant.outerRank === 0) {
      this.#row(bases, this.#stages.length === 0);
    } else this.#rows(bases);
  }

  // ---- expressions ----

  /** Computes what depends on literals and scalars only, once per call. */
  #hoistConstants(): void {
    const kept = this.#passes.flatMap((pass) => pass.kept.map((l) => l.value));
    const all = [...roots(this.#stages, this.#outputs), ...kept];
    const needed = this.#fixedParts(all, () => false);
    const found = this.#compute(needed, { unroll: 0, single: false }, []);
    found.forEach((local, e) => this.#constants.set(e, local));
  }

  #emitter(
    copy: Copy,
    pointers: readonly number[],
    known?: ReadonlyMap<Expr, number>,
    splat = false,
  ): LaneEmitter {
    const memo = new Map(this.#constants);
    known?.forEach((local, e) => memo.set(e, local));
    return new LaneEmitter(
      this.#f,
      this.#wide,
      (name, arity) => this.#find(name, arity),
      (e, offset) => this.#leaf(e, copy, pointers, splat, offset),
      memo,
    );
  }

  /** Pushes a leaf. `splat` reads inputs as one element for all lanes (per-row outputs in row order). */
  #leaf(
    e: Expr,
    copy: Copy,
    pointers: readonly number[],
    splat: boolean,
    offset?: number,
  ): void {
    const f = this.#f;
    const i = Number(e.value);
    const { unroll, single } = copy;
    switch (e.op) {
      case "input": {
        const dtype = this.#dtypeOf(i);
        const step = splat ? "zero" : this.#step(i);
        const shift = step === "unit"
          ? unroll * this.#lanes * bytesOf(dtype)
          : 0;
        this.#elements.load(dtype, pointers[i], shift, step, single);
        return;
      }
      case "load": {
        const clamped = f.local("v128");
        f.get(offset!).v128(new Uint8Array(16)).op("i32x4.max_s");
        f.get(params).load("v128.load32_splat", this.#layout.limit(i)).op(
          "i32x4.min_s",
        ).set(clamped);
        const base = f.local("i32");
        f.get(params).load("i32.load", this.#layout.address(i)).set(base);
        this.#elements.loadAt(this.#program.inputs[i], base, clamped, single);
        return;
      }
      case "scalar":
        this.#scalar(i, e.type);
        return;
      case "stage":
        f.get(
          this
            .#stageLocals[i][Math.min(unroll, this.#stageLocals[i].length - 1)],
        );
        return;
      case "coord": {
        const axis = i;
        if (axis === this.#vectorAxis && !splat) {
          this.#iota(this.#position, unroll);
        } else {
          const counter = this.#counters[axis];
          if (counter === undefined) f.i32(0).op("i32x4.splat");
          else f.get(counter).op("i32x4.splat");
        }
        return;
      }
      case "linear":
        f.get(this.#rowStart).get(this.#innerPosition).op("i32.add").get(
          this.#position,
        ).op("i32.add");
        f.op("i32x4.splat");
        this.#addIota(unroll);
        return;
      default:
        throw new TypeError(`Cannot emit ${e.op} as a leaf`);
    }
  }

  get #layoutRank(): number {
    return this.#variant.outerRank + this.#variant.innerRank;
  }

  get #vectorAxis(): number {
    const { mode, outerRank, innerRank } = this.#variant;
    return mode === "column" ? outerRank - 1 : outerRank + innerRank - 1;
  }

  #iota(start: number, unroll: number): void {
    this.#f.get(start).op("i32x4.splat");
    this.#addIota(unroll);
  }

  #addIota(unroll: number): void {
    const bytes = new Uint8Array(16);
    for (let lane = 0; lane < 4; lane++) {
      bytes[4 * lane] = unroll * this.#lanes + lane;
    }
    this.#f.v128(bytes).op("i32x4.add");
  }

  #scalar(i: number, type: ScalarType): void {
    const f = this.#f.get(params);
    const at = this.#layout.scalar(i);
    if (type === "f64" || type === "i64") f.load("v128.load64_splat", at);
    else f.load("v128.load32_splat", at);
    if (type === "bool") {
      f.v128(new Uint8Array(16)).op("i32x4.ne");
      if (this.#wide) f.op("i64x2.extend_low_i32x4_s");
    }
  }

  #step(operand: number): Step {
    const step = this.#variant.steps[operand];
    return step === "any" ? { stride: this.#strideLocal(operand) } : step;
  }

  #strideLocals = new Map<number, number>();
  #strideLocal(operand: number): number {
    return this.#strideLocals.get(operand)!;
  }

  /** Loads the vector-axis strides of operands that need them. */
  #prepareStrides(): void {
    this.#strideLocals = new Map();
    this.#variant.steps.forEach((step, i) => {
      if (step !== "any") return;
      const local = this.#f.local("i32");
      this.#f.get(params).load(
        "i32.load",
        this.#layout.stride(i, this.#vectorAxis),
      ).set(local);
      this.#strideLocals.set(i, local);
    });
  }

  #operandsOf(exprs: readonly Expr[], outputs: readonly number[]): number[] {
    const used = new Set<number>();
    k.traverse(exprs, (e) => {
      if (e.op === "input") used.add(Number(e.value));
    });
    for (const o of outputs) used.add(this.#program.inputs.length + o);
    return [...used];
  }

  // ---- loops ----

  #addStride(pointer: number, operand: number, axis: number): void {
    const f = this.#f;
    f.get(pointer).get(params).load(
      "i32.load",
      this.#layout.stride(operand, axis),
    );
    f.op("i32.add").set(pointer);
  }

  /** Loops over `axes`, moving copies of the pointers of `operands`. Every extent is at least 1. */
  #nest(
    axes: readonly number[],
    operands: readonly number[],
    pointers: readonly number[],
    body: (pointers: readonly number[]) => void,
  ): void {
    if (axes.length === 0) {
      body(pointers);
      return;
    }
    const f = this.#f;
    const [axis, ...rest] = axes;
    const counter = f.local("i32");
    this.#counters[axis] = counter;
    const moving = [...pointers];
    for (const i of operands) {
      moving[i] = f.local("i32");
      f.get(pointers[i]).set(moving[i]);
    }
    f.i32(0).set(counter);
    f.loop((again) => {
      this.#nest(rest, operands, moving, body);
      for (const i of operands) this.#addStride(moving[i], i, axis);
      f.get(counter).i32(1).op("i32.add").tee(counter);
      f.get(params).load("i32.load", this.#layout.size(axis));
      f.op("i32.lt_u").brIf(again);
    });
  }

  /** Row order, all rows in [begin, end). */
  #rows(bases: readonly number[]): void {
    const f = this.#f;
    const outer = this.#variant.outerRank;
    const operands = bases.map((_, i) => i);
    const row = f.local("i32");
    const rest = f.local("i32");
    const at = Array.from({ length: outer }, () => f.local("i32"));
    at.forEach((counter, d) => this.#counters[d] = counter);
    // Position of the first row.
    f.get(begin).tee(row).set(rest);
    for (let d = outer - 1; d >= 0; d--) {
      const size = this.#layout.size(d);
      f.get(rest).get(params).load("i32.load", size).op("i32.rem_u").set(at[d]);
      f.get(rest).get(params).load("i32.load", size).op("i32.div_u").set(rest);
      for (const i of operands) {
        f.get(bases[i]).get(at[d]).get(params).load(
          "i32.load",
          this.#layout.stride(i, d),
        );
        f.op("i32.mul").op("i32.add").set(bases[i]);
      }
    }
    this.#prepareStrides();
    f.block((done) => {
      f.loop((again) => {
        f.get(row).get(end).op("i32.ge_u").brIf(done);
        if (this.#usesLinear) {
          f.get(row);
          for (let d = 0; d < this.#variant.innerRank; d++) {
            f.get(params).load("i32.load", this.#layout.size(outer + d)).op(
              "i32.mul",
            );
          }
          f.set(this.#rowStart);
        }
        this.#row(bases, false);
        f.get(row).i32(1).op("i32.add").set(row);
        f.block((stepped) => {
          for (let d = outer - 1; d >= 0; d--) {
            for (const i of operands) this.#addStride(bases[i], i, d);
            f.get(at[d]).i32(1).op("i32.add").tee(at[d]);
            f.get(params).load("i32.load", this.#layout.size(d)).op("i32.lt_u")
              .brIf(stepped);
            // Carry: back to the start of this axis.
            f.i32(0).set(at[d]);
            for (const i of operands) {
              f.get(bases[i]);
              f.get(params).load("i32.load", this.#layout.stride(i, d));
              f.get(params).load("i32.load", this.#layout.size(d)).op(
                "i32.mul",
              );
              f.op("i32.sub").set(bases[i]);
            }
          }
        });
        f.br(again);
      });
    });
  }

  /** One row in row order; `flat` takes [begin, end) of its only axis. */
  #row(pointers: readonly number[], flat: boolean): void {
    if (this.#variant.outerRank === 0) this.#prepareStrides();
    const f = this.#f;
    const { outerRank, innerRank } = this.#variant;
    const inner = Array.from({ length: innerRank }, (_, d) => outerRank + d);
    const leading = inner.slice(0, -1);
    for (const pass of this.#passes) {
      const { exprs, operands, stages } = this.#contents(pass);
      const unroll = this.#unrollOf(exprs, operands, stages.some(isArg));
      const accumulators = stages.map((stage) =>
        this.#reducer.start(stage, unroll)
      );
      this.#startPass();
      this.#nest(leading, operands, pointers, (p) => {
        this.#vectorLoop(
          operands,
          p,
          exprs,
          unroll,
          false,
          (emitter, copy, q) => {
            this.#reduce(pass, emitter, accumulators, copy, q, () => {
              f.get(this.#innerPosition).get(this.#position).op("i32.add");
              f.op("i32x4.splat");
              this.#addIota(copy.unroll);
            });
          },
          () => this.#reducer.foldAll(stages, accumulators),
        );
        this.#reducer.foldAll(stages, accumulators);
      });
      pass.stages.forEach((s, i) => {
        const result = this.#reducer.finish(stages[i], accumulators[i]);
        this.#stageLocals[s] = [result];
      });
    }
    const perRow = this.#outputs.filter((o) => o.per === "row");
    if (perRow.length > 0) {
      const emitter = this.#emitter(
        { unroll: 0, single: true },
        pointers,
        undefined,
        true,
      );
      emitter.plan(perRow.map((o) => o.value));
      this.#outputs.forEach((o, i) => {
        if (o.per !== "row") return;
        emitter.emit(o.value);
        this.#elements.store(
          o.dtype,
          o.value.type,
          pointers[this.#operand(i)],
          0,
          "zero",
          true,
        );
      });
    }
    const perElement = this.#outputs.flatMap((o, i) =>
      o.per === "element" ? [i] : []
    );
    if (perElement.length > 0) {
      const exprs = perElement.map((i) => this.#outputs[i].value);
      const operands = this.#operandsOf(exprs, perElement);
      this.#startPass();
      this.#nest(leading, operands, pointers, (p) => {
        const copies = this.#unrollOf(exprs, operands, false);
        this.#vectorLoop(
          operands,
          p,
          exprs,
          copies,
          flat,
          (emitter, copy, q) => {
            this.#storeElements(perElement, emitter, copy, q);
          },
        );
      });
    }
  }

  /** What a pass computes, and the operands that it reads and writes. */
  #contents(
    pass: Pass,
  ): { exprs: Expr[]; operands: number[]; stages: Stage[] } {
    const stages = pass.stages.map((s) => this.#stages[s]);
    const exprs = [
      ...stages.map((s) => s.value),
      ...pass.kept.map((kept) => kept.value),
    ];
    const written = pass.kept.map((kept) => kept.output);
    return { exprs, operands: this.#operandsOf(exprs, written), stages };
  }

  /** Takes one vector of elements into the reductions of a pass, and stores what it keeps. */
  #reduce(
    pass: Pass,
    emitter: LaneEmitter,
    accumulators: readonly Accumulator[],
    copy: Copy,
    pointers: readonly number[],
    position: () => void,
  ): void {
    // Lane 0 of a column is a whole column: it has no tail.
    const target = this.#variant.mode === "column"
      ? { ...copy, single: false }
      : copy;
    pass.stages.forEach((s, i) => {
      this.#reducer.accumulate(
        this.#stages[s],
        emitter,
        accumulators[i],
        target,
        position,
      );
    });
    for (const { value, output } of pass.kept) {
      this.#store(output, value, emitter, copy, pointers);
    }
  }

  #operand(output: number): number {
    return this.#program.inputs.length + output;
  }

  #storeElements(
    which: readonly number[],
    emitter: LaneEmitter,
    copy: Copy,
    pointers: readonly number[],
  ): void {
    // All values before the first store: an output may overwrite an operand of another.
    if (which.length > 1) {
      for (const i of which) emitter.toLocal(this.#outputs[i].value);
    }
    for (const i of which) {
      this.#store(i, this.#outputs[i].value, emitter, copy, pointers);
    }
  }

  /** Stores a value where output `i` stands at the current position. */
  #store(
    i: number,
    value: Expr,
    emitter: LaneEmitter,
    copy: Copy,
    pointers: readonly number[],
  ): void {
    const { dtype } = this.#outputs[i];
    emitter.emit(value);
    const step = this.#step(this.#operand(i));
    const shift = step === "unit"
      ? copy.unroll * this.#lanes * bytesOf(dtype)
      : 0;
    this.#elements.store(
      dtype,
      value.type,
      pointers[this.#operand(i)],
      shift,
      step,
      copy.single,
    );
  }

  #startPass(): void {
    if (this.#usesPosition) this.#f.i32(0).set(this.#innerPosition);
  }

  /** Copies of the body that are computed in lockstep. */
  #unrollOf(
    exprs: readonly Expr[],
    operands: readonly number[],
    arg: boolean,
  ): number {
    let nodes = 0;
    let gathers = false;
    k.traverse(exprs, (e) => {
      if (e.op !== "const") nodes++;
      if (e.op === "load") gathers = true;
    });
    const strided = operands.some((i) => this.#variant.steps[i] === "any");
    if (gathers || strided || arg) return 1;
    const fitting = unrolls.find((copies) => copies * nodes <= unrolledNodes);
    return fitting ?? 1;
  }

  /** Walks the vector axis: whole vectors (unrolled, then one by one), then single elements; `fold` is called now and then. */
  #vectorLoop(
    operands: readonly number[],
    pointers: readonly number[],
    exprs: readonly Expr[],
    unroll: number,
    flat: boolean,
    body: (
      emitter: LaneEmitter,
      copy: Copy,
      pointers: readonly number[],
    ) => void,
    fold?: () => void,
  ): void {
    const f = this.#f;
    const j = this.#position;
    const n = f.local("i32");
    const moving = [...pointers];
    const axis = this.#vectorAxis;
    for (const i of operands) {
      moving[i] = f.local("i32");
      f.get(pointers[i]);
      if (flat && this.#variant.steps[i] !== "zero") {
        f.get(begin).get(params).load("i32.load", this.#layout.stride(i, axis))
          .op("i32.mul").op("i32.add");
      }
      f.set(moving[i]);
    }
    if (flat) {
      f.get(begin).set(j);
      f.get(end).set(n);
    } else {
      f.i32(0).set(j);
      f.get(params).load("i32.load", this.#layout.size(axis)).set(n);
    }
    const fixed = this.#hoistRow(exprs, moving);
    const advance = (elements: number) => {
      for (const i of operands) {
        const step = this.#step(i);
        if (step === "zero") continue;
        f.get(moving[i]);
        if (step === "unit") f.i32(elements * bytesOf(this.#dtypeOf(i)));
        else {
          f.get(step.stride);
          if (elements !== 1) f.i32(elements).op("i32.mul");
        }
        f.op("i32.add").set(moving[i]);
      }
      f.get(j).i32(elements).op("i32.add").set(j);
    };
    const walk = (copies: number, single: boolean, limit = n) => {
      const elements = single ? 1 : copies * this.#lanes;
      f.block((done) => {
        f.loop((again) => {
          f.get(j).i32(elements).op("i32.add").get(limit).op("i32.gt_s");
          f.brIf(done);
          const emitters = Array.from({ length: copies }, (_, unroll) => {
            const copy = { unroll, single };
            return { copy, emitter: this.#emitter(copy, moving, fixed) };
          });
          inLockstep(exprs, emitters.map(({ emitter }) => emitter));
          for (const { emitter, copy } of emitters) body(emitter, copy, moving);
          advance(elements);
          f.br(again);
        });
      });
    };
    if (fold !== undefined) {
      const stop = f.local("i32");
      f.loop((again) => {
        f.get(j).i32(foldLength).op("i32.add").tee(stop).get(n);
        f.get(stop).get(n).op("i32.lt_s").select().set(stop);
        walk(unroll, false, stop);
        fold();
        f.get(stop).get(n).op("i32.lt_s").brIf(again);
      });
    } else if (unroll > 1) walk(unroll, false);
    walk(1, false);
    walk(1, true);
    if (this.#usesPosition && !flat) {
      f.get(this.#innerPosition).get(n).op("i32.add").set(this.#innerPosition);
    }
  }

  /** Computes what does not change along the vector axis, before the loop over it. */
  #hoistRow(
    exprs: readonly Expr[],
    pointers: readonly number[],
  ): Map<Expr, number> {
    const needed = this.#fixedParts(exprs, (e) =>
      e.op === "stage" ||
      (e.op === "input" && this.#variant.steps[Number(e.value)] === "zero") ||
      (e.op === "coord" && e.value !== this.#vectorAxis));
    return this.#compute(needed, { unroll: 0, single: false }, pointers);
  }

  /** Computes, for each copy, what does not change from row to row of its columns. */
  #hoistColumns(
    exprs: readonly Expr[],
    pointers: readonly number[],
    copies: number,
    single: boolean,
  ): Map<Expr, number>[] {
    const needed = this.#fixedParts(
      exprs,
      (e) =>
        e.op === "stage" ||
        (e.op === "coord" && Number(e.value) < this.#variant.outerRank),
    ).filter((e) => e.args.length > 0);
    return Array.from(
      { length: copies },
      (_, unroll) => this.#compute(needed, { unroll, single }, pointers),
    );
  }

  /** The largest parts that are made of constants, scalars and the leaves that `isFixed` tells. */
  #fixedParts(
    exprs: readonly Expr[],
    isFixed: (leaf: Expr) => boolean,
  ): Expr[] {
    const fixed = new Map<Expr, boolean>();
    const needed = new Set<Expr>();
    k.traverse(exprs, (e) => {
      const is = e.op === "const" || e.op === "scalar" || isFixed(e) ||
        (e.args.length > 0 && e.op !== "load" &&
          e.args.every((a) => fixed.get(a)));
      fixed.set(e, is);
      if (!is) { for (const a of e.args) if (fixed.get(a)) needed.add(a); }
    });
    for (const e of exprs) if (fixed.get(e)) needed.add(e);
    return [...needed];
  }

  /** Locals with the values of expressions. */
  #compute(
    exprs: readonly Expr[],
    copy: Copy,
    pointers: readonly number[],
  ): Map<Expr, number> {
    const emitter = this.#emitter(copy, pointers);
    emitter.plan(exprs);
    return new Map(exprs.map((e) => [e, emitter.toLocal(e)]));
  }

  #dtypeOf(operand: number): DType {
    const { inputs, outputs } = this.#program;
    return operand < inputs.length
      ? inputs[operand]
      : outputs[operand - inputs.length].dtype;
  }

  // ---- column order ----

  #columns(bases: readonly number[]): void {
    const f = this.#f;
    const axis = this.#vectorAxis;
    const operands = bases.map((_, i) => i);
    this.#prepareStrides();
    const item = f.local("i32"), blocks = f.local("i32"), rest = f.local("i32");
    const left = f.local("i32");
    const block = columnBlock(this.#program);
    const width = f.local("i32");
    f.get(params).load("i32.load", this.#layout.size(axis)).set(width);
    f.get(width).i32(block - 1).op("i32.add").i32(block).op("i32.div_u").set(
      blocks,
    );
    f.get(begin).set(item);
    const at = Array.from({ length: axis }, () => f.local("i32"));
    at.forEach((counter, d) => this.#counters[d] = counter);
    const pointers = operands.map(() => f.local("i32"));
    f.block((done) => {
      f.loop((again) => {
        f.get(item).get(end).op("i32.ge_u").brIf(done);
        f.get(item).get(blocks).op("i32.rem_u").i32(block).op("i32.mul").set(
          this.#position,
        );
        f.get(item).get(blocks).op("i32.div_u").set(rest);
        for (const i of operands) {
          f.get(bases[i]).get(this.#position);
          f.get(params).load("i32.load", this.#layout.stride(i, axis));
          f.op("i32.mul").op("i32.add").set(pointers[i]);
        }
        for (let d = axis - 1; d >= 0; d--) {
          const size = this.#layout.size(d);
          f.get(rest).get(params).load("i32.load", size).op("i32.rem_u").set(
            at[d],
          );
          f.get(rest).get(params).load("i32.load", size).op("i32.div_u").set(
            rest,
          );
          for (const i of operands) {
            f.get(pointers[i]).get(at[d]).get(params).load(
              "i32.load",
              this.#layout.stride(i, d),
            );
            f.op("i32.mul").op("i32.add").set(pointers[i]);
          }
        }
        f.get(width).get(this.#position).op("i32.sub").i32(block).op(
          "i32.lt_s",
        );
        f.if(() => {
          f.get(width).get(this.#position).op("i32.sub").set(left);
        }, () => {
          f.i32(block).set(left);
        });
        const strided = this.#variant.steps.includes("any");
        const whole = block / this.#lanes;
        if (!strided) this.#columnWalk(left, pointers, whole, false);
        this.#columnWalk(left, pointers, 1, false);
        this.#columnWalk(left, pointers, 1, true);
        f.get(item).i32(1).op("i32.add").set(item);
        f.br(again);
      });
    });
  }

  /** While enough columns are left, does `copies` vectors (or one element) of them. */
  #columnWalk(
    left: number,
    pointers: readonly number[],
    copies: number,
    single: boolean,
  ): void {
    const f = this.#f;
    const columns = single ? 1 : copies * this.#lanes;
    f.block((done) => {
      f.loop((again) => {
        f.get(left).i32(columns).op("i32.lt_s").brIf(done);
        this.#columnBody(pointers, copies, single);
        pointers.forEach((pointer, i) => {
          const step = this.#step(i);
          if (step === "zero") return;
          f.get(pointer);
          if (step === "unit") f.i32(columns * bytesOf(this.#dtypeOf(i)));
          else {
            f.get(step.stride);
            if (columns !== 1) f.i32(columns).op("i32.mul");
          }
          f.op("i32.add").set(pointer);
        });
        f.get(left).i32(columns).op("i32.sub").set(left);
        f.get(this.#position).i32(columns).op("i32.add").set(this.#position);
        f.br(again);
      });
    });
  }

  #columnBody(
    pointers: readonly number[],
    copies: number,
    single: boolean,
  ): void {
    const f = this.#f;
    const { outerRank, innerRank } = this.#variant;
    const inner = Array.from({ length: innerRank }, (_, d) => outerRank + d);
    const each = (
      exprs: readonly Expr[],
      p: readonly number[],
      known: readonly ReadonlyMap<Expr, number>[],
      body: (emitter: LaneEmitter, copy: Copy) => void,
    ) => {
      const emitters = Array.from({ length: copies }, (_, unroll) => {
        const copy = { unroll, single };
        return { copy, emitter: this.#emitter(copy, p, known[unroll]) };
      });
      inLockstep(exprs, emitters.map(({ emitter }) => emitter));
      for (const { emitter, copy } of emitters) body(emitter, copy);
    };
    for (const pass of this.#passes) {
      const { exprs, operands, stages } = this.#contents(pass);
      const known = this.#hoistColumns(exprs, pointers, copies, single);
      const accumulators = stages.map((stage) =>
        this.#reducer.start(stage, copies)
      );
      this.#startPass();
      this.#nest(inner, operands, pointers, (p) => {
        each(exprs, p, known, (emitter, copy) => {
          this.#reduce(pass, emitter, accumulators, copy, p, () => {
            f.get(this.#innerPosition).op("i32x4.splat");
          });
        });
        if (accumulators.some((a) => a.total.length > 0)) {
          const counter = this.#counters[this.#layoutRank - 1]!;
          f.get(counter).i32(foldRows - 1).op("i32.and").i32(foldRows - 1);
          f.op("i32.eq").if(() => {
            this.#reducer.foldAll(stages, accumulators);
          });
        }
        if (this.#usesPosition) {
          f.get(this.#innerPosition).i32(1).op("i32.add").set(
            this.#innerPosition,
          );
        }
      });
      pass.stages.forEach((s, i) => {
        this.#stageLocals[s] = this.#reducer.finishColumns(
          stages[i],
          accumulators[i],
        );
      });
    }
    const perRow = this.#outputs.flatMap((o, i) => o.per === "row" ? [i] : []);
    const perElement = this.#outputs.flatMap((o, i) =>
      o.per === "element" ? [i] : []
    );
    if (perRow.length > 0) {
      each(
        perRow.map((i) => this.#outputs[i].value),
        pointers,
        [],
        (emitter, copy) => {
          this.#storeElements(perRow, emitter, copy, pointers);
        },
      );
    }
    if (perElement.length > 0) {
      const exprs = perElement.map((i) => this.#outputs[i].value);
      const operands = this.#operandsOf(exprs, perElement);
      const known = this.#hoistColumns(exprs, pointers, copies, single);
      this.#nest(inner, operands, pointers, (p) => {
        each(
          exprs,
          p,
          known,
          (emitter, copy) => this.#storeElements(perElement, emitter, copy, p),
        );
      });
    }
  }
}

/**
 * Computes expressions in several copies of a loop body, each node for all
 * copies before the next: a constant that had to leave the registers is then
 * fetched once for all, and the copies hide each other's latency.
 */
function inLockstep(
  exprs: readonly Expr[],
  emitters: readonly LaneEmitter[],
): void {
  for (const emitter of emitters) emitter.plan(exprs);
  if (emitters.length === 1) return;
  const [first] = emitters;
  const walk = (e: Expr) => {
    if (first.memo.has(e)) return;
    e.args.forEach(walk);
    if (e.op === "const") return;
    for (const emitter of emitters) emitter.toLocal(e);
  };
  exprs.forEach(walk);
}

const params = 0, begin = 1, end = 2;

/** Numbers of copies that are tried, and how many nodes they may have together. */
const unrolls = [4, 2], unrolledNodes = 1024;

/** Elements of a row, and rows of a column, after which running sums are added to the totals. */
const foldLength = 2048, foldRows = 128;
