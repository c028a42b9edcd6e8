/**
 * Layers of transformers, as PyTorch has them.
 *
 * @module
 */

import { showValue } from "../core/attributes.ts";
import type { Tensor } from "../core/tensor.ts";
import { add } from "../ops/arithmetic.ts";
import type { LinearActivation } from "../ops/linear_activation.ts";
import { type AttendOptions, MultiheadAttention } from "./attention.ts";
import { Dropout } from "./dropout.ts";
import { Linear } from "./linear.ts";
import { checkNames, moduleNames, withArticle } from "./extents.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { LayerNorm } from "./norm.ts";

/** Options of the layers. */
export interface TransformerLayerOptions extends ModuleOptions {
  /** Width of the hidden layer of the feed-forward part; 2048 when omitted. */
  feedForward?: number;
  /** Share that is dropped after each part, in training; 0.1 when omitted. */
  dropout?: number;
  /** Function of the feed-forward part; "relu" when omitted. */
  activation?: LinearActivation | ((x: Tensor) => Tensor);
  /** ε of the layer norms; 10⁻⁵ when omitted. */
  eps?: number;
  /** Whether input and output are [batch, time, width] instead of [time, batch, width]. */
  batchFirst?: boolean;
  /** Whether parts are normalised before instead of after. */
  normFirst?: boolean;
  /** Whether there are biases; true when omitted. */
  bias?: boolean;
}

/** The options of a layer as those of its parts. */
function parts(who: string, options: TransformerLayerOptions) {
  checkNames(who, options, {
    ...moduleNames,
    feedForward: true,
    dropout: true,
    activation: true,
    eps: true,
    batchFirst: true,
    normFirst: true,
    bias: true,
  });
  const { feedForward = 2048, dropout = 0.1, eps = 1e-5 } = options;
  const { bias, batchFirst, dtype, device } = options;
  const map = { bias, dtype, device };
  return {
    feedForward,
    dropout,
    map,
    norm: { ...map, eps },
    attention: { ...map, dropout, batchFirst },
  };
}

/** Refuses what is no list of layers. */
function checkLayers(who: string, layers: readonly unknown[]): void {
  if (Array.isArray(layers) && layers.length > 0) return;
  throw new TypeError(
    `Cannot make ${who} of ${
      showValue(layers)
    }: it takes an array of layers, each with weights of its own`,
  );
}

/** The feed-forward part of a layer: in as few products as what is between them allows. */
function transform(
  x: Tensor,
  { linear1, dropout, linear2 }: FeedForwardPart,
  activation: TransformerLayerOptions["activation"] = "relu",
): Tensor {
  if (typeof activation === "function") {
    const hidden = activation(linear1.forward(x));
    return linear2.forward(dropout.forward(hidden));
  }
  if (!dropout.training || dropout.p === 0) {
    return linear1.activatedInto(x, activation, linear2);
  }
  return linear2.forward(dropout.forward(linear1.activated(x, activation)));
}

interface FeedForwardPart {
  readonly linear1: Linear;
  readonly dropout: Dropout;
  readonly linear2: Linear;
}

/** x + f(x) with a norm before f or after the sum. */
function residual(
  x: Tensor,
  norm: LayerNorm,
  normFirst: boolean,
  f: (x: Tensor) => Tensor,
): Tensor {
  return normFirst ? add(x, f(norm.forward(x))) : norm.forward(add(x, f(x)));
}

/** Self-attention, then a feed-forward part, each around a residual. */
export class TransformerEncoderLayer extends Module<
  [x: Tensor, options?: AttendOptions]
