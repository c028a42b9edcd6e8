/**
 * Recipes: what to train on which data, with every choice as a setting. The
 * command line makes its flags, help pages and messages of them.
 *
 * @module
 */

import type { AnyModule } from "../../nn/mod.ts";
import type { Callback, Loss, Numbers, Split } from "../fit_options.ts";
import type { Metric } from "../metrics.ts";
import type { Model } from "../model.ts";
import type { Settings, SettingValue, Values } from "../settings.ts";

/** What a recipe has learnt of its data and a model is made for, as plain data. */
export type Facts = Readonly<Record<string, unknown>>;

/** Data that was opened. */
export interface Source<F = Facts> extends Disposable {
  /** To learn from, and to test on. */
  readonly split: Split;
  /** What the model must know of it. */
  readonly facts: F;
  /** One line about it, such as `60,000 digits to learn from`. */
  readonly words: string;
}

/** A model that a recipe can train. */
export interface RecipeModel<S extends Settings = Settings, F = Facts> {
  /** Name in headings. */
  readonly title: string;
  /** What it is. */
  readonly help: string;
  /** Settings of this model. */
  readonly settings: S;
  /** Values of other settings that suit it. */
  readonly defaults: Readonly<Record<string, SettingValue>>;
  /** Makes it. */
  readonly build: (values: Values<S>, facts: F) => AnyModule & Model;
}

/** How a recipe measures. */
export interface Measure {
  /** Mean loss of a batch; cross entropy when omitted. */
  readonly loss?: Loss;
  /** What to measure besides. */
  readonly metrics: readonly Metric[];
  /** What is counted, in the plural. */
  readonly unit: string;
  /** Counted things per example; 1 when omitted. */
  readonly perExample?: number;
  /** Words for the numbers of a test. */
  readonly words: (numbers: Numbers) => string;
}

/** A trained model with what it was trained as. */
export interface Trained<V = Values, F = Facts> {
  /** The model, in evaluation mode. */
  readonly model: AnyModule & Model;
  /** The settings of its training. */
  readonly values: V;
  /** What it knows of the data. */
  readonly facts: F;
}

/** Where a recipe shows something. */
export interface Screen {
  /** Writes a line. */
  readonly print: (text: string) => void;
  /** Characters per line. */
  readonly columns: number;
  /** Whether colours are wanted. */
  readonly color: boolean;
}

/** A way to train. */
export interface Recipe<
  S extends Settings = Settings,
  F = Facts,
  P extends Settings = Settings,
> {
  /** Name on the command line. */
  readonly name: string;
  /** The data in headings; its file or folder when omitted. */
  readonly title?: string;
  /** What it does, in one sentence. */
  readonly summary: string;
  /** The setting that may stand without a flag on the command line. */
  readonly argument?: string;
  /** Models by name, the default one first. */
  readonly models: Readonly<Record<string, RecipeModel<Settings, F>>>;
  /** Settings of its own. */
  readonly settings: S;
  /** Opens the data; with `known` facts, of the data that a model was made for. */
  readonly open: (values: Values<S>, known?: F) => Promise<Source<F>>;
  /** How it measures. */
  readonly measure: (values: Values<S>) => Measure;
  /** Callbacks of its own, such as one that samples text. */
  readonly watch?: (
    trained: Trained<Values<S>, F>,
    screen: Screen,
  ) => Callback[];
  /** Shows what the trained model does on the test data. */
  readonly show?: (
    trained: Trained<Values<S>, F>,
    source: Source<F>,
    screen: Screen,
  ) => Promise<void>;
  /** What `predict` takes, in capitals. */
  readonly input: string;
  /** Settings of `predict`. */
  readonly predictSettings: P;
  /** Answers one input in words, or piece by piece. */
  readonly predict: (
    trained: Trained<Values<S>, F>,
    input: string,
    options: Values<P>,
    screen: Screen,
  ) => Promise<void>;
}

/** A recipe whose own types are forgotten, so that recipes fit in one list. */
export function recipe<S extends Settings, F, P extends Settings>(
  definition: Recipe<S, F, P>,
): Recipe {
  return definition as unknown as Recipe;
}
