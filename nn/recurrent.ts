/**
 * Recurrent networks and their cells, with PyTorch's names and order of
 * weights.
 *
 * @module
 */

import { ShapeError, shapeText } from "../core/errors.ts";
import type { OptionNames } from "../core/options.ts";
import type { Tensor } from "../core/tensor.ts";
import { squeeze, unsqueeze } from "../ops/shape.ts";
import {
  gru as runGru,
  lstm as runLstm,
  type RecurrentOptions as RunOptions,
  rnn as runRnn,
} from "../ops/recurrent.ts";
import {
  checkExtents,
  checkNames,
  checkProbability,
  moduleNames,
  show,
  withArticle,
} from "./extents.ts";
import { empty } from "./allocate.ts";
import { uniform } from "./init.ts";
import { Module, type ModuleOptions } from "./module.ts";
import { parameter } from "./roles.ts";

/** Options of recurrent networks. */
export interface RecurrentOptions extends ModuleOptions {
  /** Layers on top of each other; 1 when omitted. */
  layers?: number;
  /** Whether a second network reads the sequence backwards. */
  bidirectional?: boolean;
  /** Whether there are biases; true when omitted. */
  bias?: boolean;
  /** Whether input and output are [batch, time, …] instead of [time, batch, …]. */
  batchFirst?: boolean;
  /** Share of the outputs of each layer but the last that is dropped in training. */
  dropout?: number;
}

const recurrentNames: OptionNames<RecurrentOptions> = {
  ...moduleNames,
  layers: true,
  bidirectional: true,
  bias: true,
  batchFirst: true,
  dropout: true,
};

/** Options of one call. */
export interface SequenceOptions {
  /** Steps of each sequence of the batch; outputs after the end are 0. */
  lengths?: readonly number[];
}

/** Weights of one layer and direction, or of a cell, under PyTorch's names with a suffix. */
function makeWeights(
  gates: number,
  input: number,
  hidden: number,
  bias: boolean,
  suffix: string,
  options: ModuleOptions,
): Record<string, Tensor> {
  const rows = gates * hidden;
  const shapes: Record<string, number[]> = {
    weight_ih: [rows, input],
    weight_hh: [rows, hidden],
    ...(bias && { bias_ih: [rows], bias_hh: [rows] }),
  };
  const bound = 1 / Math.sqrt(hidden);
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const tensor = parameter(empty(shape, options));
      uniform(tensor, -bound, bound);
      return [`${name}${suffix}`, tensor];
    }),
  );
}

/**
 * Base of the recurrent networks. Parameters of layer k: `weight_ih_lk`
 * [G·H, in], `weight_hh_lk` [G·H, H], `bias_ih_lk`, `bias_hh_lk` [G·H], and
 * the same with `_reverse` for the backward direction.
 *
 * @typeParam States What is carried from step to step.
 */
export abstract class Recurrent<States, Output> extends Module<
  [x: Tensor, states?: States, options?: SequenceOptions],
  Output
