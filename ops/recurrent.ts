/**
 * Recurrent networks of several layers and directions, with PyTorch's
 * equations and order of weights.
 *
 * @module
 */

import { listOperand } from "../core/binding.ts";
import { ShapeError } from "../core/errors.ts";
import { operator, type Sample } from "../core/op.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { dropout } from "./random.ts";
import { fill } from "./foundation.ts";
import { concat, stack } from "./joining.ts";
import type { CellKind } from "./recurrent_cells.ts";
import { recurrentLayer } from "./recurrent_layer.ts";
import { t } from "./samples.ts";
import { transpose } from "./shape.ts";
import { select } from "./slicing.ts";

/** Options of recurrent networks. */
export interface RecurrentOptions {
  /** Layers on top of each other; 1 by default. */
  layers?: number;
  /** Whether a second network reads the sequence backwards. */
  bidirectional?: boolean;
  /** Whether there are biases among the weights; true by default. */
  bias?: boolean;
  /** Whether the input is [B, T, I] instead of [T, B, I]. */
  batchFirst?: boolean;
  /** Share of the outputs of each layer but the last that is dropped in training. */
  dropout?: number;
  /** Whether dropout is active. */
  training?: boolean;
  /** Steps of each sequence of the batch; outputs after the end are 0. */
  lengths?: readonly number[];
}

type Attrs = Required<Omit<RecurrentOptions, "lengths">> & {
  lengths: readonly number[] | undefined;
};

const defaults: Attrs = {
  layers: 1,
  bidirectional: false,
  bias: true,
  batchFirst: false,
  dropout: 0,
  training: false,
  lengths: undefined,
};

function run(
  kind: CellKind,
  x: Tensor,
  h0: Tensor | undefined,
  c0: Tensor | undefined,
  weights: readonly Tensor[],
  o: Attrs,
): Tensor[] {
  const directions = o.bidirectional ? 2 : 1;
  const each = o.bias ? 4 : 2;
  if (weights.length !== o.layers * directions * each) {
    throw new ShapeError(
      `Cannot run ${o.layers} recurrent layers in ${directions} directions with ${weights.length} weights: ${
        o.layers * directions * each
      } are needed (w_ih, w_hh${
        o.bias ? ", b_ih, b_hh" : ""
      } for each layer and direction)`,
    );
  }
  let input = o.batchFirst ? transpose(x, 0, 1) : x;
  const [steps, batch] = input.shape;
  const lengths = o.lengths === undefined
    ? undefined
    : lengthTensor(o.lengths, batch, steps, x.device.name);
  const hidden = weights[1].shape[1];
  const hs: Tensor[] = [], cs: Tensor[] = [];
  const initial = (states: Tensor | undefined, i: number) =>
    states === undefined
      ? fill([batch, hidden], 0, x.dtype, x.device)
      : select(states, 0, i);
  for (let layer = 0; layer < o.layers; layer++) {
    const outputs: Tensor[] = [];
    for (let direction = 0; direction < directions; direction++) {
      const i = layer * directions + direction;
      const [wIh, wHh, bIh, bHh] = weights.slice(i * each, (i + 1) * each);
      const cell = kind === "lstm" ? initial(c0, i) : undefined;
      const results = recurrentLayer(
        [input, initial(h0, i), cell, wIh, wHh, bIh, bHh, lengths],
        { kind, reverse: direction === 1 },
      );
      outputs.push(results[0]);
      hs.push(results[1]);
      if (kind === "lstm") cs.push(results[2]);
    }
    input = outputs.length === 1 ? outputs[0] : concat(outputs, 2);
    if (o.dropout > 0 && layer < o.layers - 1) {
      input = dropout(input, o.dropout, { training: o.training });
    }
  }
  const y = o.batchFirst ? transpose(input, 0, 1) : input;
  return [y, stack(hs, 0), ...(kind === "lstm" ? [stack(cs, 0)] : [])];
}

function lengthTensor(
  lengths: readonly number[],
  batch: number,
  steps: number,
  device: string,
): Tensor {
  if (
    lengths.length !== batch ||
    lengths.some((n) => !Number.isInteger(n) || n < 1 || n > steps)
  ) {
    throw new RangeError(
      `Cannot run sequences of lengths [${
        lengths.join(", ")
      }] in a batch of ${batch} with ${steps} steps: give one integer from 1 to ${steps} for each`,
    );
  }
  return fromHost(Int32Array.from(lengths), "i32", [batch, 1], { device });
}

const scale = { low: -0.9, high: 0.8 };

function samples(gates: number, states: number): Sample[] {
  const weights = (input: number, bias: boolean) => [
    t([3 * gates, input], scale),
    t([3 * gates, 3], scale),
    ...(bias
      ? [t([3 * gates], scale), t([3 * gates], { low: -0.4, high: 0.5 })]
      : []),
  ];
  const state = (n: number) =>
    Array.from({ length: states }, () => t([n, 2, 3], scale));
  const initial = (n: number) => states === 2 ? state(n) : state(n)[0];
  return [
    [t([3, 2, 2]), initial(1), weights(2, true)],
    [t([2, 3, 2]), initial(4), [
      ...weights(2, false),
      ...weights(2, false),
      ...weights(6, false),
      ...weights(6, false),
    ], { layers: 2, bidirectional: true, bias: false, batchFirst: true }],
    [t([3, 2, 2]), initial(2), [...weights(2, true), ...weights(2, true)], {
      bidirectional: true,
      lengths: [2, 3],
    }],
  ];
}