> {
  /** The attention. */
  readonly selfAttn: MultiheadAttention;
  /** Into the feed-forward part. */
  readonly linear1: Linear;
  /** Inside the feed-forward part. */
  readonly dropout: Dropout;
  /** Out of the feed-forward part. */
  readonly linear2: Linear;
  /** Of the attention. */
  readonly norm1: LayerNorm;
  /** Of the feed-forward part. */
  readonly norm2: LayerNorm;
  /** After the attention. */
  readonly dropout1: Dropout;
  /** After the feed-forward part. */
  readonly dropout2: Dropout;
  readonly #activation: TransformerLayerOptions["activation"];
  readonly #normFirst: boolean;

  /** Makes a layer. @throws {RangeError} when the width is not divisible by the heads. */
  constructor(
    width: number,
    heads: number,
    options: TransformerLayerOptions = {},
  ) {
    super();
    const { feedForward, dropout, map, norm, attention } = parts(
      "a TransformerEncoderLayer",
      options,
    );
    this.selfAttn = new MultiheadAttention(width, heads, attention);
    this.linear1 = new Linear(width, feedForward, map);
    this.dropout = new Dropout(dropout);
    this.linear2 = new Linear(feedForward, width, map);
    this.norm1 = new LayerNorm(width, norm);
    this.norm2 = new LayerNorm(width, norm);
    this.dropout1 = new Dropout(dropout);
    this.dropout2 = new Dropout(dropout);
    this.#activation = options.activation;
    this.#normFirst = options.normFirst ?? false;
  }

  /** A batch of sequences to one of the same shape. */
  override forward(x: Tensor, options: AttendOptions = {}): Tensor {
    const first = this.#normFirst;
    const attended = residual(
      x,
      this.norm1,
      first,
      (x) =>
        this.dropout1.forward(
          this.selfAttn.forward(x, undefined, undefined, options),
        ),
    );
    return residual(
      attended,
      this.norm2,
      first,
      (x) => this.dropout2.forward(transform(x, this, this.#activation)),
    );
  }
}

/** A {@linkcode TransformerEncoderLayer}. @throws {RangeError} when the width is not divisible by the heads. */
export function transformerEncoderLayer(
  width: number,
  heads: number,
  options: TransformerLayerOptions = {},
): TransformerEncoderLayer {
  return new TransformerEncoderLayer(width, heads, options);
}

/** What the two attentions of a decoder layer may look at. */
export interface DecodeOptions extends AttendOptions {
  /** bool, false hides, or numbers added to the scores of the memory. */
  memoryMask?: Tensor;
  /** bool [batch, S]: false hides a position of the memory. */
  memoryKeyMask?: Tensor;
}

/** Self-attention, attention to the encoder's output, then a feed-forward part. */
export class TransformerDecoderLayer extends Module<
  [x: Tensor, memory: Tensor, options?: DecodeOptions]
> {
  /** The attention to the sequence itself. */
  readonly selfAttn: MultiheadAttention;
  /** The attention to the memory. */
  readonly multiheadAttn: MultiheadAttention;
  /** Into the feed-forward part. */
  readonly linear1: Linear;
  /** Inside the feed-forward part. */
  readonly dropout: Dropout;
  /** Out of the feed-forward part. */
  readonly linear2: Linear;
  /** Of the self-attention. */
  readonly norm1: LayerNorm;
  /** Of the attention to the memory. */
  readonly norm2: LayerNorm;
  /** Of the feed-forward part. */
  readonly norm3: LayerNorm;
  /** After the self-attention. */
  readonly dropout1: Dropout;
  /** After the attention to the memory. */
  readonly dropout2: Dropout;
  /** After the feed-forward part. */
  readonly dropout3: Dropout;
  readonly #activation: TransformerLayerOptions["activation"];
  readonly #normFirst: boolean;

  /** Makes a layer. @throws {RangeError} when the width is not divisible by the heads. */
  constructor(
    width: number,
    heads: number,
    options: TransformerLayerOptions = {},
  ) {
    super();
    const { feedForward, dropout, map, norm, attention } = parts(
      "a TransformerDecoderLayer",
      options,
    );
    this.selfAttn = new MultiheadAttention(width, heads, attention);
    this.multiheadAttn = new MultiheadAttention(width, heads, attention);
    this.linear1 = new Linear(width, feedForward, map);
    this.dropout = new Dropout(dropout);
    this.linear2 = new Linear(feedForward, width, map);
    this.norm1 = new LayerNorm(width, norm);
    this.norm2 = new LayerNorm(width, norm);
    this.norm3 = new LayerNorm(width, norm);
    this.dropout1 = new Dropout(dropout);
    this.dropout2 = new Dropout(dropout);
    this.dropout3 = new Dropout(dropout);
    this.#activation = options.activation;
    this.#normFirst = options.normFirst ?? false;
  }

  /** A batch of sequences and the encoder's output to a batch of the first one's shape. */
  override forward(
    x: Tensor,
    memory: Tensor,
    options: DecodeOptions = {},
  ): Tensor {
    const { memoryMask, memoryKeyMask, ...own } = options;
    const first = this.#normFirst;
    const attended = residual(
      x,
      this.norm1,
      first,
      (x) =>
        this.dropout1.forward(
          this.selfAttn.forward(x, undefined, undefined, own),
        ),
    );
    const informed = residual(
      attended,
      this.norm2,
      first,
      (x) =>
        this.dropout2.forward(
          this.multiheadAttn.forward(x, memory, memory, {
            mask: memoryMask,
            keyMask: memoryKeyMask,
          }),
        ),
    );
    return residual(
      informed,
      this.norm3,
      first,
      (x) => this.dropout3.forward(transform(x, this, this.#activation)),
    );
  }
}

/** A {@linkcode TransformerDecoderLayer}. @throws {RangeError} when the width is not divisible by the heads. */
export function transformerDecoderLayer(
  width: number,
  heads: number,
  options: TransformerLayerOptions = {},
): TransformerDecoderLayer {
  return new TransformerDecoderLayer(width, heads, options);
}

/** Encoder layers one after the other, named `layers.0`, …, and a last norm. */
export class TransformerEncoder extends Module<
  [x: Tensor, options?: AttendOptions]
> {
  /** The layers. */
  readonly layers: readonly TransformerEncoderLayer[];
  /** After the last layer. */
  readonly norm: LayerNorm | undefined;

  /** Stacks layers. */
  constructor(layers: readonly TransformerEncoderLayer[], norm?: LayerNorm) {
    super();
    checkLayers(withArticle(new.target.name), layers);
    this.layers = layers;
    this.norm = norm;
  }

  /** Passes a batch of sequences through all layers. */
  override forward(x: Tensor, options: AttendOptions = {}): Tensor {
    for (const layer of this.layers) x = layer.forward(x, options);
    return this.norm === undefined ? x : this.norm.forward(x);
  }
}

/** A {@linkcode TransformerEncoder}. */
export function transformerEncoder(
  layers: readonly TransformerEncoderLayer[],
  norm?: LayerNorm,
): TransformerEncoder {
  return new TransformerEncoder(layers, norm);
}

/** Decoder layers one after the other, named `layers.0`, …, and a last norm. */
export class TransformerDecoder extends Module<
  [x: Tensor, memory: Tensor, options?: DecodeOptions]
> {
  /** The layers. */
  readonly layers: readonly TransformerDecoderLayer[];
  /** After the last layer. */
  readonly norm: LayerNorm | undefined;

  /** Stacks layers. */
  constructor(layers: readonly TransformerDecoderLayer[], norm?: LayerNorm) {
    super();
    checkLayers(withArticle(new.target.name), layers);
    this.layers = layers;
    this.norm = norm;
  }

  /** Passes a batch of sequences through all layers, each with the memory. */
  override forward(
    x: Tensor,
    memory: Tensor,
    options: DecodeOptions = {},
  ): Tensor {
    for (const layer of this.layers) x = layer.forward(x, memory, options);
    return this.norm === undefined ? x : this.norm.forward(x);
  }
}

/** A {@linkcode TransformerDecoder}. */
export function transformerDecoder(
  layers: readonly TransformerDecoderLayer[],
  norm?: LayerNorm,
): TransformerDecoder {
  return new TransformerDecoder(layers, norm);
}
