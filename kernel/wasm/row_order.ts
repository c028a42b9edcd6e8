/**
 * Row order: the vector axis is the last inner axis, and a row is reduced
 * across lanes.
 *
 * @module
 */

import { bytesOf } from "../../core/dtype.ts";
import { fixedParts, inLockstep } from "./hoisting.ts";
import type { LaneEmitter } from "./lanes.ts";
import type { Copy } from "./reduce.ts";
import { begin, end, KernelWriter, params } from "./writer.ts";
import * as k from "../expr.ts";
import type { Expr } from "../expr.ts";
import { isArg } from "../program.ts";

/** Numbers of copies that are tried, and how many nodes they may have together. */
const unrolls = [4, 2], unrolledNodes = 1024;

/** Elements of a row after which running sums are added to the totals. */
const foldLength = 2048;

/** Writes kernels in row order. */
export class RowOrder extends KernelWriter {
  /** Writes the loops. */
  protected override body(bases: readonly number[]): void {
    if (this.variant.outerRank > 0) this.#rows(bases);
    else this.#row(bases, this.stages.length === 0);
  }

  /** Row order, all rows in [begin, end). */
  #rows(bases: readonly number[]): void {
    const f = this.f;
    const outer = this.variant.outerRank;
    const operands = bases.map((_, i) => i);
    const row = f.local("i32");
    const rest = f.local("i32");
    const at = Array.from({ length: outer }, () => f.local("i32"));
    at.forEach((counter, d) => this.counters[d] = counter);
    // Position of the first row.
    f.get(begin).tee(row).set(rest);
    for (let d = outer - 1; d >= 0; d--) {
      const size = this.layout.size(d);
      f.get(rest).get(params).load("i32.load", size).op("i32.rem_u").set(at[d]);
      f.get(rest).get(params).load("i32.load", size).op("i32.div_u").set(rest);
      for (const i of operands) {
        f.get(bases[i]).get(at[d]).get(params).load(
          "i32.load",
          this.layout.stride(i, d),
        );
        f.op("i32.mul").op("i32.add").set(bases[i]);
      }
    }
    this.prepareStrides();
    f.block((done) => {
      f.loop((again) => {
        f.get(row).get(end).op("i32.ge_u").brIf(done);
        if (this.usesLinear) {
          f.get(row);
          for (let d = 0; d < this.variant.innerRank; d++) {
            f.get(params).load("i32.load", this.layout.size(outer + d)).op(
              "i32.mul",
            );
          }
          f.set(this.rowStart);
        }
        this.#row(bases, false);
        f.get(row).i32(1).op("i32.add").set(row);
        f.block((stepped) => {
          for (let d = outer - 1; d >= 0; d--) {
            for (const i of operands) this.addStride(bases[i], i, d);
            f.get(at[d]).i32(1).op("i32.add").tee(at[d]);
            f.get(params).load("i32.load", this.layout.size(d)).op("i32.lt_u")
              .brIf(stepped);
            // Carry: back to the start of this axis.
            f.i32(0).set(at[d]);
            for (const i of operands) {
              f.get(bases[i]);
              f.get(params).load("i32.load", this.layout.stride(i, d));
              f.get(params).load("i32.load", this.layout.size(d)).op(
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
    if (this.variant.outerRank === 0) this.prepareStrides();
    const f = this.f;
    const { outerRank, innerRank } = this.variant;
    const inner = Array.from({ length: innerRank }, (_, d) => outerRank + d);
    const leading = inner.slice(0, -1);
    for (const pass of this.passes) {
      const { exprs, operands, stages } = this.contents(pass);
      const unroll = this.#unrollOf(exprs, operands, stages.some(isArg));
      const accumulators = stages.map((stage) =>
        this.reducer.start(stage, unroll)
      );
      this.startPass();
      this.nest(leading, operands, pointers, (p) => {
        this.#vectorLoop(
          operands,
          p,
          exprs,
          unroll,
          false,
          (emitter, copy, q) => {
            this.reduce(pass, emitter, accumulators, copy, q, () => {
              f.get(this.innerPosition).get(this.position).op("i32.add");
              f.op("i32x4.splat");
              this.addIota(copy.unroll);
            });
          },
          () => this.reducer.foldAll(stages, accumulators),
        );
        this.reducer.foldAll(stages, accumulators);
      });
      pass.stages.forEach((s, i) => {
        const result = this.reducer.finish(stages[i], accumulators[i]);
        this.stageLocals[s] = [result];
      });
    }
    const perRow = this.outputs.filter((o) => o.per === "row");
    if (perRow.length > 0) {
      const emitter = this.emitter(
        { unroll: 0, single: true },
        pointers,
        undefined,
        true,
      );
      emitter.plan(perRow.map((o) => o.value));
      this.outputs.forEach((o, i) => {
        if (o.per !== "row") return;
        emitter.emit(o.value);
        this.elements.store(
          o.dtype,
          o.value.type,
          pointers[this.operand(i)],
          0,
          "zero",
          true,
        );
      });
    }
    const perElement = this.outputs.flatMap((o, i) =>
      o.per === "element" ? [i] : []
    );
    if (perElement.length > 0) {
      const exprs = perElement.map((i) => this.outputs[i].value);
      const operands = this.operandsOf(exprs, perElement);
      this.startPass();
      this.nest(leading, operands, pointers, (p) => {
        const copies = this.#unrollOf(exprs, operands, false);
        this.#vectorLoop(
          operands,
          p,
          exprs,
          copies,
          flat,
          (emitter, copy, q) => {
            this.storeElements(perElement, emitter, copy, q);
          },
        );
      });
    }
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
    const strided = operands.some((i) => this.variant.steps[i] === "any");
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
    const f = this.f;
    const j = this.position;
    const n = f.local("i32");
    const moving = [...pointers];
    const axis = this.vectorAxis;
    for (const i of operands) {
      moving[i] = f.local("i32");
      f.get(pointers[i]);
      if (flat && this.variant.steps[i] !== "zero") {
        f.get(begin).get(params).load("i32.load", this.layout.stride(i, axis))
          .op("i32.mul").op("i32.add");
      }
      f.set(moving[i]);
    }
    if (flat) {
      f.get(begin).set(j);
      f.get(end).set(n);
    } else {
      f.i32(0).set(j);
      f.get(params).load("i32.load", this.layout.size(axis)).set(n);
    }
    const fixed = this.#hoistRow(exprs, moving);
    const advance = (elements: number) => {
      for (const i of operands) {
        const step = this.step(i);
        if (step === "zero") continue;
        f.get(moving[i]);
        if (step === "unit") f.i32(elements * bytesOf(this.dtypeOf(i)));
        else {
          f.get(step.stride);
          if (elements !== 1) f.i32(elements).op("i32.mul");
        }
        f.op("i32.add").set(moving[i]);
      }
      f.get(j).i32(elements).op("i32.add").set(j);
    };
    const walk = (copies: number, single: boolean, limit = n) => {
      const elements = single ? 1 : copies * this.lanes;
      f.block((done) => {
        f.loop((again) => {
          f.get(j).i32(elements).op("i32.add").get(limit).op("i32.gt_s");
          f.brIf(done);
          const emitters = Array.from({ length: copies }, (_, unroll) => {
            const copy = { unroll, single };
            return { copy, emitter: this.emitter(copy, moving, fixed) };
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
    if (this.usesPosition && !flat) {
      f.get(this.innerPosition).get(n).op("i32.add").set(this.innerPosition);
    }
  }

  /** Computes what does not change along the vector axis, before the loop over it. */
  #hoistRow(
    exprs: readonly Expr[],
    pointers: readonly number[],
  ): Map<Expr, number> {
    const needed = fixedParts(exprs, (e) =>
      e.op === "stage" ||
      (e.op === "input" && this.variant.steps[Number(e.value)] === "zero") ||
      (e.op === "coord" && e.value !== this.vectorAxis));
    return this.compute(needed, { unroll: 0, single: false }, pointers);
  }
}
