/**
 * GPT-2's transformer in the shape of Karpathy's nanoGPT (2022), with its
 * parameter names and initialisation, so that its state dicts fit.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { ShapeError, shapeText } from "../core/errors.ts";
import { checkOptions } from "../core/options.ts";
import { Scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import * as nn from "../nn/mod.ts";
import "../ops/methods.ts";
import type { LanguageModel, Reader } from "./language.ts";

/** Extents of a {@linkcode Gpt}. */
export interface GptOptions {
  /** Number of different tokens. */
  readonly vocabulary: number;
  /** Tokens that are seen at once. */
  readonly context: number;
  /** Transformer blocks; 4 by default. */
  readonly layers?: number;
  /** Attention heads per block; 4 by default. */
  readonly heads?: number;
  /** Elements of each token's vector, a multiple of the heads; 128 by default. */
  readonly width?: number;
  /** Share that is dropped in training; 0 by default. */
  readonly dropout?: number;
  /** Whether affine maps and norms have biases; true by default, as in GPT-2. */
  readonly bias?: boolean;
  /** Form of gelu: exact as in nanoGPT by default, "tanh" as in GPT-2 itself, which GPUs compute at the end of the product. */
  readonly gelu?: "none" | "tanh";
}

type Extents = Required<GptOptions>;

/** Each token looks at those before it. */
class CausalSelfAttention extends nn.Module {
  readonly cAttn: nn.Linear;
  readonly cProj: nn.Linear;
  readonly residDropout: nn.Dropout;
  readonly #heads: number;
  readonly #dropout: number;

  constructor({ width, heads, bias, dropout }: Extents) {
    super();
    this.cAttn = nn.linear(width, 3 * width, { bias });
    this.cProj = nn.linear(width, width, { bias });
    this.residDropout = nn.dropout(dropout);
    this.#heads = heads;
    this.#dropout = dropout;
  }

  override forward(x: Tensor): Tensor {
    const [n, t, width] = x.shape;
    const heads = this.#heads;
    // [N, T, 3, heads, width/heads] to three of [N, heads, T, width/heads].
    const [q, k, v] = this.cAttn.forward(x)
      .reshape([n, t, 3, heads, width / heads]).permute([2, 0, 3, 1, 4])
      .unbind(0);
    const y = q.scaledDotProductAttention(k, v, {
      causal: true,
      dropout: this.#dropout,
      training: this.training,
    });
    const joined = y.permute([0, 2, 1, 3]).reshape([n, t, width]);
    return this.residDropout.forward(this.cProj.forward(joined));
  }
}

/** Each token by itself. */
class FeedForward extends nn.Module {
  readonly cFc: nn.Linear;
  readonly cProj: nn.Linear;
  readonly dropout: nn.Dropout;

  readonly #activation: "gelu" | "geluTanh";

  constructor({ width, bias, dropout, gelu }: Extents) {
    super();
    this.#activation = gelu === "tanh" ? "geluTanh" : "gelu";
    this.cFc = nn.linear(width, 4 * width, { bias });
    this.cProj = nn.linear(4 * width, width, { bias });
    this.dropout = nn.dropout(dropout);
  }

