/**
 * Text: a model that predicts the next character of any UTF-8 file, and
 * writes such text itself.
 *
 * @module
 */

import { readFailure } from "./reading.ts";
import {
  CharVocabulary,
  readTextCorpus,
  textBlocks,
  type TextCorpus,
  textWindows,
} from "../../data/text.ts";
import { charRnn } from "../../models/char_rnn.ts";
import { gpt } from "../../models/gpt.ts";
import { type LanguageModel, sample } from "../../models/language.ts";
import { crossEntropy, reshape } from "../../ops/functions.ts";
import { countOrZero, fraction, nonNegative } from "../../optim/hyper.ts";
import { perplexity } from "../metrics.ts";
import {
  numberSetting,
  SettingError,
  type Settings,
  textSetting,
} from "../settings.ts";
import {
  type Recipe,
  recipe,
  type RecipeModel,
  type Trained,
} from "./recipe.ts";

/** The characters that the model knows, and how many it was trained to see. */
interface TextFacts {
  readonly vocabulary: readonly string[];
  readonly context: number;
}

const dropout = numberSetting(0, "share that is dropped in training", {
  range: fraction,
});

const rnnSettings = {
  embedding: numberSetting(64, "elements of a character's vector"),
  hidden: numberSetting(256, "units of each LSTM layer", { unit: "units" }),
  layers: numberSetting(1, "LSTM layers", { unit: "layers" }),
  dropout,
};

const rnnModel: RecipeModel<typeof rnnSettings, TextFacts> = {
  title: "CharRnn",
  help: "an LSTM",
  settings: rnnSettings,
  defaults: {
    epochs: 10,
    lr: 0.003,
    policy: "cosineAnnealing",
    batchSize: 32,
    clipNorm: 5,
  },
  build: (v, { vocabulary }) =>
    charRnn({
      vocabulary: vocabulary.length,
      embedding: v.embedding,
      hidden: v.hidden,
      layers: v.layers,
      dropout: v.dropout,
    }),
};

const gptSettings = {
  layers: numberSetting(4, "transformer blocks", { unit: "layers" }),
  heads: numberSetting(4, "attention heads; they divide the width"),
  width: numberSetting(128, "elements of a character's vector"),
  dropout,
};

const gptModel: RecipeModel<typeof gptSettings, TextFacts> = {
  title: "GPT",
  help: "a transformer",
  settings: gptSettings,
  defaults: {
    epochs: 10,
    lr: 0.001,
    optimizer: "adamW",
    beta2: 0.99,
    weightDecay: 0.1,
    policy: "cosineAnnealing",
    warmup: 100,
    batchSize: 32,
    clipNorm: 1,
  },
  build: (v, { vocabulary, context }) =>
    gpt({
      vocabulary: vocabulary.length,
      context,
      layers: v.layers,
      heads: v.heads,
      width: v.width,
      dropout: v.dropout,
    }),
};

const sampling = {
  length: numberSetting(400, "characters to write", { unit: "characters" }),
  temperature: numberSetting(
    0.8,
    "below 1 the likely characters become likelier; 0: always the likeliest",
    { range: nonNegative },
  ),
  topK: numberSetting(0, "draws from the so many likeliest only; 0: from all", {
    range: countOrZero,
  }),
  seed: numberSetting(1, "chooses the random numbers", { range: countOrZero }),
};

/** An epoch of a short text has so many windows, which then overlap. */
const least = 2000;

const settings = {
  data: textSetting("FILE", "the text to learn from, UTF-8"),
  context: numberSetting(64, "characters that are seen at once", {
    unit: "characters",
  }),
  testPart: numberSetting(0.1, "share of the text, at its end, to test on", {
    range: fraction,
  }),
  epochWindows: numberSetting(
    0,
    `windows of the text per epoch; 0: as many as cover it, at least ${least}`,
    { range: countOrZero, unit: "windows" },
  ),
  sampleEvery: numberSetting(
    0,
    "steps between samples; 0: one after each epoch",
    { range: countOrZero, unit: "steps" },
  ),
  sampleLength: numberSetting(200, "characters of a sample", {
    unit: "characters",
  }),
} satisfies Settings;

/** Text that the model makes up after a prompt, the prompt included. */
function write(
  { model, facts }: Trained<unknown, TextFacts>,
  prompt: string,
  options: { length: number; temperature: number; topK: number; seed: number },
): string {
  const vocabulary = new CharVocabulary(facts.vocabulary);
  const tokens = sample(
    model as unknown as LanguageModel,
    Array.from(vocabulary.encode(prompt)),
    { ...options, topK: options.topK === 0 ? Infinity : options.topK },
  );
  return prompt + vocabulary.decode(tokens);
}

