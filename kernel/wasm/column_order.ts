/**
 * Column order: the vector axis is the last outer axis. Lanes are different
 * rows, each reduced by its own lane.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import { fixedParts, inLockstep } from "./hoisting.ts";
import type { LaneEmitter } from "./lanes.ts";
import type { Copy } from "./reduce.ts";
import { columnBlock } from "./variant.ts";
import { begin, end, KernelWriter, params } from "./writer.ts";
import type { Expr } from "../expr.ts";

/** Rows of a column after which running sums are added to the totals. */
const foldRows = 128;

/** Writes kernels in column order. */
export class ColumnOrder extends KernelWriter {
  /** Writes the loops. */
  protected override body(bases: readonly number[]): void {
    this.#columns(bases);
  }

  #columns(bases: readonly number[]): void {
    const f = this.f;
    const axis = this.vectorAxis;
    const operands = bases.map((_, i) => i);
    this.prepareStrides();
    const item = f.local("i32"), blocks = f.local("i32"), rest = f.local("i32");
    const left = f.local("i32");
    const block = columnBlock(this.program);
    const width = f.local("i32");
    f.get(params).load("i32.load", this.layout.size(axis)).set(width);
    f.get(width).i32(block - 1).op("i32.add").i32(block).op("i32.div_u").set(
      blocks,
    );
    f.get(begin).set(item);
    const at = Array.from({ length: axis }, () => f.local("i32"));
    at.forEach((counter, d) => this.counters[d] = counter);
    const pointers = operands.map(() => f.local("i32"));
    f.block((done) => {
      f.loop((again) => {
        f.get(item).get(end).op("i32.ge_u").brIf(done);
        f.get(item).get(blocks).op("i32.rem_u").i32(block).op("i32.mul").set(
          this.position,
        );
        f.get(item).get(blocks).op("i32.div_u").set(rest);
        for (const i of operands) {
          f.get(bases[i]).get(this.position);
          f.get(params).load("i32.load", this.layout.stride(i, axis));
          f.op("i32.mul").op("i32.add").set(pointers[i]);
        }
        for (let d = axis - 1; d >= 0; d--) {
          const size = this.layout.size(d);
          f.get(rest).get(params).load("i32.load", size).op("i32.rem_u").set(
            at[d],
          );
          f.get(rest).get(params).load("i32.load", size).op("i32.div_u").set(
            rest,
          );
          for (const i of operands) {
            f.get(pointers[i]).get(at[d]).get(params).load(
              "i32.load",
              this.layout.stride(i, d),
            );
            f.op("i32.mul").op("i32.add").set(pointers[i]);
          }
        }
        f.get(width).get(this.position).op("i32.sub").i32(block).op(
          "i32.lt_s",
        );
        f.if(() => {
          f.get(width).get(this.position).op("i32.sub").set(left);
        }, () => {
          f.i32(block).set(left);
        });
        const strided = this.variant.steps.includes("any");
        const whole = block / this.lanes;
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
    const f = this.f;
    const columns = single ? 1 : copies * this.lanes;
    f.block((done) => {
      f.loop((again) => {
        f.get(left).i32(columns).op("i32.lt_s").brIf(done);
        this.#columnBody(pointers, copies, single);
        pointers.forEach((pointer, i) => {
          const step = this.step(i);
          if (step === "zero") return;
          f.get(pointer);
          if (step === "unit") f.i32(columns * bytesOf(this.dtypeOf(i)));
          else {
            f.get(step.stride);
            if (columns !== 1) f.i32(columns).op("i32.mul");
          }
          f.op("i32.add").set(pointer);
        });
        f.get(left).i32(columns).op("i32.sub").set(left);
        f.get(this.position).i32(columns).op("i32.add").set(this.position);
        f.br(again);
      });
    });
  }

  #columnBody(
    pointers: readonly number[],
    copies: number,
    single: boolean,
  ): void {
    const f = this.f;
    const { outerRank, innerRank } = this.variant;
    const inner = Array.from({ length: innerRank }, (_, d) => outerRank + d);
    const each = (
      exprs: readonly Expr[],
      p: readonly number[],
      known: readonly ReadonlyMap<Expr, number>[],
      body: (emitter: LaneEmitter, copy: Copy) => void,
    ) => {
      const emitters = Array.from({ length: copies }, (_, unroll) => {
        const copy = { unroll, single };
        return { copy, emitter: this.emitter(copy, p, known[unroll]) };
      });
      inLockstep(exprs, emitters.map(({ emitter }) => emitter));
      for (const { emitter, copy } of emitters) body(emitter, copy);
    };
    for (const pass of this.passes) {
      const { exprs, operands, stages } = this.contents(pass);
      const known = this.#hoistColumns(exprs, pointers, copies, single);
      const accumulators = stages.map((stage) =>
        this.reducer.start(stage, copies)
      );
      this.startPass();
      this.nest(inner, operands, pointers, (p) => {
        each(exprs, p, known, (emitter, copy) => {
          this.reduce(pass, emitter, accumulators, copy, p, () => {
            f.get(this.innerPosition).op("i32x4.splat");
          });
        });
        if (accumulators.some((a) => a.total.length > 0)) {
          const counter = this.counters[this.layoutRank - 1]!;
          f.get(counter).i32(foldRows - 1).op("i32.and").i32(foldRows - 1);
          f.op("i32.eq").if(() => {
            this.reducer.foldAll(stages, accumulators);
          });
        }
        if (this.usesPosition) {
          f.get(this.innerPosition).i32(1).op("i32.add").set(
            this.innerPosition,
          );
        }
      });
      pass.stages.forEach((s, i) => {
        this.stageLocals[s] = this.reducer.finishColumns(
          stages[i],
          accumulators[i],
        );
      });
    }
    const perRow = this.outputs.flatMap((o, i) => o.per === "row" ? [i] : []);
    const perElement = this.outputs.flatMap((o, i) =>
      o.per === "element" ? [i] : []
    );
    if (perRow.length > 0) {
      each(
        perRow.map((i) => this.outputs[i].value),
        pointers,
        [],
        (emitter, copy) => {
          this.storeElements(perRow, emitter, copy, pointers);
        },
      );
    }
    if (perElement.length > 0) {
      const exprs = perElement.map((i) => this.outputs[i].value);
      const operands = this.operandsOf(exprs, perElement);
      const known = this.#hoistColumns(exprs, pointers, copies, single);
      this.nest(inner, operands, pointers, (p) => {
        each(
          exprs,
          p,
          known,
          (emitter, copy) => this.storeElements(perElement, emitter, copy, p),
        );
      });
    }
  }

  /** Computes, for each copy, what does not change from row to row of its columns. */
  #hoistColumns(
    exprs: readonly Expr[],
    pointers: readonly number[],
    copies: number,
    single: boolean,
  ): Map<Expr, number>[] {
    const needed = fixedParts(
      exprs,
      (e) =>
        e.op === "stage" ||
        (e.op === "coord" && Number(e.value) < this.variant.outerRank),
    ).filter((e) => e.args.length > 0);
    return Array.from(
      { length: copies },
      (_, unroll) => this.compute(needed, { unroll, single }, pointers),
    );
  }
}