> {
  /** All weights by name, in the order of the operators. */
  readonly weights: Readonly<Record<string, Tensor>>;
  /** Extent of each output in one direction. */
  readonly hiddenSize: number;
  readonly #inputSize: number;
  readonly #options: RecurrentOptions;

  /** Makes all weights; `gates` per hidden unit; `names` are the options that there are. */
  constructor(
    gates: number,
    inputSize: number,
    hiddenSize: number,
    options: RecurrentOptions,
    names: OptionNames<RecurrentOptions> = recurrentNames,
  ) {
    super();
    const who = withArticle(new.target.name);
    checkNames(who, options, names);
    const { layers = 1, bidirectional = false, bias = true, dropout = 0 } =
      options;
    checkExtents(who, { inputSize, hiddenSize, layers });
    checkProbability(who, dropout);
    const weights: Record<string, Tensor> = {};
    for (let layer = 0; layer < layers; layer++) {
      const input = layer === 0
        ? inputSize
        : hiddenSize * (bidirectional ? 2 : 1);
      for (const end of bidirectional ? ["", "_reverse"] : [""]) {
        Object.assign(
          weights,
          makeWeights(
            gates,
            input,
            hiddenSize,
            bias,
            `_l${layer}${end}`,
            options,
          ),
        );
      }
    }
    this.weights = weights;
    this.hiddenSize = hiddenSize;
    this.#inputSize = inputSize;
    this.#options = options;
  }

  /** The weights under their own names. */
  protected override ownTensors(): [string, unknown][] {
    return Object.entries(this.weights);
  }

  /** Options of the operator for this call. */
  protected runOptions(options: SequenceOptions): RunOptions {
    const { layers, bidirectional, bias, batchFirst, dropout } = this.#options;
    const { training } = this;
    const { lengths } = options;
    return {
      layers,
      bidirectional,
      bias,
      batchFirst,
      dropout,
      training,
      lengths,
    };
  }

  /** Refuses inputs that are no batch of sequences. */
  protected check(x: Tensor): void {
    if (x.rank !== 3 || x.shape[2] !== this.#inputSize) {
      const order = this.#options.batchFirst ? "batch, time" : "time, batch";
      throw new ShapeError(
        `Cannot run ${this.constructor.name} on a tensor of shape ${
          shapeText(x.shape)
        }: it takes [${order}, ${this.#inputSize}]`,
      );
    }
  }

  /** Extents and options. */
  protected override details(): string {
    const { dtype: _, device: __, ...options } = this.#options;
    const { hiddenSize } = this;
    return show({ inputSize: this.#inputSize, hiddenSize, ...options });
  }
}

/** Long short-term memory: (x, [h, c]?) to [outputs, h, c]. */
export class LSTM extends Recurrent<
  readonly [Tensor, Tensor],
  [Tensor, Tensor, Tensor]
> {
  /** Makes weights that start as U(±1/√hiddenSize). @throws {RangeError} for options out of their range. */
  constructor(
    inputSize: number,
    hiddenSize: number,
    options: RecurrentOptions = {},
  ) {
    super(4, inputSize, hiddenSize, options);
  }

  /** Outputs [time, batch, directions·H], last hidden and last cell states [layers·directions, batch, H]. */
  override forward(
    x: Tensor,
    states?: readonly [Tensor, Tensor],
    options: SequenceOptions = {},
  ): [Tensor, Tensor, Tensor] {
    this.check(x);
    const weights = Object.values(this.weights);
    return runLstm(x, states, weights, this.runOptions(options));
  }
}

/** An {@linkcode LSTM}. @throws {RangeError} for options out of their range. */
export function lstm(
  inputSize: number,
  hiddenSize: number,
  options: RecurrentOptions = {},
): LSTM {
  return new LSTM(inputSize, hiddenSize, options);
}

/** Gated recurrent units: (x, h?) to [outputs, h]. */
export class GRU extends Recurrent<Tensor, [Tensor, Tensor]> {
  /** Makes weights that start as U(±1/√hiddenSize). @throws {RangeError} for options out of their range. */
  constructor(
    inputSize: number,
    hiddenSize: number,
    options: RecurrentOptions = {},
  ) {
    super(3, inputSize, hiddenSize, options);
  }

  /** Outputs [time, batch, directions·H] and last hidden states [layers·directions, batch, H]. */
  override forward(
    x: Tensor,
    h?: Tensor,
    options: SequenceOptions = {},
  ): [Tensor, Tensor] {
    this.check(x);
    const weights = Object.values(this.weights);
    return runGru(x, h, weights, this.runOptions(options));
  }
}

/** A {@linkcode GRU}. @throws {RangeError} for options out of their range. */
export function gru(
  inputSize: number,
  hiddenSize: number,
  options: RecurrentOptions = {},
): GRU {
  return new GRU(inputSize, hiddenSize, options);
}

/** Function of a plain recurrent network. */
export interface NonlinearityOptions {
  /** "tanh" when omitted. */
  nonlinearity?: "tanh" | "relu";
}

const rnnNames = { ...recurrentNames, nonlinearity: true } as const;

/** Plain recurrent network: (x, h?) to [outputs, h]. */
export class RNN extends Recurrent<Tensor, [Tensor, Tensor]> {
  readonly #nonlinearity: "tanh" | "relu";

  /** Makes weights that start as U(±1/√hiddenSize). @throws {RangeError} for options out of their range. */
  constructor(
    inputSize: number,
    hiddenSize: number,
    options: RecurrentOptions & NonlinearityOptions = {},
  ) {
    super(1, inputSize, hiddenSize, options, rnnNames);
    this.#nonlinearity = options.nonlinearity ?? "tanh";
  }

  /** Outputs [time, batch, directions·H] and last hidden states [layers·directions, batch, H]. */
  override forward(
    x: Tensor,
    h?: Tensor,
    options: SequenceOptions = {},
  ): [Tensor, Tensor] {
    this.check(x);
    return runRnn(x, h, Object.values(this.weights), {
      ...this.runOptions(options),
      nonlinearity: this.#nonlinearity,
    });
  }
}

/** An {@linkcode RNN}. @throws {RangeError} for options out of their range. */
export function rnn(
  inputSize: number,
  hiddenSize: number,
  options: RecurrentOptions & NonlinearityOptions = {},
): RNN {
  return new RNN(inputSize, hiddenSize, options);
}

/** Options of cells. */
export interface CellOptions extends ModuleOptions {
  /** Whether there are biases; true when omitted. */
  bias?: boolean;
}

const cellNames = { ...moduleNames, bias: true } as const;
const rnnCellNames = { ...cellNames, nonlinearity: true } as const;

/** Base of the cells: `weight_ih` [G·H, in], `weight_hh` [G·H, H], `bias_ih`, `bias_hh` [G·H]. */
export abstract class Cell<States, Output> extends Module<
  [x: Tensor, states?: States],
  Output
> {
  /** All weights by name, in the order of the operators. */
  readonly weights: Readonly<Record<string, Tensor>>;
  /** Whether there are biases. */
  protected readonly bias: boolean;

  /** Makes all weights; `gates` per hidden unit; `names` are the options that there are. */
  constructor(
    gates: number,
    inputSize: number,
    hiddenSize: number,
    options: CellOptions,
    names: OptionNames<CellOptions> = cellNames,
  ) {
    super();
    const who = withArticle(new.target.name);
    checkNames(who, options, names);
    const { bias = true } = options;
    checkExtents(who, { inputSize, hiddenSize });
    this.bias = bias;
    this.weights = makeWeights(
      gates,
      inputSize,
      hiddenSize,
      bias,
      "",
      options,
    );
  }

  /** The weights under their own names. */
  protected override ownTensors(): [string, unknown][] {
    return Object.entries(this.weights);
  }

  /** The input as a sequence of one step. */
  protected sequence(x: Tensor): Tensor {
    const [, inputSize] = this.weights.weight_ih.shape;
    if (x.rank !== 2 || x.shape[1] !== inputSize) {
      throw new ShapeError(
        `Cannot run ${this.constructor.name} on a tensor of shape ${
          shapeText(x.shape)
        }: it takes [batch, ${inputSize}]`,
      );
    }
    return unsqueeze(x, 0);
  }
}

/** One step of an LSTM: (x, [h, c]?) to [h, c]. */
export class LSTMCell extends Cell<
  readonly [Tensor, Tensor],
  [Tensor, Tensor]
> {
  /** Makes weights that start as U(±1/√hiddenSize). @throws {RangeError} for extents that are no positive whole numbers. */
  constructor(
    inputSize: number,
    hiddenSize: number,
    options: CellOptions = {},
  ) {
    super(4, inputSize, hiddenSize, options);
  }

  /** x [batch, in] and states [batch, H] to the next states. */
  override forward(
    x: Tensor,
    states?: readonly [Tensor, Tensor],
  ): [Tensor, Tensor] {
    const [, h, c] = runLstm(
      this.sequence(x),
      states && [unsqueeze(states[0], 0), unsqueeze(states[1], 0)],
      Object.values(this.weights),
      { bias: this.bias },
    );
    return [squeeze(h, 0), squeeze(c, 0)];
  }
}

/** An {@linkcode LSTMCell}. @throws {RangeError} for extents that are no positive whole numbers. */
export function lstmCell(
  inputSize: number,
  hiddenSize: number,
  options: CellOptions = {},
): LSTMCell {
  return new LSTMCell(inputSize, hiddenSize, options);
}

/** One step of a GRU: (x, h?) to h. */
export class GRUCell extends Cell<Tensor, Tensor> {
  /** Makes weights that start as U(±1/√hiddenSize). @throws {RangeError} for extents that are no positive whole numbers. */
  constructor(
    inputSize: number,
    hiddenSize: number,
    options: CellOptions = {},
  ) {
    super(3, inputSize, hiddenSize, options);
  }

  /** x [batch, in] and state [batch, H] to the next state. */
  override forward(x: Tensor, h?: Tensor): Tensor {
    const [, last] = runGru(
      this.sequence(x),
      h && unsqueeze(h, 0),
      Object.values(this.weights),
      { bias: this.bias },
    );
    return squeeze(last, 0);
  }
}

/** A {@linkcode GRUCell}. @throws {RangeError} for extents that are no positive whole numbers. */
export function gruCell(
  inputSize: number,
  hiddenSize: number,
  options: CellOptions = {},
): GRUCell {
  return new GRUCell(inputSize, hiddenSize, options);
}

/** One step of a plain recurrent network: (x, h?) to h. */
export class RNNCell extends Cell<Tensor, Tensor> {
  readonly #nonlinearity: "tanh" | "relu";

  /** Makes weights that start as U(±1/√hiddenSize). @throws {RangeError} for extents that are no positive whole numbers. */
  constructor(
    inputSize: number,
    hiddenSize: number,
    options: CellOptions & NonlinearityOptions = {},
  ) {
    super(1, inputSize, hiddenSize, options, rnnCellNames);
    this.#nonlinearity = options.nonlinearity ?? "tanh";
  }

  /** x [batch, in] and state [batch, H] to the next state. */
  override forward(x: Tensor, h?: Tensor): Tensor {
    const [, last] = runRnn(
      this.sequence(x),
      h && unsqueeze(h, 0),
      Object.values(this.weights),
      { bias: this.bias, nonlinearity: this.#nonlinearity },
    );
    return squeeze(last, 0);
  }
}

/** An {@linkcode RNNCell}. @throws {RangeError} for extents that are no positive whole numbers. */
export function rnnCell(
  inputSize: number,
  hiddenSize: number,
  options: CellOptions & NonlinearityOptions = {},
): RNNCell {
  return new RNNCell(inputSize, hiddenSize, options);
}
