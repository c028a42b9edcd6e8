/**
 * Attention with several heads.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import type { OptionNames } from "../core/options.ts";
import type { Tensor } from "../core/tensor.ts";
import { scaledDotProductAttention } from "../ops/attention.ts";
import { where } from "../ops/comparison.ts";
import { fill, reshape } from "../ops/foundation.ts";
import { chunk } from "../ops/joining.ts";
import { logicalAnd } from "../ops/logical.ts";
import * as ops from "../ops/linear.ts";
import { permute } from "../ops/shape.ts";
import { narrow } from "../ops/slicing.ts";
import { empty, filled } from "./allocate.ts";
import {
  checkExtents,
  checkNames,
  checkProbability,
  moduleNames,
  show,
} from "./extents.ts";
import { xavierUniform, zeros } from "./init.ts";
import { Linear } from "./linear.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { parameter } from "./roles.ts";

/** Options of {@linkcode multiheadAttention}. */
export interface MultiheadAttentionOptions extends ModuleOptions {
  /** Share of the attention weights that is dropped in training. */
  dropout?: number;
  /** Whether there are biases; true when omitted. */
  bias?: boolean;
  /** Width of the keys; that of the queries when omitted. */
  keySize?: number;
  /** Width of the values; that of the queries when omitted. */
  valueSize?: number;
  /** Whether input and output are [batch, time, width] instead of [time, batch, width]. */
  batchFirst?: boolean;
}

const names: OptionNames<MultiheadAttentionOptions> = {
  ...moduleNames,
  dropout: true,
  bias: true,
  keySize: true,
  valueSize: true,
  batchFirst: true,
};

/** What a query may look at. */
export interface AttendOptions {
  /** Whether position i sees positions up to i only. */
  causal?: boolean;
  /** bool, false hides, or numbers added to the scores; broadcast to [batch, heads, T, S]. */
  mask?: Tensor;
  /** bool [batch, S]: false hides a key (padding) from all queries. */
  keyMask?: Tensor;
}

/**
 * Multi-head attention (Vaswani et al., 2017). Parameters: `in_proj_weight`
 * [3E, E], or `q_proj_weight`, `k_proj_weight`, `v_proj_weight` where widths
 * differ, `in_proj_bias` [3E], `out_proj.weight`, `out_proj.bias`.
 */
export class MultiheadAttention extends Module<
  [query: Tensor, key?: Tensor, value?: Tensor, options?: AttendOptions]
