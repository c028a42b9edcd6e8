/**
 * Scatter on a GPU, with the results of a walk over the source in order,
 * whatever order the threads run in:
 *
 * - few source positions, or many lines: a thread per line walks in order;
 * - `set`: the last position that hits each target is found, then wins;
 * - integers, and extrema of floats: combined by atomic updates, whose order
 *   makes no difference;
 * - sums and products of floats: source positions are sorted by their targets
 *   (a stable sort), and a thread per target combines them in order.
 *
 * @module
 */

import type { ScatterMode, ScatterSpec } from "../../core/device.ts";
import { bytesOf, type DType } from "../../core/dtype.ts";
import { DTypeError } from "../../core/errors.ts";
import type { CudaContext } from "./context.ts";
import { addressIn, longs, ownKernel } from "./own_kernels.ts";
import { radixCounts, radixSort } from "./radix.ts";
import {
  atomicSource,
  cellKeysSource,
  runsSource,
  type ScatterElement,
  scatterThreads,
  walkSource,
  winnersSource,
} from "./scatter_source.ts";
import { Scratch } from "./scratch.ts";

/** Source positions that a thread walks without delay; lines that keep a GPU busy. */
const shortWalk = 64, manyLines = 1 << 15;
/** Blocks of a kernel at most; threads take further elements then. */
const mostBlocks = 1 << 16;
/** Positions are signed 32-bit integers where they are sorted. */
const mostSorted = 2 ** 31 - 1;

const bytes: Readonly<Record<number, ScatterElement>> = {
  1: "b8",
  2: "b16",
  4: "i32",
  8: "i64",
};

function elementOf(dtype: DType, mode: ScatterMode): ScatterElement {
  if (mode === "set") return bytes[bytesOf(dtype)];
  if (
    dtype === "f32" || dtype === "f64" || dtype === "i32" || dtype === "i64"
  ) {
    return dtype;
  }
  throw new DTypeError(
    `Cannot scatter with ${mode} into a tensor of dtype ${dtype}: it takes f32, f64, i32 or i64; convert first`,
  );
}

/** Queues a scatter along the middle axis of contiguous data; indices out of range are passed over. */
export function scatter(context: CudaContext, spec: ScatterSpec): void {
  if (spec.outer * spec.inner * spec.sourceSize * spec.targetSize === 0) return;
  new Scatter(context, spec).run();
}

class Scatter {
  readonly #element: ScatterElement;
  readonly #name: string;
  /** Source elements. */
  readonly #count: number;

  constructor(readonly context: CudaContext, readonly spec: ScatterSpec) {
    const { dtype, mode, perElement } = spec;
    this.#element = elementOf(dtype, mode);
    this.#name = `${this.#element} ${mode}${perElement ? " each" : ""}`;
    this.#count = spec.outer * spec.sourceSize * spec.inner;
  }

  run(): void {
    const { mode, outer, inner, sourceSize, perElement } = this.spec;
    const float = this.#element === "f32" || this.#element === "f64";
    const lines = outer * inner;
    const sorted = perElement ? this.#count : sourceSize;
    if (
      sourceSize <= shortWalk || (perElement && lines >= manyLines) ||
      sorted > mostSorted
    ) {
      this.#launch(
        "scatter_walk",
        lines,
        () => walkSource(this.#element, mode, perElement),
      );
    } else if (mode === "set") this.#set();
    else if (!float || mode === "max" || mode === "min") {
      this.#launch(
        "scatter_atomic",
        this.#count,
        () => atomicSource(this.#element, mode, perElement),
      );
    } else this.#sorted();
  }

  #launch(
    entry: string,
    count: number,
    write: () => string,
    scratch: { winners?: number; keys?: number; places?: number } = {},
    spec = this.spec,
  ): void {
    const { context } = this;
    const { dtype } = spec;
    const kernel = ownKernel(context, `${entry} ${this.#name}`, entry, write);
    const params = longs([
      addressIn(spec.target, dtype),
      addressIn(spec.source, dtype),
      addressIn(spec.index, "i64"),
      scratch.winners ?? 0,
      scratch.keys ?? 0,
      scratch.places ?? 0,
      spec.outer,
      spec.targetSize,
      spec.sourceSize,
      spec.inner,
    ]);
    const blocks = Math.min(mostBlocks, Math.ceil(count / scatterThreads));
    context.launch(kernel, blocks, 1, 1, scatterThreads, 0, params);
  }

  /** The last position that hits each target is found, then wins. */
  #set(): void {
    const { outer, inner, sourceSize, targetSize, perElement } = this.spec;
    const cells = perElement ? outer * targetSize * inner : targetSize;
    const [winners] = new Scratch(this.context, [4 * cells]).addresses;
    const write = () => winnersSource(this.#element, perElement);
    const hits = perElement ? this.#count : sourceSize;
    this.#launch("scatter_none", cells, write, { winners });
    this.#launch("scatter_winners", hits, write, { winners });
    this.#launch("scatter_last", this.#count, write, { winners });
  }

  /** Source positions are sorted by their targets; then each target walks its own. */
  #sorted(): void {
    const { context, spec } = this;
    const { mode, outer, inner, sourceSize, targetSize, perElement } = spec;
    const cells = perElement ? outer * targetSize * inner : targetSize;
    const length = perElement ? this.#count : sourceSize;
    const key = cells < 2 ** 32 ? "unsigned" : "unsigned long long";
    const width = key === "unsigned" ? 4 : 8;
    const [keys, spareKeys, places, sparePlaces, counts] = new Scratch(
      context,
      [
        width * length,
        width * length,
        4 * length,
        4 * length,
        4 * radixCounts(1, length),
      ],
    ).addresses;
    this.#launch(
      `scatter_keys${key === "unsigned" ? "" : "_wide"}`,
      length,
      () => cellKeysSource(this.#element, mode, perElement, key),
      { keys, places },
    );
    const sorted = radixSort(context, {
      key,
      bits: Math.ceil(Math.log2(cells + 1)),
      rows: 1,
      length,
      from: { keys, places },
      spare: { keys: spareKeys, places: sparePlaces },
      counts,
    });
    // With an index per element every target is a cell of its own.
    const flat = perElement
      ? { ...spec, outer: 1, inner: 1, sourceSize: length, targetSize: cells }
      : spec;
    this.#launch(
      `scatter_runs${key === "unsigned" ? "" : "_wide"}`,
      this.#count,
      () => runsSource(this.#element, mode, key),
      sorted,
      flat,
    );
  }
}
