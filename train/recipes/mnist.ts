/**
 * Digits: LeNet or a perceptron on MNIST, or on data sets in the same format.
 *
 * @module
 */

import { noGrad } from "../../core/autograd.ts";
import { Scope } from "../../core/scope.ts";
import { fromHost, type Tensor } from "../../core/tensor.ts";
import { subset } from "../../data/dataset.ts";
import { type Image, readImage } from "../../data/image_file.ts";
import {
  type LabelledImages,
  loadMnist,
  mnistDataset,
} from "../../data/mnist.ts";
import { centerCrop, compose, resize } from "../../data/transforms.ts";
import { lenet } from "../../models/lenet.ts";
import { mlp } from "../../models/mlp.ts";
import { softmax } from "../../ops/functions.ts";
import { countOrZero } from "../../optim/hyper.ts";
import { asciiImage, asciiImageRow } from "../ascii_image.ts";
import { accuracy } from "../metrics.ts";
import { numberSetting, type Settings, textSetting } from "../settings.ts";
import { numbersText } from "../show.ts";
import { readFailure } from "./reading.ts";
import {
  type Recipe,
  recipe,
  type RecipeModel,
  type Screen,
} from "./recipe.ts";

/** Extents of the pictures, and how many classes there are. */
interface MnistFacts {
  readonly size: number;
  readonly classes: number;
}

const lenetModel: RecipeModel<Settings, MnistFacts> = {
  title: "LeNet",
  help: "two convolutions and two affine maps",
  settings: {},
  defaults: {
    epochs: 1,
    lr: 0.002,
    policy: "oneCycle",
    batchSize: 64,
  },
  build: (_, { size, classes }) => lenet({ size, classes }),
};

const mlpSettings = {
  hidden: numberSetting(256, "units of the hidden layer", { unit: "units" }),
};

const mlpModel: RecipeModel<typeof mlpSettings, MnistFacts> = {
  title: "Perceptron",
  help: "one hidden layer",
  settings: mlpSettings,
  defaults: { epochs: 5, lr: 0.002, policy: "oneCycle", batchSize: 128 },
  build: ({ hidden }, { size, classes }) =>
    mlp({ inputs: size * size, hidden: [hidden], classes }),
};

const settings = {
  data: textSetting(
    "FOLDER",
    "a folder with MNIST's four IDX files; by default they come from npm",
  ),
  trainExamples: numberSetting(0, "learns from the first so many; 0: all", {
    range: countOrZero,
    unit: "digits",
  }),
  testExamples: numberSetting(0, "tests on the first so many; 0: all", {
    range: countOrZero,
    unit: "digits",
  }),
} satisfies Settings;

/** MNIST's mean and standard deviation. */
const scale = { mean: 0.1307, std: 0.3081 };

function firstOf({ images, labels }: LabelledImages, count: number) {
  const all = mnistDataset({ images, labels });
  return count === 0 || count >= all.length
    ? all
    : subset(all, Uint32Array.from({ length: count }, (_, i) => i));
}

