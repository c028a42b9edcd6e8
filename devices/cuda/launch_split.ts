/**
 * Reductions with few and long rows: pieces of the rows are reduced at once,
 * then the pieces' results. A program of several walks takes two kernels for
 * each walk, and one for its outputs. The cut depends on sizes alone, so
 * results do not depend on the GPU.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import type { Launch, Storage, Strided } from "../../core/device.ts";
import { contiguousStrides } from "../../core/shape.ts";
import { product, type Walk } from "../../kernel/walk.ts";
import type { CudaContext } from "./context.ts";
import { prepareElements } from "./launch_elements.ts";
import { type Facts, factsOf } from "./launch_facts.ts";
import { queue } from "./launch_plans.ts";
import { prepareRows } from "./launch_rows.ts";
import { columnsAreBetter, type Pieces } from "./launch_shape.ts";
import {
  split,
  type SplitPrograms,
  type SplitWalk,
} from "./launch_split_programs.ts";

/** Blocks that keep a GPU busy. */
const enoughBlocks = 512;
/** Elements of a row, or of a column, that are worth a piece. */
const rowPiece = 8192, columnPiece = 512;
/** Pieces start at multiples of this many elements. */
const pieceGrain = 256;

/** How a reduction is cut; undefined where it has rows enough, or short ones. */
function cut(facts: Facts, walk: Walk): Pieces | undefined {
  const { sizes, outerRank } = walk;
  const rows = product(sizes, 0, outerRank);
  const length = product(sizes, outerRank, sizes.length);
  const columns = columnsAreBetter(facts, walk);
  const blocks = columns ? Math.ceil(rows / 32) : rows;
  const least = columns ? columnPiece : rowPiece;
  if (length < 2 * least || blocks > enoughBlocks / 4) return undefined;
  const count = Math.min(
    Math.floor(enoughBlocks / blocks),
    Math.floor(length / least),
  );
  const each = Math.ceil(length / count / pieceGrain) * pieceGrain;
  return { count: Math.ceil(length / each), length: each };
}

/** Runs a launch in pieces where that pays; false where it does not. */
export function runSplit(
  context: CudaContext,
  facts: Facts,
  l: Launch,
  walk: Walk,
): boolean {
  if (l.program.stages.length === 0 || facts.rowLinear) return false;
  const pieces = cut(facts, walk);
  if (pieces === undefined) return false;
  new SplitRun(context, l, walk, pieces, facts.split ??= split(l.program))
    .run();
  return true;
}

/** Bytes at whose multiples scratch arrays start. */
const alignment = 256;

class SplitRun {
  readonly #rows: number;
  /** Extents of the outer axes, and steps from row to row in scratch arrays. */
  readonly #outer: readonly number[];
  readonly #rowSteps: readonly number[];
  #scratch = 0;
  #taken = 0;

  constructor(
    readonly context: CudaContext,
    readonly l: Launch,
    readonly walk: Walk,
    readonly pieces: Pieces,
    readonly programs: SplitPrograms,
  ) {
    this.#outer = walk.sizes.slice(0, walk.outerRank);
    this.#rows = product(this.#outer, 0, this.#outer.length);
    this.#rowSteps = contiguousStrides(this.#outer);
  }

