/**
 * What the two loop orders of the WebAssembly renderer share: the function
 * being written, its locals, the leaves of expressions, nests of loops, and the
 * stores of results.
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
import { fixedParts } from "./hoisting.ts";
import { LaneEmitter } from "./lanes.ts";
import { lower } from "./lower.ts";
import { type ParamLayout, paramLayout } from "./params.ts";
import { type Accumulator, type Copy, Reducer } from "./reduce.ts";
import { isWide, type Variant } from "./variant.ts";
import * as k from "../expr.ts";
import type { Expr, ScalarType } from "../expr.ts";
import { type Pass, planPasses } from "../passes.ts";
import {
  isArg,
  type Output,
  type Program,
  roots,
  type Stage,
} from "../program.ts";

/** Parameters of the function: address of the block, first and past-the-last item. */
export const params = 0, begin = 1, end = 2;

/** Writes the function of one program; the loop order is the subclass's. */
export abstract class KernelWriter {
  /** The program. */
  protected readonly program: Program;
  /** How it is specialised. */
  protected readonly variant: Variant;
  /** Whether lanes are 64 bits wide. */
  protected readonly wide: boolean;
  /** Lanes of a vector. */
  protected readonly lanes: number;
  /** Where parameters stand. */
  protected readonly layout: ParamLayout;
  /** Walks over a row. */
  protected readonly passes: readonly Pass[];
  /** Reductions, lowered. */
  protected readonly stages: Stage[];
  /** Results, lowered. */
  protected readonly outputs: Output[];
  readonly #module = new ModuleBuilder();
  readonly #imports = new Map<string, number>();
  /** The function that is written. */
  protected f!: FunctionBuilder;
  /** Loads and stores. */
  protected elements!: Elements;
  /** Reductions. */
  protected reducer!: Reducer;
  readonly #constants = new Map<Expr, number>();
  /** Locals that count positions along axes. */
  protected readonly counters: (number | undefined)[] = [];
  /** Locals with the results of stages, per copy. */
  protected readonly stageLocals: number[][] = [];
  /** Position along the vector axis. */
  protected position: number = -1;
  /** Position in the row where the walk along the vector axis began. */
  protected innerPosition: number = -1;
  /** Number of elements before the row. */
  protected rowStart: number = -1;
  /** Whether the linear number of elements is used. */
  protected usesLinear: boolean = false;
  /** Whether positions in the row are used. */
  protected usesPosition: boolean = false;

  /** Prepares to write `p` as `variant` has it. */
  constructor(p: Program, variant: Variant) {
    this.program = p;
    this.variant = variant;
    this.wide = isWide(p);
    this.lanes = this.wide ? 2 : 4;
    this.layout = paramLayout(p, variant.outerRank + variant.innerRank);
    const plan = planPasses(p, variant.keep);
    this.passes = plan.passes.map((pass) => ({
      stages: pass.stages,
      kept: pass.kept.map((kept) => ({ ...kept, value: lower(kept.value) })),
    }));
    this.stages = plan.stages.map((s) => ({
      op: s.op,
      value: lower(s.value),
    }));
    this.outputs = plan.outputs.map((o) => ({ ...o, value: lower(o.value) }));
    const { stages, outputs } = this;
    k.traverse(roots({ stages, outputs }), (e) => {
      if (e.op === "linear") this.usesLinear = true;
    });
    this.usesPosition = this.usesLinear || p.stages.some((s) => isArg(s));
  }

