/**
 * A recurrent network that predicts the next character of a text, after
 * Karpathy's char-rnn (2015): embedding, LSTM, affine map.
 *
 * @module
 */

import { noGrad } from "../core/autograd.ts";
import { checkOptions } from "../core/options.ts";
import { Scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import * as nn from "../nn/mod.ts";
import "../ops/methods.ts";
import type { LanguageModel, Reader } from "./language.ts";

/** Extents of a {@linkcode CharRnn}. */
export interface CharRnnOptions {
  /** Number of different characters. */
  readonly vocabulary: number;
  /** Elements of each character's vector; 64 by default. */
  readonly embedding?: number;
  /** Units of each LSTM layer; 256 by default. */
  readonly hidden?: number;
  /** LSTM layers; 1 by default. */
  readonly layers?: number;
  /** Share of the outputs of each layer that is dropped in training; 0 by default. */
  readonly dropout?: number;
}

/** Characters [N, T] → scores of the characters that follow, [N, T, vocabulary]. */
export class CharRnn extends nn.Module implements LanguageModel {
  /** A vector per character. */
  readonly embedding: nn.Embedding;
  /** Reads the vectors. */
  readonly lstm: nn.LSTM;
  /** Drops outputs of the last layer in training. */
  readonly dropout: nn.Dropout;
  /** The scores. */
  readonly head: nn.Linear;
  readonly #layers: number;

  /** Makes the layers, with PyTorch's default initialisation. */
  constructor(options: CharRnnOptions) {
    super();
    checkOptions("make a CharRnn", options, {
      vocabulary: true,
      embedding: true,
      hidden: true,
      layers: true,
      dropout: true,
    });
    const { vocabulary, embedding = 64, hidden = 256 } = options;
    const { layers = 1, dropout = 0 } = options;
    this.#layers = layers;
    this.embedding = nn.embedding(vocabulary, embedding);
    this.lstm = nn.lstm(embedding, hidden, {
      layers,
      batchFirst: true,
      dropout: layers > 1 ? dropout : 0,
    });
    this.dropout = nn.dropout(dropout);
    this.head = nn.linear(hidden, vocabulary);
  }

  /** Characters [N, T] to scores [N, T, vocabulary]. */
  override forward(tokens: Tensor): Tensor {
    const [outputs] = this.lstm.forward(this.embedding.forward(tokens));
    return this.head.forward(this.dropout.forward(outputs));
  }

  /** Starts to read a text; what was read is kept in the LSTM's state. */
  reader(): Reader {
    let states: readonly [Float32Array, Float32Array] | undefined;
    return {
      read: (tokens) => {
        using _reading = new Scope();
        return noGrad(() => {
          const index = fromHost(Int32Array.from(tokens), "i32", [
            1,
            tokens.length,
          ]);
          const vectors = this.embedding.forward(index);
          const shape = [this.#layers, 1, this.lstm.hiddenSize];
          const before = states?.map((s) => fromHost(s, "f32", shape));
          const [outputs, h, c] = this.lstm.forward(
            vectors,
            before as [Tensor, Tensor] | undefined,
          );
          states = [h.data() as Float32Array, c.data() as Float32Array];
          const last = outputs.narrow(1, tokens.length - 1, 1);
          return this.head.forward(last).data() as Float32Array;
        });
      },
    };
  }
}

/** A {@linkcode CharRnn}. @throws {RangeError} when an extent is no positive whole number. */
export function charRnn(options: CharRnnOptions): CharRnn {
  return new CharRnn(options);
}