  override forward(x: Tensor): Tensor {
    const { cFc, cProj } = this;
    return this.dropout.forward(cFc.activatedInto(x, this.#activation, cProj));
  }
}

class Block extends nn.Module {
  // With their names in GPT-2's state dict.
  readonly ln_1: nn.LayerNorm;
  readonly attn: CausalSelfAttention;
  readonly ln_2: nn.LayerNorm;
  readonly mlp: FeedForward;

  constructor(extents: Extents) {
    super();
    const { width, bias } = extents;
    this.ln_1 = nn.layerNorm([width], { bias });
    this.attn = new CausalSelfAttention(extents);
    this.ln_2 = nn.layerNorm([width], { bias });
    this.mlp = new FeedForward(extents);
  }

  override forward(x: Tensor): Tensor {
    x = x.add(this.attn.forward(this.ln_1.forward(x)));
    return x.add(this.mlp.forward(this.ln_2.forward(x)));
  }
}

class Transformer extends nn.Module {
  readonly wte: nn.Embedding;
  readonly wpe: nn.Embedding;
  readonly drop: nn.Dropout;
  readonly h: readonly Block[];
  readonly lnF: nn.LayerNorm;

  constructor(extents: Extents) {
    super();
    const { vocabulary, context, width, layers, bias, dropout } = extents;
    this.wte = nn.embedding(vocabulary, width);
    this.wpe = nn.embedding(context, width);
    this.drop = nn.dropout(dropout);
    this.h = Array.from({ length: layers }, () => new Block(extents));
    this.lnF = nn.layerNorm([width], { bias });
  }

  override forward(tokens: Tensor): Tensor {
    const places = this.wpe.weight.narrow(0, 0, tokens.shape[1]);
    let x = this.drop.forward(this.wte.forward(tokens).add(places));
    for (const block of this.h) x = block.forward(x);
    return this.lnF.forward(x);
  }
}

/** Scores by the same vectors that the tokens enter with. */
class TiedHead extends nn.Module {
  constructor(readonly weight: Tensor) {
    super();
  }

  override forward(x: Tensor): Tensor {
    return x.linear(this.weight);
  }
}

/** Tokens [N, T] → scores of the tokens that follow, [N, T, vocabulary]. */
export class Gpt extends nn.Module implements LanguageModel {
  /** Embeddings and blocks. */
  readonly transformer: nn.Module;
  /** The scores; shares its weight with the embedding. */
  readonly lmHead: nn.Module;
  /** Tokens that are seen at once. */
  readonly context: number;

  /**
   * Makes the layers.
   *
   * @throws {RangeError} when the heads do not divide the width.
   */
  constructor(options: GptOptions) {
    super();
    checkOptions("make a Gpt", options, {
      vocabulary: true,
      context: true,
      layers: true,
      heads: true,
      width: true,
      dropout: true,
      bias: true,
      gelu: true,
    });
    const extents: Extents = {
      layers: 4,
      heads: 4,
      width: 128,
      dropout: 0,
      bias: true,
      gelu: "none",
      ...options,
    };
    const { width, heads, layers } = extents;
    if (width % heads !== 0) {
      throw new RangeError(
        `Cannot make a Gpt of width ${width} with ${heads} heads: the heads must divide the width`,
      );
    }
    const transformer = new Transformer(extents);
    this.transformer = transformer;
    this.lmHead = new TiedHead(transformer.wte.weight);
    this.context = extents.context;
    for (const [name, tensor] of this.namedParameters()) {
      if (/ln_\w+\.weight$/.test(name)) nn.init.ones(tensor);
      else if (name.endsWith("bias")) nn.init.zeros(tensor);
      else {
        // The sum of all residual branches keeps its variance.
        const branch = name.endsWith("c_proj.weight");
        const std = branch ? 0.02 / Math.sqrt(2 * layers) : 0.02;
        nn.init.normal(tensor, 0, std);
      }
    }
  }

  /**
   * Tokens [N, T] to scores [N, T, vocabulary].
   *
   * @throws {ShapeError} when there are more tokens than the context holds.
   */
  override forward(tokens: Tensor): Tensor {
    const { shape } = tokens;
    if (shape.length !== 2 || shape[1] > this.context) {
      throw new ShapeError(
        `Cannot read tokens of shape ${
          shapeText(shape)
        }: this Gpt takes [batch, time] with at most ${this.context} at a time`,
      );
    }
    return this.lmHead.forward(this.transformer.forward(tokens));
  }

  /** Starts to read a text; the last tokens that fit are looked at each time. */
  reader(): Reader {
    let seen: number[] = [];
    return {
      read: (tokens) => {
        seen = [...seen, ...tokens].slice(-this.context);
        using _reading = new Scope();
        return noGrad(() => {
          const index = fromHost(Int32Array.from(seen), "i32", [
            1,
            seen.length,
          ]);
          const hidden = this.transformer.forward(index);
          const last = hidden.narrow(1, seen.length - 1, 1);
          return this.lmHead.forward(last).data() as Float32Array;
        });
      },
    };
  }
}

/** A {@linkcode Gpt}. @throws {RangeError} for extents that do not fit. */
export function gpt(options: GptOptions): Gpt {
  return new Gpt(options);
}
