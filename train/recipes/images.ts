/**
 * Pictures: a classifier for any folder that has one sub-folder per class.
 *
 * @module
 */

import { noGrad } from "../../core/autograd.ts";
import { Scope } from "../../core/scope.ts";
import { subset } from "../../data/dataset.ts";
import { ImageFolder, indexImageFolder } from "../../data/images.ts";
import { loadImages } from "../../data/image_batch.ts";
import { permutation } from "../../data/rng.ts";
import {
  centerCrop,
  compose,
  normalize,
  randomCrop,
  randomHorizontalFlip,
  resize,
  toFloat,
  type Transform,
} from "../../data/transforms.ts";
import { lenet } from "../../models/lenet.ts";
import { resnet18 } from "../../models/resnet.ts";
import { softmax } from "../../ops/functions.ts";
import { countOrZero, type Range } from "../../optim/hyper.ts";
import { toTensor } from "../arrays.ts";
import { accuracy } from "../metrics.ts";
import {
  numberSetting,
  SettingError,
  type Settings,
  switchSetting,
  textSetting,
} from "../settings.ts";
import { numbersText } from "../show.ts";
import { readFailure } from "./reading.ts";
import { type Recipe, recipe, type RecipeModel } from "./recipe.ts";

/** Names of the classes, and what pictures are made into. */
interface ImageFacts {
  readonly classes: readonly string[];
  readonly size: number;
  readonly channels: 1 | 3;
}

const lenetModel: RecipeModel<Settings, ImageFacts> = {
  title: "LeNet",
  help: "two convolutions and two affine maps",
  settings: {},
  defaults: { epochs: 10, lr: 0.001, policy: "cosineAnnealing", batchSize: 32 },
  build: (_, { classes, size, channels }) =>
    lenet({ channels, size, classes: classes.length }),
};

const resnetModel: RecipeModel<Settings, ImageFacts> = {
  title: "ResNet-18",
  help: "18 layers with shortcuts",
  settings: {},
  defaults: {
    epochs: 10,
    lr: 0.05,
    optimizer: "sgd",
    momentum: 0.9,
    weightDecay: 5e-4,
    policy: "oneCycle",
    batchSize: 32,
  },
  build: (_, { classes, size, channels }) =>
    resnet18({
      channels,
      classes: classes.length,
      stem: size <= 64 ? "small" : "large",
    }),
};

const between0And1: Range = {
  text: "a number above 0 and below 1",
  holds: (x) => x > 0 && x < 1,
};

const settings = {
  data: textSetting("FOLDER", "a folder with one sub-folder per class"),
  size: numberSetting(32, "pictures are made this high and wide", {
    unit: "pixels",
  }),
  grey: switchSetting("one channel without colours"),
  testPart: numberSetting(0.2, "share of the pictures to test on", {
    range: between0And1,
  }),
  flip: switchSetting(
    "half of the pictures are mirrored left and right while learning",
    true,
  ),
  shift: numberSetting(2, "pictures are moved by up to so much", {
    range: countOrZero,
    unit: "pixels",
  }),
} satisfies Settings;

/** Makes the shorter side fit, takes the middle, scales with ImageNet's colours. */
function prepare(facts: ImageFacts, ...changes: Transform[]): Transform {
  const { size, channels } = facts;
  const [mean, std] = channels === 1
    ? [[0.449], [0.226]]
    : [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
  return compose(
    resize(size),
    centerCrop(size),
    ...changes,
    toFloat(),
    normalize(mean, std),
  );
}

/** The `images` recipe. */
export const imagesRecipe: Recipe = recipe({
  name: "images",
  summary: "tell pictures apart: a folder with one sub-folder per class",
  argument: "data",
  models: { lenet: lenetModel, resnet18: resnetModel },
  settings,
  async open(v, known?: ImageFacts) {
    if (v.data === "") {
      throw new SettingError(
        "Name the folder of pictures: train images FOLDER, with one sub-folder per class",
      );
    }
    const index = await indexImageFolder(v.data).catch((error) => {
      throw readFailure("the pictures", v.data, error);
    });
    const { classes, files } = index;
    if (known !== undefined && known.classes.join("/") !== classes.join("/")) {
      throw new RangeError(
        `${v.data} has the classes ${
          classes.join(", ")
        }, and the model was made for ${known.classes.join(", ")}`,
      );
    }
    if (classes.length < 2) {
      throw new RangeError(
        `${v.data} has one class, ${
          classes[0]
        }, and telling apart takes at least two sub-folders`,
      );
    }
    const tested = Math.round(files.length * v.testPart);
    if (tested === 0 || tested === files.length) {
      throw new RangeError(
        `Cannot set aside ${v.testPart} of ${files.length} pictures to test on: add pictures, or choose another --test-part`,
      );
    }
    const channels = v.grey ? 1 : 3;
    const facts: ImageFacts = { classes, size: v.size, channels };
    const changes = [
      ...(v.shift > 0
        ? [randomCrop(v.size, { padding: v.shift, mode: "reflect" })]
        : []),
      ...(v.flip ? [randomHorizontalFlip()] : []),
    ];
    const learn = new ImageFolder(index, {
      channels,
      transform: prepare(facts, ...changes),
    });
    const test = new ImageFolder(index, {
      channels,
      transform: prepare(facts),
    });
    // The split belongs to the data and not to the training: always the same.
    const order = permutation(files.length, 0);
    return {
      split: {
        train: subset(learn, order.slice(tested)),
        test: subset(test, order.slice(0, tested)),
      },
      facts,
      words: `${files.length - tested} pictures to learn from, ${tested} to ` +
        `test on, ${classes.length} classes: ${classes.join(", ")}`,
      [Symbol.dispose]() {
        learn[Symbol.dispose]();
        test[Symbol.dispose]();
      },
    };
  },
  measure: () => ({
    metrics: [accuracy()],
    unit: "images",
    words: numbersText,
  }),
  input: "PICTURE",
  predictSettings: {},
  async predict({ model, facts }, path, _, { print }) {
    const { channels, classes } = facts;
    const request = {
      files: [path],
      indices: new Uint32Array(1),
      channels,
      seed: 0,
      epoch: 0,
    };
    const picture = await loadImages(request, prepare(facts))
      .catch((error) => {
        throw readFailure("the picture", path, error);
      });
    const scores = noGrad(() => {
      using _answering = new Scope();
      return softmax(model.forward(toTensor(picture)), 1).data();
    }) as Float32Array;
    const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]);
    const best = order.slice(0, 3).map((c) =>
      `${classes[c]} (${(100 * scores[c]).toFixed(1)} %)`
    );
    print(`${path}: ${best.join(", ")}`);
  },
});