  /** The bytes of a module with the function `run(params, begin, end)`. */
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
    this.f = f;
    this.#find = find;
    this.elements = new Elements(f, this.wide);
    this.reducer = new Reducer(
      f,
      this.wide,
      (name, arity) => this.#find(name, arity),
    );
    this.#constants.clear();
    this.counters.length = 0;
    this.stageLocals.length = 0;
    this.position = f.local("i32");
    this.innerPosition = f.local("i32");
    this.rowStart = f.local("i32");
    this.#hoistConstants();
    const bases = this.variant.steps.map((_, i) => {
      const base = f.local("i32");
      f.get(params).load("i32.load", this.layout.address(i)).set(base);
      return base;
    });
    this.body(bases);
  }

  /** Computes what depends on literals and scalars only, once per call. */
  #hoistConstants(): void {
    const kept = this.passes.flatMap((pass) => pass.kept.map((l) => l.value));
    const { stages, outputs } = this;
    const all = [...roots({ stages, outputs }), ...kept];
    const needed = fixedParts(all, () => false);
    const found = this.compute(needed, { unroll: 0, single: false }, []);
    found.forEach((local, e) => this.#constants.set(e, local));
  }

  /** An emitter for one copy of a loop body, with operands at `pointers`. */
  protected emitter(
    copy: Copy,
    pointers: readonly number[],
    known?: ReadonlyMap<Expr, number>,
    splat = false,
  ): LaneEmitter {
    const memo = new Map(this.#constants);
    known?.forEach((local, e) => memo.set(e, local));
    return new LaneEmitter(
      this.f,
      this.wide,
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
    const f = this.f;
    const i = Number(e.value);
    const { unroll, single } = copy;
    switch (e.op) {
      case "input": {
        const dtype = this.dtypeOf(i);
        const step = splat ? "zero" : this.step(i);
        const shift = step === "unit"
          ? unroll * this.lanes * bytesOf(dtype)
          : 0;
        this.elements.load(dtype, pointers[i], shift, step, single);
        return;
      }
      case "load": {
        const clamped = f.local("v128");
        f.get(offset!).v128(new Uint8Array(16)).op("i32x4.max_s");
        f.get(params).load("v128.load32_splat", this.layout.limit(i)).op(
          "i32x4.min_s",
        ).set(clamped);
        const base = f.local("i32");
        f.get(params).load("i32.load", this.layout.address(i)).set(base);
        this.elements.loadAt(this.program.inputs[i], base, clamped, single);
        return;
      }
      case "scalar":
        this.#scalar(i, e.type);
        return;
      case "stage":
        f.get(
          this
            .stageLocals[i][Math.min(unroll, this.stageLocals[i].length - 1)],
        );
        return;
      case "coord": {
        const axis = i;
        if (axis === this.vectorAxis && !splat) {
          this.#iota(this.position, unroll);
        } else {
          const counter = this.counters[axis];
          if (counter === undefined) f.i32(0).op("i32x4.splat");
          else f.get(counter).op("i32x4.splat");
        }
        return;
      }
      case "linear":
        f.get(this.rowStart).get(this.innerPosition).op("i32.add").get(
          this.position,
        ).op("i32.add");
        f.op("i32x4.splat");
        this.addIota(unroll);
        return;
      default:
        throw new TypeError(`Cannot emit ${e.op} as a leaf`);
    }
  }

  /** Number of axes. */
  protected get layoutRank(): number {
    return this.variant.outerRank + this.variant.innerRank;
  }

  /** The axis along which lanes lie. */
  protected get vectorAxis(): number {
    const { mode, outerRank, innerRank } = this.variant;
    return mode === "column" ? outerRank - 1 : outerRank + innerRank - 1;
  }

  #iota(start: number, unroll: number): void {
    this.f.get(start).op("i32x4.splat");
    this.addIota(unroll);
  }

  /** Adds the lanes’ numbers to the vector on the stack. */
  protected addIota(unroll: number): void {
    const bytes = new Uint8Array(16);
    for (let lane = 0; lane < 4; lane++) {
      bytes[4 * lane] = unroll * this.lanes + lane;
    }
    this.f.v128(bytes).op("i32x4.add");
  }

  #scalar(i: number, type: ScalarType): void {
    const f = this.f.get(params);
    const at = this.layout.scalar(i);
    if (type === "f64" || type === "i64") f.load("v128.load64_splat", at);
    else f.load("v128.load32_splat", at);
    if (type === "bool") {
      f.v128(new Uint8Array(16)).op("i32x4.ne");
      if (this.wide) f.op("i64x2.extend_low_i32x4_s");
    }
  }

  /** How an operand moves from lane to lane. */
  protected step(operand: number): Step {
    const step = this.variant.steps[operand];
    return step === "any" ? { stride: this.#strideLocal(operand) } : step;
  }

  #strideLocals = new Map<number, number>();
  #strideLocal(operand: number): number {
    return this.#strideLocals.get(operand)!;
  }

  /** Loads the vector-axis strides of operands that need them. */
  protected prepareStrides(): void {
    this.#strideLocals = new Map();
    this.variant.steps.forEach((step, i) => {
      if (step !== "any") return;
      const local = this.f.local("i32");
      this.f.get(params).load(
        "i32.load",
        this.layout.stride(i, this.vectorAxis),
      ).set(local);
      this.#strideLocals.set(i, local);
    });
  }

  /** Operands that expressions and outputs touch, by number. */
  protected operandsOf(
    exprs: readonly Expr[],
    outputs: readonly number[],
  ): number[] {
    const used = new Set<number>();
    k.traverse(exprs, (e) => {
      if (e.op === "input") used.add(Number(e.value));
    });
    for (const o of outputs) used.add(this.program.inputs.length + o);
    return [...used];
  }

  /** Moves a pointer by one step along an axis. */
  protected addStride(pointer: number, operand: number, axis: number): void {
    const f = this.f;
    f.get(pointer).get(params).load(
      "i32.load",
      this.layout.stride(operand, axis),
    );
    f.op("i32.add").set(pointer);
  }

  /** Loops over `axes`, moving copies of the pointers of `operands`. Every extent is at least 1. */
  protected nest(
    axes: readonly number[],
    operands: readonly number[],
    pointers: readonly number[],
    body: (pointers: readonly number[]) => void,
  ): void {
    if (axes.length === 0) {
      body(pointers);
      return;
    }
    const f = this.f;
    const [axis, ...rest] = axes;
    const counter = f.local("i32");
    this.counters[axis] = counter;
    const moving = [...pointers];
    for (const i of operands) {
      moving[i] = f.local("i32");
      f.get(pointers[i]).set(moving[i]);
    }
    f.i32(0).set(counter);
    f.loop((again) => {
      this.nest(rest, operands, moving, body);
      for (const i of operands) this.addStride(moving[i], i, axis);
      f.get(counter).i32(1).op("i32.add").tee(counter);
      f.get(params).load("i32.load", this.layout.size(axis));
      f.op("i32.lt_u").brIf(again);
    });
  }

  /** What a pass computes, and the operands that it reads and writes. */
  protected contents(
    pass: Pass,
  ): { exprs: Expr[]; operands: number[]; stages: Stage[] } {
    const stages = pass.stages.map((s) => this.stages[s]);
    const exprs = [
      ...stages.map((s) => s.value),
      ...pass.kept.map((kept) => kept.value),
    ];
    const written = pass.kept.map((kept) => kept.output);
    return { exprs, operands: this.operandsOf(exprs, written), stages };
  }

  /** Takes one vector of elements into the reductions of a pass, and stores what it keeps. */
  protected reduce(
    pass: Pass,
    emitter: LaneEmitter,
    accumulators: readonly Accumulator[],
    copy: Copy,
    pointers: readonly number[],
    position: () => void,
  ): void {
    // Lane 0 of a column is a whole column: it has no tail.
    const target = this.variant.mode === "column"
      ? { ...copy, single: false }
      : copy;
    pass.stages.forEach((s, i) => {
      this.reducer.accumulate(
        this.stages[s],
        emitter,
        accumulators[i],
        target,
        position,
      );
    });
    for (const { value, output } of pass.kept) {
      this.store(output, value, emitter, copy, pointers);
    }
  }

  /** Number of an output among all operands. */
  protected operand(output: number): number {
    return this.program.inputs.length + output;
  }

  /** Stores outputs per element at the current position. */
  protected storeElements(
    which: readonly number[],
    emitter: LaneEmitter,
    copy: Copy,
    pointers: readonly number[],
  ): void {
    // All values before the first store: an output may overwrite an operand of another.
    if (which.length > 1) {
      for (const i of which) emitter.toLocal(this.outputs[i].value);
    }
    for (const i of which) {
      this.store(i, this.outputs[i].value, emitter, copy, pointers);
    }
  }

  /** Stores a value where output `i` stands at the current position. */
  protected store(
    i: number,
    value: Expr,
    emitter: LaneEmitter,
    copy: Copy,
    pointers: readonly number[],
  ): void {
    const { dtype } = this.outputs[i];
    emitter.emit(value);
    const step = this.step(this.operand(i));
    const shift = step === "unit"
      ? copy.unroll * this.lanes * bytesOf(dtype)
      : 0;
    this.elements.store(
      dtype,
      value.type,
      pointers[this.operand(i)],
      shift,
      step,
      copy.single,
    );
  }

  /** Begins a walk over the row. */
  protected startPass(): void {
    if (this.usesPosition) this.f.i32(0).set(this.innerPosition);
  }

  /** Locals with the values of expressions. */
  protected compute(
    exprs: readonly Expr[],
    copy: Copy,
    pointers: readonly number[],
  ): Map<Expr, number> {
    const emitter = this.emitter(copy, pointers);
    emitter.plan(exprs);
    return new Map(exprs.map((e) => [e, emitter.toLocal(e)]));
  }

  /** Storage type of an operand. */
  protected dtypeOf(operand: number): DType {
    const { inputs, outputs } = this.program;
    return operand < inputs.length
      ? inputs[operand]
      : outputs[operand - inputs.length].dtype;
  }

  /** Writes the loops; `bases` are locals with the operands' addresses. */
  protected abstract body(bases: readonly number[]): void;
}
