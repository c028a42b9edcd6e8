/**
 * Layers of a recurrent network that a device may run at once: how operands
 * are packed for it, and the way back to single layers where it does not.
 *
 * @module
 */

import { gradEnabled } from "../core/autograd.ts";
import { LaunchQueue } from "../core/launches.ts";
import { contiguous, runRows } from "../core/row_kernels.ts";
import { operator } from "../core/op.ts";
import type { RecurrentPlan, RecurrentSpec } from "../core/sequence_kernels.ts";
import { contiguousStrides, sameShape, type Shape } from "../core/shape.ts";
import { Tensor } from "../core/tensor.ts";
import { Value } from "../core/value.ts";
import * as k from "../kernel/expr.ts";
import { fill } from "./foundation.ts";
import { concat, stack } from "./joining.ts";
import { type CellKind, cells } from "./recurrent_cells.ts";
import { recurrentLayer } from "./recurrent_layer.ts";
import { releaseAll } from "./recurrent_steps.ts";
import { t } from "./samples.ts";
import { transpose } from "./shape.ts";
import { select } from "./slicing.ts";
import { throughDefinition } from "./through_definition.ts";
import { copyInto, filled } from "./views.ts";

/** Attributes of layers that run one after the other, without dropout between them. */
export interface NetworkAttrs {
  /** Kind of cells. */
  kind: CellKind;
  /** Layers on top of each other. */
  layers: number;
  /** 2 where a second network reads backwards. */
  directions: 1 | 2;
  /** Whether there are biases among the weights. */
  bias: boolean;
  /** Whether inputs and outputs are [batch, time, …]. */
  batchFirst: boolean;
  /** Steps of each sequence; undefined when all have as many as there are. */
  lengths: readonly number[] | undefined;
  /** Whether a gradient will be asked for. */
  training: boolean;
}

interface NetworkOperands {
  readonly x: Tensor;
  /** Steps of each sequence [batch, 1] (i32). */
  readonly lengths: Tensor | undefined;
  readonly h0: Tensor | undefined;
  readonly c0: Tensor | undefined;
  readonly weights: readonly Tensor[];
}

function byName(inputs: readonly Tensor[]): NetworkOperands {
  const [x, lengths, h0, c0, ...weights] = inputs;
  return { x, lengths, h0, c0, weights };
}

/** What a device needs to know; undefined when the operands do not fit (the single layers then say why). */
export function networkSpec(
  inputs: readonly Tensor[],
  attrs: NetworkAttrs,
): RecurrentSpec | undefined {
  const { x, h0, c0, weights } = byName(inputs);
  const { kind, layers, directions, bias, batchFirst, training } = attrs;
  if (x.rank !== 3 || weights[1]?.rank !== 2) return undefined;
  const [outer, inner, features] = x.shape;
  const [steps, batch] = batchFirst ? [inner, outer] : [outer, inner];
  const hidden = weights[1].shape[1];
  const rows = cells[kind].gates * hidden;
  const each = bias ? 4 : 2;
  const shapeOf = (weight: number): Shape => {
    const layer = Math.floor(weight / (each * directions));
    const role = weight % each;
    if (role > 1) return [rows];
    return [
      rows,
      role === 1 ? hidden : layer === 0 ? features : hidden * directions,
    ];
  };
  const states = [layers * directions, batch, hidden];
  const fits = (operand: Tensor | undefined, shape: Shape) =>
    operand === undefined ||
    operand.dtype === x.dtype && sameShape(operand.shape, shape);
  if (
    x.size === 0 || hidden === 0 || !fits(h0, states) || !fits(c0, states) ||
    !weights.every((w, i) => fits(w, shapeOf(i)))
  ) return undefined;
  return {
    kind,
    dtype: x.dtype,
    steps,
    batch,
    features,
    hidden,
    layers,
    directions,
    bias,
    batchFirst,
    lengths: attrs.lengths ?? new Array<number>(batch).fill(steps),
    training,
  };
}

