/**
 * Recurrent networks of several layers and directions, with PyTorch's
 * equations and order of weights.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import { listOperand } from "../core/binding.ts";
import { ShapeError } from "../core/errors.ts";
import { operator, type Sample } from "../core/op.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { concat } from "./joining.ts";
import { dropout } from "./random.ts";
import type { CellKind } from "./recurrent_cells.ts";
import {
  layerByLayer,
  type NetworkAttrs,
  networkSpec,
  recurrentNetwork,
} from "./recurrent_network.ts";
import { t } from "./samples.ts";
import { narrow } from "./slicing.ts";

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
  const [steps, batch] = o.batchFirst ? [x.shape[1], x.shape[0]] : x.shape;
  const lengths = o.lengths === undefined
    ? undefined
    : lengthTensor(o.lengths, batch, steps, x.device.name);
  const attrs = (layers: number): NetworkAttrs => ({
    kind,
    layers,
    directions,
    bias: o.bias,
    batchFirst: o.batchFirst,
    lengths: o.lengths,
    training: gradEnabled() &&
      [x, h0, c0, ...weights].some((v) => v?.requiresGrad),
  });
  const part = (states: Tensor | undefined, layer: number) =>
    states && narrow(states, 0, layer * directions, directions);
  // Dropout stands between layers, and its random numbers are Decaf's.
  const apart = o.dropout > 0 && o.training && o.layers > 1;
  if (!apart) {
    return layersAtOnce([x, lengths, h0, c0, ...weights], attrs(o.layers));
  }
  const states: Tensor[][] = [];
  let input = x;
  for (let layer = 0; layer < o.layers; layer++) {
    if (layer > 0) input = dropout(input, o.dropout, { training: true });
    const own = weights.slice(
      layer * directions * each,
      (layer + 1) * directions * each,
    );
    const [y, ...last] = layersAtOnce(
      [input, lengths, part(h0, layer), part(c0, layer), ...own],
      attrs(1),
    );
    input = y;
    states.push(last);
  }
  return [
    input,
    ...states[0].map((_, i) => concat(states.map((last) => last[i]), 0)),
  ];
}

/** Layers without dropout between them: by the device, or each by itself. */
function layersAtOnce(
  inputs: readonly (Tensor | undefined)[],
  attrs: NetworkAttrs,
): Tensor[] {
  const operands = inputs as readonly Tensor[];
  const { recurrent } = operands[0].device.kernels;
  const spec = recurrent && networkSpec(operands, attrs);
  return spec !== undefined && recurrent!.plan(spec) !== undefined
    ? recurrentNetwork(inputs, attrs)
    : layerByLayer(operands, attrs);
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
  caffe2: "Recurrent",
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
  formula:
    "n = tanh(x·w_inᵀ + b_in + σ(r)·(h·w_hnᵀ + b_hn)), h′ = (1 − σ(z))·n + σ(z)·h",
  torch: `gru(x, h0, *weights, ${torchOptions})`,
  onnx: "GRU",
  caffe2: "Recurrent",
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