const torchOptions =
  "num_layers=layers, bidirectional=bidirectional, bias=bias, batch_first=batchFirst, lengths=lengths";

/** Signature of {@linkcode lstm}. */
export type Lstm = (
  x: Tensor,
  states: readonly [Tensor, Tensor] | undefined,
  weights: readonly Tensor[],
  options?: RecurrentOptions,
) => [Tensor, Tensor, Tensor];

/**
 * Long short-term memory. Gates stand in the order input, forget, candidate, output.
 *
 * @param x Tensor [T, B, I] ([B, T, I] with `batchFirst`).
 * @param states First hidden and cell states [layers·directions, B, H]; zeros when undefined.
 * @param weights w_ih [4H, I], w_hh [4H, H], b_ih [4H], b_hh [4H] for each layer and direction.
 * @returns Outputs [T, B, directions·H], last hidden states, last cell states.
 * @throws {ShapeError} when weights or states do not fit.
 */
export const lstm: Lstm = operator<Lstm, Attrs>({
  name: "lstm",
  family: "recurrent",
  inputs: ["x", "h0", "c0", "...weights"],
  attrs: defaults,
  bind: (x, states, weights, options) => ({
    inputs: [
      x,
      states?.[0],
      states?.[1],
      ...listOperand("lstm", "weights", weights),
    ],
    attrs: options,
  }),
  formula: "c′ = σ(f)·c + σ(i)·tanh(g), h′ = σ(o)·tanh(c′)",
  torch: `lstm(x, h0, c0, *weights, ${torchOptions})`,
  onnx: "LSTM",
  caffe2: "LSTM",
  run: ([x, h0, c0, ...weights], attrs) =>
    run("lstm", x, h0, c0, weights, attrs),
  samples: samples(4, 2),
});

/** Signature of {@linkcode gru}. */
export type Gru = (
  x: Tensor,
  h0: Tensor | undefined,
  weights: readonly Tensor[],
  options?: RecurrentOptions,
) => [Tensor, Tensor];

/**
 * Gated recurrent units. Gates stand in the order reset, update, candidate.
 *
 * @param x Tensor [T, B, I] ([B, T, I] with `batchFirst`).
 * @param h0 First hidden states [layers·directions, B, H]; zeros when undefined.
 * @param weights w_ih [3H, I], w_hh [3H, H], b_ih [3H], b_hh [3H] for each layer and direction.
 * @returns Outputs [T, B, directions·H] and last hidden states.
 * @throws {ShapeError} when weights or states do not fit.
 */
export const gru: Gru = operator<Gru, Attrs>({
  name: "gru",
  family: "recurrent",
  inputs: ["x", "h0", "...weights"],
  attrs: defaults,
  bind: (x, h0, weights, options) => ({
    inputs: [x, h0, ...listOperand("gru", "weights", weights)],
    attrs: options,
  }),
  formula: "n = tanh(xₙ + σ(r)·rₙ), h′ = (1 − σ(z))·n + σ(z)·h",
  torch: `gru(x, h0, *weights, ${torchOptions})`,
  onnx: "GRU",
  caffe2: "GRUUnit",
  run: ([x, h0, ...weights], attrs) =>
    run("gru", x, h0, undefined, weights, attrs),
  samples: samples(3, 1),
});

/** Signature of {@linkcode rnn}. */
export type Rnn = (
  x: Tensor,
  h0: Tensor | undefined,
  weights: readonly Tensor[],
  options?: RecurrentOptions & { nonlinearity?: "tanh" | "relu" },
) => [Tensor, Tensor];

/**
 * Plain recurrent network h′ = tanh(w_ih·x + b_ih + w_hh·h + b_hh), or with relu.
 *
 * @param x Tensor [T, B, I] ([B, T, I] with `batchFirst`).
 * @param h0 First hidden states [layers·directions, B, H]; zeros when undefined.
 * @param weights w_ih [H, I], w_hh [H, H], b_ih [H], b_hh [H] for each layer and direction.
 * @returns Outputs [T, B, directions·H] and last hidden states.
 * @throws {ShapeError} when weights or states do not fit.
 */
export const rnn: Rnn = operator<
  Rnn,
  Attrs & { nonlinearity: "tanh" | "relu" }
>({
  name: "rnn",
  family: "recurrent",
  inputs: ["x", "h0", "...weights"],
  attrs: { ...defaults, nonlinearity: "tanh" },
  bind: (x, h0, weights, options) => ({
    inputs: [x, h0, ...listOperand("rnn", "weights", weights)],
    attrs: options,
  }),
  formula: "h′ = tanh(x·w_ihᵀ + b_ih + h·w_hhᵀ + b_hh)",
  torch: `rnn(x, h0, *weights, nonlinearity=nonlinearity, ${torchOptions})`,
  onnx: "RNN",
  run: ([x, h0, ...weights], { nonlinearity, ...attrs }) =>
    run(nonlinearity, x, h0, undefined, weights, attrs),
  samples: samples(1, 1),
});