/** The `mnist` recipe. */
export const mnistRecipe: Recipe = recipe({
  name: "mnist",
  title: "MNIST",
  summary: "recognise handwritten digits (MNIST, 60,000 to learn from)",
  argument: "data",
  models: {
    lenet: lenetModel,
    mlp: mlpModel as unknown as RecipeModel<Settings, MnistFacts>,
  },
  settings,
  async open(v) {
    const folder = v.data === "" ? undefined : v.data;
    const { train, test } = await loadMnist({ folder });
    const [, size] = train.images.shape;
    const classes = train.labels.data.reduce((a, b) => Math.max(a, b), 0) + 1;
    const split = {
      train: firstOf(train, v.trainExamples),
      test: firstOf(test, v.testExamples),
    };
    const count = (n: number) => n.toLocaleString("en-US");
    return {
      split,
      facts: { size, classes },
      words: `${count(split.train.length)} digits to learn from, ${
        count(split.test.length)
      } to test on`,
      [Symbol.dispose]() {},
    };
  },
  measure: () => ({
    metrics: [accuracy()],
    unit: "images",
    words: numbersText,
  }),
  async show({ model, facts }, { split }, screen) {
    const { test } = split;
    if (test === undefined) return;
    const answers: Answer[] = [];
    for (let from = 0; from < Math.min(test.length, 2000); from += 250) {
      const length = Math.min(250, test.length - from);
      const indices = Uint32Array.from({ length }, (_, i) => from + i);
      const batch = await test.batch(indices, { seed: 0, epoch: 0 });
      const pixels = batch.inputs.data as Float32Array;
      const labels = batch.targets.data as Int32Array;
      for (const [i, answer] of ask(model, pixels, facts).entries()) {
        answers.push({ ...answer, label: labels[i] });
      }
    }
    drawAnswers(answers, facts, screen);
  },
  input: "PICTURE",
  predictSettings: {},
  async predict({ model, facts }, path, _, screen) {
    const { size } = facts;
    const image = await readImage(path, { channels: 1 }).catch((error) => {
      throw readFailure("the picture", path, error);
    });
    const fitted = compose(resize(size), centerCrop(size))(image, {
      uniform: () => 0,
    });
    const pixels = digitPixels(fitted);
    const [{ scores }] = ask(model, pixels, facts);
    const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]);
    const { color } = screen;
    screen.print(asciiImage(greyOf(pixels, size), { white: 1, color }));
    screen.print(
      `${path}: ${
        order.slice(0, 3).map((c) => `${c} (${percent(scores[c])})`).join(", ")
      }`,
    );
  },
});

interface Answer {
  readonly pixels: Float32Array;
  readonly scores: Float32Array;
  readonly says: number;
  readonly label?: number;
}

/** Asks the model about pictures that are scaled as it is used to. */
function ask(
  model: { forward(x: Tensor): Tensor },
  pixels: Float32Array,
  { size, classes }: MnistFacts,
): Answer[] {
  const area = size * size;
  const count = pixels.length / area;
  const scores = noGrad(() => {
    using _answering = new Scope();
    const x = fromHost(pixels, "f32", [count, 1, size, size]);
    return softmax(model.forward(x), 1).data() as Float32Array;
  });
  return Array.from({ length: count }, (_, i) => {
    const own = scores.slice(i * classes, (i + 1) * classes);
    const says = own.reduce((best, s, c) => s > own[best] ? c : best, 0);
    return {
      pixels: pixels.subarray(i * area, (i + 1) * area),
      scores: own,
      says,
    };
  });
}

/** Draws some digits: the first ones, and then ones that were not recognised. */
function drawAnswers(
  answers: readonly Answer[],
  { size }: MnistFacts,
  { print, columns, color }: Screen,
): void {
  const crop = size === 28 ? 2 : 0;
  const perRow = Math.min(
    Math.floor((columns + 1) / (size - 2 * crop + 1)),
    6,
  );
  const right = answers.filter((a) => a.says === a.label).slice(0, perRow);
  const wrong = answers.filter((a) => a.says !== a.label).slice(0, perRow);
  const caption = ({ says, label, scores }: Answer) =>
    `${says} (${percent(scores[says])})${
      says === label ? "" : `, is ${label}`
    }`;
  const groups = [
    { heading: "The first test digits that it recognises:", group: right },
    { heading: "The first ones that it takes for others:", group: wrong },
  ];
  for (const { heading, group } of groups) {
    if (group.length === 0) continue;
    print(heading);
    const pictures = group.map((a) => ({
      ...greyOf(a.pixels, size, crop),
      caption: caption(a),
    }));
    print(`${asciiImageRow(pictures, { columns, color, white: 1 })}\n`);
  }
}

/** Scaled pixels as greys from 0 to 1, without a margin. */
function greyOf(pixels: Float32Array, size: number, crop = 0) {
  const inner = size - 2 * crop;
  const grey = Float32Array.from({ length: inner * inner }, (_, i) => {
    const y = crop + Math.floor(i / inner), x = crop + i % inner;
    return pixels[y * size + x] * scale.std + scale.mean;
  });
  return { pixels: grey, width: inner, height: inner };
}

/** A picture scaled as the model is used to; dark digits on light paper are inverted. */
function digitPixels({ data }: Image): Float32Array {
  const grey = Float32Array.from(data, (v) => v / 255);
  const mean = grey.reduce((sum, v) => sum + v, 0) / grey.length;
  return grey.map((v) => ((mean > 0.5 ? 1 - v : v) - scale.mean) / scale.std);
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`;
}
