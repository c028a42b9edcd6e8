/**
 * What language models have in common: they read tokens and say what follows.
 *
 * @module
 */

import { checkOptions } from "../core/options.ts";
import { Philox } from "../core/random.ts";

/** Reads a text token by token. */
export interface Reader {
  /** Scores of each token to come next, after what was read before and these tokens. */
  read(tokens: readonly number[]): Float32Array;
}

/** A model that tokens can be sampled from. */
export interface LanguageModel {
  /** Starts to read a new text. */
  reader(): Reader;
}

/** How tokens are drawn. */
export interface SampleOptions {
  /** How many tokens to add. */
  readonly length: number;
  /** Below 1 the likely tokens become likelier; at 0 the likeliest is taken. 1 by default. */
  readonly temperature?: number;
  /** Draws from the so many likeliest tokens only; from all by default. */
  readonly topK?: number;
  /** Chooses the random numbers; 0 by default. */
  readonly seed?: number;
}

/**
 * Tokens that a model makes up after a prompt, one by one.
 *
 * @throws {RangeError} when the prompt is empty or an option is out of range.
 * @example
 * ```ts
 * import { models } from "../mod.ts";
 *
 * const model = models.gpt({ vocabulary: 9, context: 8, width: 8, heads: 2 });
 * const tokens = [...models.sample(model.eval(), [1, 2], { length: 5 })];
 * if (tokens.length !== 5) throw new Error(`${tokens}`);
 * ```
 */
export function* sample(
  model: LanguageModel,
  prompt: readonly number[],
  options: SampleOptions,
): Generator<number> {
  checkOptions("sample", options, {
    length: true,
    temperature: true,
    topK: true,
    seed: true,
  });
  const { length, temperature = 1, topK = Infinity, seed = 0 } = options;
  if (prompt.length === 0) {
    throw new RangeError(
      "Cannot continue an empty prompt: give at least one token",
    );
  }
  if (!(temperature >= 0) || !(topK >= 1)) {
    throw new RangeError(
      `Cannot sample at temperature ${temperature} from the top ${topK}: the temperature must be at least 0 and the top at least 1`,
    );
  }
  const random = new Philox(seed);
  const reader = model.reader();
  let scores = reader.read(prompt);
  for (let i = 0; i < length; i++) {
    const token = draw(scores, temperature, topK, random.uniform());
    yield token;
    if (i + 1 < length) scores = reader.read([token]);
  }
}

/** A token by its probability; `uniform` in [0, 1) chooses. */
function draw(
  scores: Float32Array,
  temperature: number,
  topK: number,
  uniform: number,
): number {
  const order = Array.from(scores.keys()).sort((a, b) =>
    scores[b] - scores[a] || a - b
  );
  if (temperature === 0) return order[0];
  const kept = order.slice(0, topK);
  const weights = kept.map((token) =>
    Math.exp((scores[token] - scores[order[0]]) / temperature)
  );
  let rest = uniform * weights.reduce((sum, w) => sum + w, 0);
  for (const [i, weight] of weights.entries()) {
    rest -= weight;
    if (rest < 0) return kept[i];
  }
  return kept[0];
}
