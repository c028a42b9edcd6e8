/**
 * Tables of vectors that are looked up by number.
 *
 * @module
 */

import { IndexError } from "../core/errors.ts";
import { noGrad } from "../core/autograd.ts";
import { scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { mul } from "../ops/arithmetic.ts";
import {
  embedding as lookUp,
  embeddingBag as lookUpBags,
  type EmbeddingBagOptions as BagOptions,
} from "../ops/embedding.ts";
import { empty } from "./allocate.ts";
import { overwrite } from "./convert.ts";
import { checkExtents, checkNames, moduleNames, show } from "./extents.ts";
import { normal } from "./init.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { parameter } from "./roles.ts";

/** Options of {@linkcode embedding}. */
export interface EmbeddingOptions extends ModuleOptions {
  /** Row that starts as 0 and is not trained; negative numbers count from the end. */
  paddingIdx?: number;
}

const names = { ...moduleNames, paddingIdx: true } as const;

/** A table of N(0, 1), with zeros in the padding row. */
function makeTable(
  who: string,
  count: number,
  width: number,
  options: EmbeddingOptions,
): Tensor {
  checkExtents(who, { count, width });
  const table = parameter(empty([count, width], options));
  normal(table);
  const { paddingIdx } = options;
  if (paddingIdx === undefined) return table;
  if (
    !Number.isInteger(paddingIdx) || paddingIdx < -count || paddingIdx >= count
  ) {
    throw new IndexError(
      `Cannot make ${who} of ${count} rows with padding row ${paddingIdx}: it must be a whole number from ${-count} to ${
        count - 1
      }`,
    );
  }
  const keep = new Float32Array(count).fill(1);
  keep[paddingIdx < 0 ? paddingIdx + count : paddingIdx] = 0;
  const device = table.device.name;
  noGrad(() =>
    scope(() => {
      const mask = fromHost(keep, "f32", [count, 1], { device });
      overwrite(table, mul(table, mask));
    })
  );
  return table;
}

/** Rows of a trained table: indices [...] to [..., width]. Parameter: `weight` [count, width]. */
export class Embedding extends Module {
  /** The table [count, width]. */
  readonly weight: Tensor;
  readonly #paddingIdx: number | undefined;

  /**
   * Makes a table of N(0, 1).
   *
   * @throws {RangeError} when an extent is no positive whole number, or the padding row is none.
   */
  constructor(count: number, width: number, options: EmbeddingOptions = {}) {
    super();
    checkNames("an Embedding", options, names);
    this.weight = makeTable("an Embedding", count, width, options);
    this.#paddingIdx = options.paddingIdx;
  }

  /** Indices [...] to rows [..., width]. @throws {IndexError} when one is out of range. */
  override forward(index: Tensor): Tensor {
    return lookUp(index, this.weight, { paddingIdx: this.#paddingIdx });
  }

  /** The extents. */
  protected override details(): string {
    const [count, width] = this.weight.shape;
    return show({ count, width, paddingIdx: this.#paddingIdx });
  }
}

/** An {@linkcode Embedding}. @throws {RangeError} for extents or a padding row that do not fit. */
export function embedding(
  count: number,
  width: number,
  options: EmbeddingOptions = {},
): Embedding {
  return new Embedding(count, width, options);
}

/** Options of {@linkcode embeddingBag}. */
export interface EmbeddingBagOptions extends EmbeddingOptions {
  /** How the rows of a bag become one; "mean" when omitted. */
  mode?: BagOptions["mode"];
  /** Whether the last offset is the end of the last bag. */
  includeLastOffset?: boolean;
}

/** Sums, means or maxima of bags of rows of a trained table. Parameter: `weight` [count, width]. */
export class EmbeddingBag extends Module<
  [index: Tensor, offsets?: Tensor, perSampleWeights?: Tensor]
> {
  /** The table [count, width]. */
  readonly weight: Tensor;
  readonly #options: BagOptions;

  /**
   * Makes a table of N(0, 1).
   *
   * @throws {RangeError} when an extent is no positive whole number, or the padding row is none.
   */
  constructor(count: number, width: number, options: EmbeddingBagOptions = {}) {
    super();
    const who = "an EmbeddingBag";
    const bags = { mode: true, includeLastOffset: true } as const;
    checkNames(who, options, { ...names, ...bags });
    this.weight = makeTable(who, count, width, options);
    const { mode, includeLastOffset, paddingIdx } = options;
    this.#options = { mode, includeLastOffset, paddingIdx };
  }

  /** Indices [bags, length], or a vector with offsets, to [bags, width]. */
  override forward(
    index: Tensor,
    offsets?: Tensor,
    perSampleWeights?: Tensor,
  ): Tensor {
    return lookUpBags(
      index,
      this.weight,
      offsets,
      perSampleWeights,
      this.#options,
    );
  }

  /** The extents. */
  protected override details(): string {
    const [count, width] = this.weight.shape;
    return show({ count, width, ...this.#options });
  }
}

/** An {@linkcode EmbeddingBag}. @throws {RangeError} for extents or a padding row that do not fit. */
export function embeddingBag(
  count: number,
  width: number,
  options: EmbeddingBagOptions = {},
): EmbeddingBag {
  return new EmbeddingBag(count, width, options);
}
