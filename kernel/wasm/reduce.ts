/**
 * Reductions in registers: accumulators, their updates, and the way from
 * lanes to one result.
 *
 * @module
 */

import type { FunctionBuilder } from "./assembler.ts";
import { packLow } from "./lane_instructions.ts";
import { type ImportTable, LaneEmitter } from "./lanes.ts";
import * as k from "../expr.ts";
import { type Expr, isFloatType, type ScalarType } from "../expr.ts";
import { combineOf, isArg, type Stage } from "../program.ts";

/** One reduction's registers: per unrolled copy, and for the elements past the last whole vector. */
export interface Accumulator {
  /** Result so far, per copy. */
  readonly main: readonly number[];
  /** Result so far of single elements, in lane 0. */
  readonly tail: number;
  /** Position of the result, for arg reductions. */
  readonly mainIndex: readonly number[];
  /** Position of the tail's result. */
  readonly tailIndex: number;
  /** Lanes that have met NaN, for extrema of floats. */
  readonly nan: readonly number[];
  /** Sums of the pieces before the running one, per copy: many short sums lose less than a long one. */
  readonly total: readonly number[];
}

/** The copy of a loop body that is being written. */
export interface Copy {
  /** Number of the copy. */
  readonly unroll: number;
  /** Whether it computes lane 0 only. */
  readonly single: boolean;
}

/** Writes the reductions of one function. */
export class Reducer {
  /**
   * Writes into `f`.
   *
   * @param f Function that gets the code.
   * @param wide Whether lanes are 64 bits wide.
   * @param imports Finds functions for what has no instruction.
   */
  constructor(
    readonly f: FunctionBuilder,
    readonly wide: boolean,
    readonly imports: ImportTable,
  ) {}

