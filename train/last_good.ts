/**
 * Buffers of a model, such as running statistics, as they were after the last
 * good step: a forward pass changes them before its loss is known, so a step
 * that goes wrong has to take that back.
 *
 * @module
 */

import { DeviceLostError } from "../core/errors.ts";
import { keep } from "../core/memory.ts";
import { copy } from "../core/row_kernels.ts";
import { sameShape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { type Update, updateAll } from "../core/update.ts";
import type { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import type { Model } from "./model.ts";

/** A buffer, and whether it was written since. */
interface Seen {
  readonly buffer: Tensor;
  readonly value: Value;
  readonly writes: number;
}

/** A buffer, and what it held after the last good step. */
interface Pair extends Seen {
  readonly good: Tensor;
}

function see(buffer: Tensor): Seen {
  const { value } = buffer.materialize();
  return { buffer, value, writes: value.writes };
}

function written({ buffer, value, writes }: Seen): boolean {
  return buffer.value !== value || value.writes !== writes;
}

function pairOf(buffer: Tensor): Pair {
  const seen = see(buffer);
  return { ...seen, good: keep(new Tensor(copy(seen.value))) };
}

/** The buffers of a model; none where it does not tell them, as `nn` modules do. */
function buffersOf(model: Model): readonly Tensor[] {
  const { buffers } = model as { buffers?: unknown };
  return typeof buffers === "function" ? buffers.call(model) : [];
}

function fits({ buffer, good }: Pair): boolean {
  return !buffer.disposed && buffer.dtype === good.dtype &&
    buffer.device === good.device && sameShape(buffer.shape, good.shape);
}

/** What the buffers of a model held after the last good step. */
export class LastGood implements Disposable {
  readonly #model: Model;
  /** Buffers that steps write; all of them before the first. */
  #pairs: readonly Pair[] | undefined;
  /** Buffers that the first step has left alone, such as masks. */
  #constant: readonly Seen[] = [];
  #first = true;

  /**
   * Nothing is noted yet.
   *
   * @param model Whose buffers.
   */
  constructor(model: Model) {
    this.#model = model;
  }

  /** Notes what the buffers hold before the first step, and again when they have become others. */
  prepare(): void {
    const known = this.#pairs?.every(fits) &&
      !this.#constant.some((seen) => seen.buffer.disposed || written(seen));
    if (known) return;
    this[Symbol.dispose]();
    this.#pairs = buffersOf(this.#model).map(pairOf);
    this.#constant = [];
    this.#first = true;
  }

  /** After the first forward pass: what it has not written need not be noted each time. */
  #sort(): void {
    if (!this.#first || this.#pairs === undefined) return;
    this.#first = false;
    const constant = this.#pairs.filter((pair) => !written(pair));
    for (const { good } of constant) good.dispose();
    this.#constant = constant;
    this.#pairs = this.#pairs.filter((pair) => !constant.includes(pair));
  }

  /** The noted tensors and the buffers. */
  get tensors(): Tensor[] {
    return (this.#pairs ?? []).flatMap(({ buffer, good }) => [buffer, good]);
  }

  /** Where a single element is not 0, notes what the buffers hold; takes it back elsewhere. */
  settle(open: Tensor): void {
    this.#sort();
    this.#update(({ buffer, good }) => ({
      name: "buffers of a step",
      targets: [buffer, good],
      operands: [open],
      scalars: [],
      define([now, before], [open]) {
        const settled = k.select(k.gt(open, 0), now, before);
        return [settled, settled];
      },
    }));
  }

  /** Notes what the buffers hold after a good step. */
  note(): void {
    this.#sort();
    this.#update(({ buffer, good }) => copying(good, buffer));
  }

  /** Gives the buffers what they held after the last good step; those of a lost device are gone. */
  restore(): void {
    try {
      this.#update(({ buffer, good }) => copying(buffer, good));
    } catch (error) {
      if (!(error instanceof DeviceLostError)) throw error;
    }
  }

  #update(of: (pair: Pair) => Update): void {
    const pairs = this.#pairs ?? [];
    if (pairs.length > 0) updateAll(pairs.map(of));
  }

  /** Forgets what was noted. */
  [Symbol.dispose](): void {
    for (const { good } of this.#pairs ?? []) good.dispose();
    this.#pairs = undefined;
  }
}

function copying(target: Tensor, source: Tensor): Update {
  return {
    name: "copy of buffers",
    targets: [target],
    operands: [source],
    scalars: [],
    define: (_, [x]) => [x],
  };
}