/** Each layer and direction by itself. */
export function layerByLayer(
  inputs: readonly Tensor[],
  attrs: NetworkAttrs,
): Tensor[] {
  const { x, lengths, h0, c0, weights } = byName(inputs);
  const { kind, layers, directions, bias, batchFirst } = attrs;
  const { hasCell } = cells[kind];
  const each = bias ? 4 : 2;
  let input = batchFirst ? transpose(x, 0, 1) : x;
  const batch = input.shape[1], hidden = weights[1].shape[1];
  const initial = (states: Tensor | undefined, i: number) =>
    states === undefined
      ? fill([batch, hidden], 0, x.dtype, x.device)
      : select(states, 0, i);
  const hs: Tensor[] = [], cs: Tensor[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const outputs: Tensor[] = [];
    for (let direction = 0; direction < directions; direction++) {
      const i = layer * directions + direction;
      const [wIh, wHh, bIh, bHh] = weights.slice(i * each, (i + 1) * each);
      const cell = hasCell ? initial(c0, i) : undefined;
      const results = recurrentLayer(
        [input, initial(h0, i), cell, wIh, wHh, bIh, bHh, lengths],
        { kind, reverse: direction === 1 },
      );
      outputs.push(results[0]);
      hs.push(results[1]);
      if (hasCell) cs.push(results[2]);
    }
    input = outputs.length === 1 ? outputs[0] : concat(outputs, 2);
  }
  const y = batchFirst ? transpose(input, 0, 1) : input;
  return [y, stack(hs, 0), ...(hasCell ? [stack(cs, 0)] : [])];
}

/** All weights in one block, as the plan wants them; copied in few launches. */
function pack(
  weights: readonly Tensor[],
  { packed, offsets }: RecurrentPlan,
): Value {
  const [{ device, dtype }] = weights;
  const whole = Value.empty(device, dtype, [packed]);
  const queue = new LaunchQueue();
  const views = weights.map(({ value, shape }, i) => {
    const view = whole.view(shape, contiguousStrides(shape), offsets[i]);
    copyInto(view, value, queue);
    return view;
  });
  queue.run();
  releaseAll(views);
  return whole;
}

/** Zeros in what lies past the end of each sequence. */
function clearPadding(x: Value, lengths: Value, batchFirst: boolean): void {
  const [time, batch] = batchFirst ? [1, 0] : [0, 1];
  const strides = [0, 0, 0];
  strides[batch] = 1;
  const ends = lengths.view(x.shape, strides, lengths.offset);
  runRows(x.device, {
    name: `padding ${batchFirst}`,
    space: x.shape,
    axes: [],
    streams: [x, ends],
    passes: 1,
    into: [x],
    build: ({ streams: [value, end], coord }) => ({
      stages: [],
      outputs: [{
        dtype: x.dtype,
        per: "element",
        value: k.select(k.lt(coord(time), k.cast(end, "i32")), value, 0),
      }],
    }),
  });
  ends.release();
}

/** Signature of {@linkcode recurrentNetwork}. */
export type RecurrentNetwork = (
  inputs: readonly (Tensor | undefined)[],
  attrs?: Partial<NetworkAttrs>,
) => Tensor[];

/**
 * Several layers of a recurrent network, all at once where the device can.
 *
 * @param inputs x [T, B, I] ([B, T, I] with `batchFirst`), lengths [B, 1] (i32), first hidden and cell states, weights of each layer and direction.
 * @returns Outputs, last hidden states, for lstm last cell states.
 */
export const recurrentNetwork: RecurrentNetwork = operator<
  RecurrentNetwork,
  NetworkAttrs