> {
  /** Weights of queries, keys and values together [3E, E]. */
  readonly inProjWeight: Tensor | undefined;
  /** Weights of the queries [E, E], where widths differ. */
  readonly qProjWeight: Tensor | undefined;
  /** Weights of the keys [E, keySize], where widths differ. */
  readonly kProjWeight: Tensor | undefined;
  /** Weights of the values [E, valueSize], where widths differ. */
  readonly vProjWeight: Tensor | undefined;
  /** Biases of queries, keys and values [3E]. */
  readonly inProjBias: Tensor | undefined;
  /** The map of the joined heads. */
  readonly outProj: Linear;
  readonly #heads: number;
  readonly #width: number;
  readonly #dropout: number;
  readonly #batchFirst: boolean;

  /**
   * Makes Xavier-initialised maps without initial biases.
   *
   * @throws {RangeError} when the width is not divisible by the heads.
   */
  constructor(
    width: number,
    heads: number,
    options: MultiheadAttentionOptions = {},
  ) {
    super();
    const who = "a MultiheadAttention";
    checkNames(who, options, names);
    const { dropout = 0, bias = true, batchFirst = false } = options;
    const { keySize = width, valueSize = width, dtype, device } = options;
    checkExtents(who, { width, heads, keySize, valueSize });
    checkProbability(who, dropout);
    if (width % heads !== 0) {
      throw new RangeError(
        `Cannot make ${who} of width ${width} with ${heads} heads: the heads must divide the width`,
      );
    }
    const weight = (rows: number, columns: number) => {
      const tensor = parameter(empty([rows, columns], options));
      return xavierUniform(tensor);
    };
    if (keySize === width && valueSize === width) {
      this.inProjWeight = weight(3 * width, width);
    } else {
      this.qProjWeight = weight(width, width);
      this.kProjWeight = weight(width, keySize);
      this.vProjWeight = weight(width, valueSize);
    }
    if (bias) this.inProjBias = parameter(filled([3 * width], 0, options));
    this.outProj = new Linear(width, width, { bias, dtype, device });
    if (this.outProj.bias !== undefined) zeros(this.outProj.bias);
    this.#heads = heads;
    this.#width = width;
    this.#dropout = dropout;
    this.#batchFirst = batchFirst;
  }

  /**
   * Attends: without key and value the queries attend to themselves.
   *
   * @throws {ShapeError} when inputs are no batches of sequences that fit.
   */
  override forward(
    query: Tensor,
    key: Tensor = query,
    value: Tensor = key,
    options: AttendOptions = {},
  ): Tensor {
    this.#check(query, key, value);
    const [q, k, v] = this.#project(query, key, value)
      .map((x) => this.#split(x));
    const { causal, keyMask } = options;
    const heads = scaledDotProductAttention(q, k, v, {
      causal,
      mask: combined(options.mask, keyMask),
      dropout: this.#dropout,
      training: this.training,
    });
    return this.outProj.forward(this.#joined(heads, query));
  }

  /** Queries, keys and values; one product where all come from one tensor. */
  #project(query: Tensor, key: Tensor, value: Tensor): Tensor[] {
    const { inProjWeight: packed, inProjBias: bias } = this;
    const width = this.#width;
    if (packed !== undefined && query === key && key === value) {
      return chunk(ops.linear(query, packed, bias), 3, -1);
    }
    const part = (x: Tensor, i: number) => narrow(x, 0, i * width, width);
    const own = [this.qProjWeight, this.kProjWeight, this.vProjWeight];
    return [query, key, value].map((x, i) =>
      ops.linear(
        x,
        packed === undefined ? own[i]! : part(packed, i),
        bias && part(bias, i),
      )
    );
  }

  /** To [batch, heads, time, width / heads]. */
  #split(x: Tensor): Tensor {
    const [a, b] = x.shape;
    const heads = reshape(x, [a, b, this.#heads, this.#width / this.#heads]);
    return permute(heads, this.#batchFirst ? [0, 2, 1, 3] : [1, 2, 0, 3]);
  }

  /** Back to the form of the queries. */
  #joined(heads: Tensor, query: Tensor): Tensor {
    const order = this.#batchFirst ? [0, 2, 1, 3] : [2, 0, 1, 3];
    const [a, b] = query.shape;
    return reshape(permute(heads, order), [a, b, this.#width]);
  }

  #check(query: Tensor, key: Tensor, value: Tensor): void {
    const keySize = this.kProjWeight?.shape[1] ?? this.#width;
    const valueSize = this.vProjWeight?.shape[1] ?? this.#width;
    const batch = this.#batchFirst ? 0 : 1;
    const fits =
      [query, key, value].every((x) =>
        x.rank === 3 && x.shape[batch] === query.shape[batch]
      ) && query.shape[2] === this.#width && key.shape[2] === keySize &&
      value.shape[2] === valueSize && key.shape[0] === value.shape[0] &&
      key.shape[1] === value.shape[1];
    if (fits) return;
    const order = this.#batchFirst ? "batch, time" : "time, batch";
    throw new ShapeError(
      `Cannot attend with queries ${shapeText(query.shape)}, keys ${
        shapeText(key.shape)
      } and values ${
        shapeText(value.shape)
      }: this MultiheadAttention takes [${order}, ${this.#width}], [${order}, ${keySize}] and [${order}, ${valueSize}] of one batch, with a value for each key`,
    );
  }

  /** The extents. */
  protected override details(): string {
    return show({ width: this.#width, heads: this.#heads });
  }
}

/** Both masks as one that broadcasts to [batch, heads, T, S]. */
function combined(
  mask: Tensor | undefined,
  keyMask: Tensor | undefined,
): Tensor | undefined {
  if (keyMask === undefined) return mask;
  const [batch, keys] = keyMask.shape;
  const hidden = reshape(keyMask, [batch, 1, 1, keys]);
  if (mask === undefined) return hidden;
  if (mask.dtype === "bool") return logicalAnd(mask, hidden);
  return where(hidden, mask, fill([], -Infinity, mask.dtype, mask.device));
}

/** A {@linkcode MultiheadAttention}. @throws {RangeError} when the width is not divisible by the heads. */
export function multiheadAttention(
  width: number,
  heads: number,
  options: MultiheadAttentionOptions = {},
): MultiheadAttention {
  return new MultiheadAttention(width, heads, options);
}