  get #lanes(): number {
    return this.wide ? 2 : 4;
  }

  /** Lane type in which an arg reduction compares. */
  #compareType(stage: Stage): ScalarType {
    const { type } = stage.value;
    if (!this.wide) return type;
    return type === "f32" ? "f64" : type === "i32" ? "i64" : type;
  }

  /** Sets up registers for `unroll` copies. */
  start(stage: Stage, unroll: number): Accumulator {
    const arg = isArg(stage);
    const type = arg ? this.#compareType(stage) : stage.value.type;
    const fresh = (value: number | bigint, of: ScalarType) => {
      const local = this.f.local("v128");
      this.#push(k.constant(value, of), []);
      this.f.set(local);
      return local;
    };
    const copies = (value: number | bigint, of: ScalarType) =>
      Array.from({ length: unroll }, () => fresh(value, of));
    const identity = identityOf(stage);
    return {
      main: copies(identity, type),
      tail: fresh(identity, type),
      mainIndex: arg ? copies(0, "i32") : [],
      tailIndex: arg ? fresh(0, "i32") : -1,
      nan: isFloatExtremum(stage) ? copies(0, "i32") : [],
      total: stage.op === "sum" && isFloatType(type) ? copies(0, type) : [],
    };
  }

  /** Takes in the stage's value; `position` pushes the elements' positions in the row (i32 lanes). */
  accumulate(
    stage: Stage,
    emitter: LaneEmitter,
    a: Accumulator,
    copy: Copy,
    position: () => void,
  ): void {
    const { f } = this;
    if (isArg(stage)) {
      this.#accumulateArg(stage, emitter, a, copy, position);
      return;
    }
    const value = emitter.toLocal(stage.value);
    if (copy.single) {
      this.#combine(stage, a.tail, value);
      f.set(a.tail);
      return;
    }
    const target = a.main[copy.unroll];
    if (a.nan.length === 0) {
      this.#combine(stage, target, value);
      f.set(target);
      return;
    }
    // The instruction that passes NaN on takes several of the machine's; one that does not, and a mask, take three.
    const { type } = stage.value;
    const shape = type === "f32" ? "f32x4" : "f64x2";
    f.get(target).get(value);
    f.op(`${shape}.p${stage.op as "min" | "max"}`).set(target);
    const nan = a.nan[copy.unroll];
    f.get(nan).get(value).get(value).op(`${shape}.ne`);
    f.op("v128.or").set(nan);
  }

  #accumulateArg(
    stage: Stage,
    emitter: LaneEmitter,
    a: Accumulator,
    copy: Copy,
    position: () => void,
  ): void {
    const { f } = this;
    const target = copy.single ? a.tail : a.main[copy.unroll];
    const index = copy.single ? a.tailIndex : a.mainIndex[copy.unroll];
    const type = this.#compareType(stage);
    const value = emitter.toLocal(k.cast(stage.value, type));
    // Positions in lanes as wide as the values.
    position();
    if (this.wide) f.op("i64x2.extend_low_i32x4_s");
    const here = f.local("v128");
    f.set(here);
    const better = f.local("v128");
    this.#push(betterThan(stage, type), [value, target]);
    f.set(better);
    f.get(value).get(target).get(better).op("v128.bitselect").set(target);
    f.get(here).get(index).get(better).op("v128.bitselect").set(index);
  }

  /** Adds running sums to the totals, and starts them anew. */
  foldAll(
    stages: readonly Stage[],
    accumulators: readonly Accumulator[],
  ): void {
    accumulators.forEach((a, i) => this.#fold(stages[i], a));
  }

  #fold(stage: Stage, a: Accumulator): void {
    const { f } = this;
    a.total.forEach((total, u) => {
      this.#combine(stage, total, a.main[u]);
      f.set(total);
      f.v128(new Uint8Array(16)).set(a.main[u]);
    });
  }

  /** Reduces across lanes; returns a local with the result in every lane. */
  finish(stage: Stage, a: Accumulator): number {
    const { f } = this;
    if (isArg(stage)) return this.#finishArg(stage, a);
    const { type } = stage.value;
    let parts = this.finishColumns(stage, a);
    while (parts.length > 1) {
      const half: number[] = [];
      for (let i = 0; i < parts.length; i += 2) {
        this.#combine(stage, parts[i], parts[i + 1]);
        f.set(parts[i]);
        half.push(parts[i]);
      }
      parts = half;
    }
    const [result] = parts;
    const bytes = type === "f64" || type === "i64" ? 8 : 4;
    const other = f.local("v128");
    for (let distance = this.#lanes / 2; distance >= 1; distance /= 2) {
      const shift = Array.from(
        { length: 16 },
        (_, i) => (i + distance * bytes) % 16,
      );
      f.get(result).get(result).shuffle(shift).set(other);
      this.#combine(stage, result, other);
      f.set(result);
    }
    this.#combine(stage, result, a.tail);
    f.set(result);
    const splat = Array.from({ length: 16 }, (_, i) => i % bytes);
    f.get(result).get(result).shuffle(splat).set(result);
    return result;
  }

  /** The result of each lane by itself, per copy. */
  finishColumns(stage: Stage, a: Accumulator): number[] {
    const { f } = this;
    if (isArg(stage)) {
      if (this.wide) {
        for (const local of a.mainIndex) {
          f.get(local).get(local).shuffle(packLow).set(local);
        }
      }
      return [...a.mainIndex];
    }
    a.nan.forEach((nan, u) => {
      // All bits set is a NaN.
      f.get(a.main[u]).get(nan).op("v128.or").set(a.main[u]);
    });
    this.#fold(stage, a);
    return [...(a.total.length > 0 ? a.total : a.main)];
  }

  /** The best of all lanes and the tail; equal values go to the smaller position. */
  #finishArg(stage: Stage, a: Accumulator): number {
    const { f } = this;
    const type = this.#compareType(stage);
    const width = this.wide ? 8 : 4;
    const best = a.main[0], index = a.mainIndex[0];
    const indexType = this.wide ? "i64" : "i32";
    const x = k.input(0, type), b = k.input(1, type);
    const xi = k.input(2, indexType), bi = k.input(3, indexType);
    const same = isFloatType(type)
      ? k.or(k.eq(x, b), k.and(k.ne(x, x), k.ne(b, b)))
      : k.eq(x, b);
    const wins = k.or(betterThan(stage, type), k.and(same, k.lt(xi, bi)));
    const value = f.local("v128"),
      place = f.local("v128"),
      better = f.local("v128");
    const take = (v: number, i: number, lane: number) => {
      const splat = Array.from(
        { length: 16 },
        (_, at) => lane * width + at % width,
      );
      f.get(v).get(v).shuffle(splat).set(value);
      f.get(i).get(i).shuffle(splat).set(place);
      this.#push(wins, [value, best, place, index]);
      f.set(better);
      f.get(value).get(best).get(better).op("v128.bitselect").set(best);
      f.get(place).get(index).get(better).op("v128.bitselect").set(index);
    };
    for (let lane = 1; lane < this.#lanes; lane++) take(best, index, lane);
    take(a.tail, a.tailIndex, 0);
    // Only lane 0 has seen every candidate.
    const splat = Array.from({ length: 16 }, (_, at) => at % 4);
    f.get(index).get(index).shuffle(splat).set(index);
    return index;
  }

  /** Pushes combine(a, b). */
  #combine(stage: Stage, a: number, b: number): void {
    const { type } = stage.value;
    const op = combineOf(stage);
    this.#push(k.node(op, type, [k.input(0, type), k.input(1, type)]), [a, b]);
  }

  /** Pushes an expression whose `input(i)` is local `values[i]`. */
  #push(e: Expr, values: readonly number[]): void {
    const emitter = new LaneEmitter(
      this.f,
      this.wide,
      this.imports,
      (leaf) => this.f.get(values[Number(leaf.value)]),
    );
    emitter.plan([e]);
    emitter.emit(e);
  }
}

function isFloatExtremum(stage: Stage): boolean {
  return (stage.op === "max" || stage.op === "min") &&
    isFloatType(stage.value.type);
}

/** The value that changes nothing when combined. */
function identityOf(stage: Stage): number | bigint {
  const { type } = stage.value;
  const combine = combineOf(stage);
  if (combine === "add") return 0;
  if (combine === "mul") return 1;
  const sign = combine === "max" ? -1 : 1;
  if (isFloatType(type)) return sign * Infinity;
  if (type === "i64") return sign < 0 ? -(2n ** 63n) : 2n ** 63n - 1n;
  return sign < 0 ? -(2 ** 31) : 2 ** 31 - 1;
}

/** input(0) beats input(1); NaN beats numbers. */
function betterThan(stage: Stage, type: ScalarType): Expr {
  const x = k.input(0, type), b = k.input(1, type);
  const wins = stage.op === "argmax" ? k.gt(x, b) : k.lt(x, b);
  return isFloatType(type) ? k.or(wins, k.and(k.ne(x, x), k.eq(b, b))) : wins;
}