>({
  name: "recurrentNetwork",
  family: "recurrent",
  inputs: ["x", "lengths", "h0", "c0", "...weights"],
  attrs: {
    kind: "lstm",
    layers: 1,
    directions: 1,
    bias: true,
    batchFirst: false,
    lengths: undefined,
    training: true,
  },
  bind: (inputs, attrs) => ({ inputs, attrs }),
  formula:
    "hₜ of layer l = cell(hₜ of layer l − 1, hₜ₋₁ of layer l), the directions side by side",
  savesOutputs: true,
  results: ({ kind }) => cells[kind].hasCell ? 3 : 2,
  run: (inputs, attrs) => {
    const { x, h0, c0, lengths, weights } = byName(inputs);
    const { device, dtype } = x;
    const kernels = device.kernels.recurrent;
    const spec = networkSpec(inputs, attrs);
    const plan = spec && kernels?.plan(spec);
    if (spec === undefined || plan === undefined) {
      return layerByLayer(inputs, attrs);
    }
    const { layers, directions, hidden, batch, steps, training } = spec;
    const { hasCell } = cells[spec.kind];
    const states = [layers * directions, batch, hidden];
    const [outer, inner] = x.shape;
    const y = Value.empty(device, dtype, [outer, inner, directions * hidden]);
    const last = Value.empty(device, dtype, states);
    const cell = hasCell ? Value.empty(device, dtype, states) : undefined;
    const packed = pack(weights, plan);
    const reserve = training
      ? Value.empty(device, "u8", [plan.reserve])
      : undefined;
    const ends = lengths ?? filled(device, "i32", [batch, 1], steps);
    const dense = [x, ends, h0, c0].map((v) => v && contiguous(v.value));
    kernels!.forward(spec, {
      x: dense[0]!,
      lengths: dense[1]!,
      h0: dense[2],
      c0: dense[3],
      weights: packed,
      y,
      reserve,
    }, { hidden: last, cell });
    releaseAll(dense);
    const made = [y, last, cell, packed, reserve].flatMap((v) =>
      v === undefined ? [] : [new Tensor(v)]
    );
    return training ? [...made, new Tensor(ends.value.retain())] : made;
  },
  // backpropagation through time by the device, or layer by layer
  gradient: ({ inputs, outputs, grads, attrs, needs }) => {
    const { x, h0, c0, weights } = byName(inputs);
    const { hasCell } = cells[attrs.kind];
    const results = hasCell ? 3 : 2;
    const [packed, reserve, ends] = outputs.slice(results);
    if (gradEnabled() || reserve === undefined) {
      return throughDefinition(
        (again) => layerByLayer(again, attrs),
        inputs,
        grads,
      );
    }
    const { device, dtype } = x;
    const kernels = device.kernels.recurrent!;
    const spec = networkSpec(inputs, attrs)!;
    const { offsets } = kernels.plan(spec)!;
    const dense = (v: Tensor | undefined) =>
      v && new Tensor(contiguous(v.value)).value;
    const like = (v: Tensor) => Value.empty(device, dtype, v.shape);
    const wanted = weights.some((_, i) => needs(4 + i));
    const dweights = wanted
      ? filled(device, dtype, packed.shape, 0).value
      : undefined;
    const dx = like(x), dh0 = like(outputs[1]);
    const dc0 = hasCell ? like(outputs[2]) : undefined;
    const arriving = grads[0] ?? filled(device, dtype, outputs[0].shape, 0);
    kernels.backward(spec, {
      x: dense(x)!,
      lengths: dense(ends)!,
      h0: dense(h0),
      c0: dense(c0),
      weights: packed.value,
      y: outputs[0].value,
      reserve: reserve.value,
    }, {
      dy: dense(arriving)!,
      dhidden: dense(grads[1]),
      dcell: dense(grads[2]),
      dx,
      dh0,
      dc0,
      dweights,
    });
    if (attrs.lengths !== undefined) {
      clearPadding(dx, ends.value, spec.batchFirst);
    }
    return [
      new Tensor(dx),
      undefined,
      new Tensor(dh0),
      dc0 && new Tensor(dc0),
      ...weights.map(({ shape }, i) =>
        dweights &&
        new Tensor(dweights.view(shape, contiguousStrides(shape), offsets[i]))
      ),
    ];
  },
  samples: (["lstm", "gru", "tanh", "relu"] as const).flatMap((kind) => {
    const g = cells[kind].gates;
    const scale = { low: -0.9, high: 0.8 };
    const weights = (input: number) => [
      t([3 * g, input], scale),
      t([3 * g, 3], scale),
      t([3 * g], scale),
      t([3 * g], { low: -0.5, high: 0.4 }),
    ];
    const state = t([2, 2, 3], scale);
    const c0 = cells[kind].hasCell ? t([2, 2, 3], scale) : undefined;
    return [
      [
        [t([3, 2, 2]), undefined, state, c0, ...weights(2), ...weights(3)],
        { kind, layers: 2 },
      ],
      [
        [
          t([2, 3, 2]),
          t([2, 1], { dtype: "i32", data: [2, 3] }),
          state,
          c0,
          ...weights(2),
          ...weights(2),
        ],
        { kind, directions: 2, batchFirst: true, lengths: [2, 3] },
      ],
    ];
  }),
});