  run(): void {
    const { programs, l, walk, pieces } = this;
    const partialBytes = programs.walks.map(({ partial }) =>
      partial.outputs.reduce(
        (sum, { dtype }) => sum + this.#bytes(dtype, pieces.count),
        0,
      )
    );
    const resultBytes = programs.results.reduce(
      (sum, dtype) => sum + this.#bytes(dtype, 1),
      0,
    );
    // The pieces' results of one walk are gone when those of the next come.
    this.#scratch = Number(
      this.context.workspace(resultBytes + Math.max(...partialBytes)),
    );
    const results = programs.results.map((dtype) =>
      this.#take(dtype, 1, this.#rowSteps)
    );
    const kept = this.#taken;
    for (const step of programs.walks) {
      this.#taken = kept;
      this.#walk(step, results);
    }
    if (programs.perElement === undefined) return;
    const inner = walk.sizes.slice(walk.outerRank).map(() => 0);
    const { context } = this;
    const facts = factsOf(context, programs.perElement);
    const last = prepareElements(context, facts, {
      program: programs.perElement,
      sizes: walk.sizes,
      outerRank: walk.outerRank,
      inputs: [
        ...l.inputs.map((o, i) => ({ ...o, strides: walk.strides[i] })),
        ...results.map((o) => ({ ...o, strides: [...o.strides, ...inner] })),
      ],
      limits: l.limits,
      outputs: l.outputs.flatMap((o, i) =>
        l.program.outputs[i].per === "element"
          ? [{ ...o, strides: walk.strides[l.inputs.length + i] }]
          : []
      ),
      scalars: l.scalars,
    });
    queue(context, last);
  }

  /** Bytes of a scratch array with `count` elements per row. */
  #bytes(dtype: DType, count: number): number {
    const bytes = this.#rows * count * bytesOf(dtype);
    return Math.ceil(bytes / alignment) * alignment;
  }

  /** The next scratch array. */
  #take(dtype: DType, count: number, strides: readonly number[]): Strided {
    const address = this.#scratch + this.#taken;
    this.#taken += this.#bytes(dtype, count);
    return { storage: { address } as Storage, dtype, offset: 0, strides };
  }

  /** One walk: pieces of all rows, then what the pieces gave. */
  #walk(step: SplitWalk, results: readonly Strided[]): void {
    const { context, l, walk, pieces, programs } = this;
    const { partial, join } = step;
    const rows = this.#rows, { count } = pieces;
    const innerRank = walk.sizes.length - walk.outerRank;
    const still = new Array<number>(innerRank).fill(0);
    const inputs = [...l.inputs, ...results];
    // Values lie piece by piece, so that the join reads neighbours; positions row by row, so that it finds them.
    let values = 0;
    const parts = partial.outputs.map(({ dtype }) => {
      const isPosition = partial.stages[values++].op.startsWith("arg");
      return this.#take(
        dtype,
        count,
        isPosition
          ? [1, ...this.#rowSteps.map((s) => s * count)]
          : [rows, ...this.#rowSteps],
      );
    });
    const pieceKernel = prepareRows(
      context,
      factsOf(context, partial),
      { ...l, program: partial, inputs, outputs: parts },
      {
        sizes: [count, ...walk.sizes],
        outerRank: walk.outerRank + 1,
        strides: [
          ...l.inputs.map((_, i) => [0, ...walk.strides[i]]),
          ...results.map((o) => [0, ...o.strides, ...still]),
          ...parts.map((o) => [...o.strides, ...still]),
        ],
      },
      pieces,
    );
    queue(context, pieceKernel);
    const outputs = [
      ...(step.stores ? step.stages.map((s) => results[s]) : []),
      ...(step === programs.walks.at(-1)
        ? l.outputs.filter((_, i) => l.program.outputs[i].per === "row")
        : []),
    ];
    const perRow = l.outputs.flatMap((_, i) =>
      l.program.outputs[i].per === "row"
        ? [walk.strides[l.inputs.length + i]]
        : []
    );
    const ofRow = (strides: readonly number[]) => [
      ...strides.slice(0, walk.outerRank),
      0,
    ];
    const joinKernel = prepareRows(
      context,
      factsOf(context, join),
      {
        ...l,
        program: join,
        inputs: [...inputs, ...parts],
        outputs,
        limits: [
          ...inputs.map((_, i) => l.limits[i] ?? 1),
          ...parts.map(() => rows * count),
        ],
      },
      {
        sizes: [...this.#outer, count],
        outerRank: walk.outerRank,
        strides: [
          ...l.inputs.map((_, i) => ofRow(walk.strides[i])),
          ...results.map((o) => ofRow(o.strides)),
          ...parts.map(({ strides: [piece, ...outer] }) => [...outer, piece]),
          ...(step.stores
            ? step.stages.map((s) => ofRow(results[s].strides))
            : []),
          ...(outputs.length > (step.stores ? step.stages.length : 0)
            ? perRow.map(ofRow)
            : []),
        ],
      },
    );
    queue(context, joinKernel);
  }
}