/** The character that samples begin after: a new line, or the first there is. */
function beginning({ vocabulary }: TextFacts): string {
  return vocabulary.includes("\n") ? "\n" : vocabulary[0];
}

/** A text in the numbers that a trained model has for characters. */
function renumbered(
  { vocabulary, train, validation }: TextCorpus,
  known: readonly string[],
  name: string,
): Pick<TextCorpus, "train" | "validation"> {
  const numbers = new Map(known.map((char, i) => [char, i]));
  const strange = vocabulary.chars.filter((char) => !numbers.has(char));
  if (strange.length > 0) {
    const shown = strange.slice(0, 8).map((char) => JSON.stringify(char));
    throw new RangeError(
      `${name} has other characters than the model was made for: ${
        shown.join(", ")
      }${
        strange.length > shown.length ? ", …" : ""
      }, which are not among the ${known.length} that it knows; use a text of those, or train anew`,
    );
  }
  const table = vocabulary.chars.map((char) => numbers.get(char)!);
  return {
    train: train.map((i) => table[i]),
    validation: validation.map((i) => table[i]),
  };
}

/** The `text` recipe. */
export const textRecipe: Recipe = recipe({
  name: "text",
  summary: "predict the next character of a text, and write such text",
  argument: "data",
  models: {
    char_rnn: rnnModel as unknown as RecipeModel<Settings, TextFacts>,
    gpt: gptModel as unknown as RecipeModel<Settings, TextFacts>,
  },
  settings,
  async open(v, known?: TextFacts) {
    if (v.data === "") {
      throw new SettingError(
        "Name the text to learn from: train text FILE, any UTF-8 file",
      );
    }
    const corpus = await readTextCorpus(v.data, 1 - v.testPart)
      .catch((error) => {
        throw readFailure("the text", v.data, error);
      });
    const chars = known?.vocabulary ?? corpus.vocabulary.chars;
    const { train, validation } = known === undefined
      ? corpus
      : renumbered(corpus, known.vocabulary, v.data);
    const name = `The part of ${v.data} to learn from`;
    const cut = { blockLength: v.context, name };
    const split = {
      train: textWindows(train, {
        ...cut,
        length: v.epochWindows ||
          Math.max(least, Math.floor(train.length / v.context)),
      }),
      // A text that is too short for a test of its own is only learnt from.
      ...(validation.length > v.context && {
        test: textBlocks(validation, cut),
      }),
    };
    const count = (n: number) => n.toLocaleString("en-US");
    return {
      split,
      facts: { vocabulary: chars, context: v.context },
      words: `${count(train.length)} characters to learn from, ${
        split.test === undefined
          ? "none to test on"
          : `${count(validation.length)} to test on`
      }, ${chars.length} different ones`,
      [Symbol.dispose]() {},
    };
  },
  measure: (v) => ({
    loss(output, target) {
      const classes = output.shape[output.rank - 1];
      return crossEntropy(
        reshape(output, [-1, classes]),
        reshape(target, [-1]),
      );
    },
    metrics: [perplexity()],
    unit: "characters",
    perExample: v.context,
    words: ({ loss, perplexity }) =>
      `loss ${loss.toFixed(4)} per character (${
        (loss / Math.LN2).toFixed(2)
      } bits, perplexity ${perplexity.toFixed(2)})`,
  }),
  watch(trained, { print }) {
    const { sampleEvery, sampleLength } = trained.values;
    const show = (step: number) => {
      trained.model.eval();
      const text = write(trained, beginning(trained.facts), {
        length: sampleLength,
        temperature: 0.8,
        topK: 0,
        seed: step,
      });
      trained.model.train();
      print(`\n${indented(text.trim())}\n`);
    };
    return [{
      step({ step }) {
        if (sampleEvery > 0 && step % sampleEvery === 0) show(step);
      },
      epoch({ step }) {
        if (sampleEvery === 0) show(step);
      },
    }];
  },
  input: "TEXT",
  predictSettings: sampling,
  predict(trained, prompt, options, { print }) {
    const text = prompt === "" ? beginning(trained.facts) : prompt;
    print(write(trained, text, options));
    return Promise.resolve();
  },
});

function indented(text: string): string {
  return text.split("\n").map((line) => `  │ ${line}`).join("\n");
}
