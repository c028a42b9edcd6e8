/** Layers that are compared with PyTorch's. */

import * as nn from "../nn/mod.ts";
import { bools, type Case, floats, ints, wave, x } from "./nn_golden.ts";

const hidden = () => bools([3, 3], 1, 0, 0, 1, 1, 0, 1, 1, 1);

const unpadded = () => bools([2, 4], 1, 1, 0, 0, 1, 1, 1, 0);

const small = { feedForward: 5, dropout: 0 };

const tracked = { affine: true, trackRunningStats: true };

/** By the names that the golden file has. */
export const layers: Record<string, Case> = {
  "linear": { module: () => nn.linear(3, 4), inputs: () => [x([2, 5, 3])] },
  "linear without bias": {
    module: () => nn.linear(3, 4, { bias: false }),
    inputs: () => [x([2, 3])],
  },
  "bilinear": {
    module: () => nn.bilinear(3, 2, 4),
    inputs: () => [x([5, 3]), x([5, 2], 7)],
  },
  "conv1d": {
    module: () => nn.conv1d(2, 3, 3, { stride: 2, padding: 1 }),
    inputs: () => [x([2, 2, 7])],
  },
  "conv1d reflect": {
    module: () => nn.conv1d(2, 3, 3, { padding: 2, paddingMode: "reflect" }),
    inputs: () => [x([1, 2, 5])],
  },
  "conv2d": {
    module: () =>
      nn.conv2d(4, 6, [3, 2], {
        stride: [1, 2],
        padding: [2, 1],
        dilation: [2, 1],
        groups: 2,
      }),
    inputs: () => [x([2, 4, 5, 6])],
  },
  "conv2d same": {
    module: () => nn.conv2d(2, 3, [2, 3], { padding: "same" }),
    inputs: () => [x([1, 2, 4, 4])],
  },
  "conv2d circular": {
    module: () =>
      nn.conv2d(1, 2, 3, { padding: [1, 2], paddingMode: "circular" }),
    inputs: () => [x([1, 1, 4, 5])],
  },
  "conv2d replicate same": {
    module: () =>
      nn.conv2d(1, 2, [2, 3], { padding: "same", paddingMode: "replicate" }),
    inputs: () => [x([1, 1, 4, 5])],
  },
  "conv3d": {
    module: () => nn.conv3d(2, 2, 2, { bias: false }),
    inputs: () => [x([1, 2, 3, 3, 4])],
  },
  "convTranspose1d": {
    module: () =>
      nn.convTranspose1d(2, 3, 3, { stride: 2, padding: 1, outputPadding: 1 }),
    inputs: () => [x([2, 2, 4])],
  },
  "convTranspose2d": {
    module: () =>
      nn.convTranspose2d(4, 2, [2, 3], { stride: 2, groups: 2, dilation: 2 }),
    inputs: () => [x([1, 4, 3, 2])],
  },
  "convTranspose3d": {
    module: () => nn.convTranspose3d(1, 2, 2),
    inputs: () => [x([1, 1, 2, 3, 2])],
  },
  "batchNorm1d": {
    module: () => nn.batchNorm1d(3),
    inputs: () => [x([4, 3])],
  },
  "batchNorm1d sequence": {
    module: () => nn.batchNorm1d(3, { momentum: 0.3 }),
    inputs: () => [x([2, 3, 5])],
  },
  "batchNorm2d": {
    module: () => nn.batchNorm2d(2, { eps: 1e-3 }),
    inputs: () => [x([3, 2, 2, 3])],
  },
  "batchNorm2d average": {
    module: () => nn.batchNorm2d(2, { momentum: "average" }),
    inputs: () => [x([3, 2, 2, 3])],
  },
  "batchNorm2d eval": {
    module: () => nn.batchNorm2d(2),
    inputs: () => [x([3, 2, 2, 3])],
    train: false,
  },
  "batchNorm2d plain": {
    module: () =>
      nn.batchNorm2d(2, { affine: false, trackRunningStats: false }),
    inputs: () => [x([3, 2, 2, 3])],
  },
  "batchNorm3d": {
    module: () => nn.batchNorm3d(2),
    inputs: () => [x([2, 2, 2, 1, 2])],
  },
  "layerNorm": {
    module: () => nn.layerNorm([3, 4], { eps: 1e-3 }),
    inputs: () => [x([2, 3, 4])],
  },
  "layerNorm without bias": {
    module: () => nn.layerNorm(4, { bias: false }),
    inputs: () => [x([2, 3, 4])],
  },
  "groupNorm": {
    module: () => nn.groupNorm(2, 4),
    inputs: () => [x([2, 4, 3])],
  },
  "instanceNorm2d": {
    module: () => nn.instanceNorm2d(2),
    inputs: () => [x([2, 2, 3, 2])],
  },
  "instanceNorm1d tracking": {
    module: () => nn.instanceNorm1d(2, tracked),
    inputs: () => [x([3, 2, 4])],
  },
  "instanceNorm1d eval": {
    module: () => nn.instanceNorm1d(2, tracked),
    inputs: () => [x([3, 2, 4])],
    train: false,
  },
  "rmsNorm": {
    module: () => nn.rmsNorm(4, { eps: 1e-3 }),
    inputs: () => [x([2, 3, 4])],
  },
  "localResponseNorm": {
    module: () => nn.localResponseNorm(3, { alpha: 0.5, beta: 0.6, k: 1.5 }),
    inputs: () => [x([2, 5, 2])],
  },
  "embedding": {
    module: () => nn.embedding(5, 3, { paddingIdx: 1 }),
    inputs: () => [ints([2, 3], 0, 1, 4, 4, 2, 1)],
  },
  "embeddingBag": {
    module: () => nn.embeddingBag(5, 3, { mode: "sum" }),
    inputs: () => [ints([2, 3], 0, 1, 4, 4, 2, 1), undefined, x([2, 3])],
  },
  "embeddingBag offsets": {
    module: () => nn.embeddingBag(5, 3),
    inputs: () => [ints([5], 0, 1, 4, 4, 2), ints([2], 0, 2)],
  },
  "prelu": {
    module: () => nn.prelu({ count: 3 }),
    inputs: () => [x([2, 3, 2])],
  },
  "glu": { module: () => nn.glu(), inputs: () => [x([2, 4])] },
  "rnn": { module: () => nn.rnn(3, 2), inputs: () => [x([4, 2, 3])] },
  "rnn relu": {
    module: () => nn.rnn(3, 2, { nonlinearity: "relu", bias: false }),
    inputs: () => [x([4, 2, 3])],
  },
  "lstm": {
    module: () =>
      nn.lstm(3, 2, { layers: 2, bidirectional: true, batchFirst: true }),
    inputs: () => [x([2, 4, 3])],
  },
  "lstm states": {
    module: () => nn.lstm(3, 2),
    inputs: () => [x([4, 2, 3]), [x([1, 2, 2], 3), x([1, 2, 2], 5)]],
  },
  "gru": {
    module: () => nn.gru(3, 2, { layers: 2 }),
    inputs: () => [x([4, 2, 3]), x([2, 2, 2], 3)],
  },
  "lstmCell": {
    module: () => nn.lstmCell(3, 2),
    inputs: () => [x([4, 3]), [x([4, 2], 3), x([4, 2], 5)]],
  },
  "gruCell": {
    module: () => nn.gruCell(3, 2),
    inputs: () => [x([4, 3]), x([4, 2], 3)],
  },
  "rnnCell": {
    module: () => nn.rnnCell(3, 2, { nonlinearity: "relu" }),
    inputs: () => [x([4, 3])],
  },
  "attention to itself": {
    module: () => nn.multiheadAttention(4, 2),
    inputs: () => [x([3, 2, 4]), undefined, undefined, { mask: hidden() }],
  },
  "attention to others": {
    module: () =>
      nn.multiheadAttention(4, 2, {
        keySize: 3,
        valueSize: 5,
        batchFirst: true,
      }),
    inputs: () => [x([2, 3, 4]), x([2, 4, 3], 3), x([2, 4, 5], 5), {
      keyMask: unpadded(),
    }],
  },
  "attention without bias": {
    module: () =>
      nn.multiheadAttention(4, 1, { bias: false, batchFirst: true }),
    inputs: () => [x([2, 3, 4]), x([2, 4, 4], 3), undefined, {
      keyMask: unpadded(),
    }],
  },
  "encoder layer": {
    module: () => nn.transformerEncoderLayer(4, 2, small),
    inputs: () => [x([3, 2, 4])],
  },
  "encoder layer norm first": {
    module: () =>
      nn.transformerEncoderLayer(4, 2, {
        ...small,
        activation: "gelu",
        normFirst: true,
        batchFirst: true,
      }),
    inputs: () => [x([2, 3, 4]), { causal: true }],
  },
  "decoder layer": {
    module: () =>
      nn.transformerDecoderLayer(4, 2, { ...small, batchFirst: true }),
    inputs: () => [x([2, 3, 4]), x([2, 4, 4], 3), {
      mask: hidden(),
      memoryKeyMask: unpadded(),
    }],
  },
  "decoder layer norm first": {
    module: () =>
      nn.transformerDecoderLayer(4, 2, { ...small, normFirst: true }),
    inputs: () => [x([3, 2, 4]), x([4, 2, 4], 3)],
  },
  "encoder": {
    module: () => {
      const options = { ...small, batchFirst: true };
      return nn.transformerEncoder([
        nn.transformerEncoderLayer(4, 2, options),
        nn.transformerEncoderLayer(4, 2, options),
      ], nn.layerNorm(4));
    },
    inputs: () => [x([2, 3, 4])],
  },
  "decoder": {
    module: () => {
      const options = { ...small, batchFirst: true };
      return nn.transformerDecoder([
        nn.transformerDecoderLayer(4, 2, options),
        nn.transformerDecoderLayer(4, 2, options),
      ]);
    },
    inputs: () => [x([2, 3, 4]), x([2, 4, 4], 3)],
  },
  "lenet": {
    module: () =>
      nn.sequential(
        nn.conv2d(1, 3, 3),
        nn.maxPool2d(2),
        nn.conv2d(3, 4, 3, { padding: 1 }),
        nn.relu(),
        nn.maxPool2d(2),
        nn.flatten(),
        nn.linear(16, 5),
        nn.tanh(),
        nn.linear(5, 3),
      ),
    inputs: () => [x([2, 1, 10, 10])],
  },
  "maxPool1d": {
    module: () => nn.maxPool1d(3, { stride: 2, padding: 1 }),
    inputs: () => [x([1, 2, 7])],
  },
  "maxPool3d": {
    module: () => nn.maxPool3d(2),
    inputs: () => [x([1, 1, 4, 2, 5])],
  },
  "avgPool2d": {
    module: () =>
      nn.avgPool2d(3, { stride: 2, padding: 1, countIncludePad: false }),
    inputs: () => [x([1, 2, 5, 4])],
  },
  "lpPool2d": {
    module: () => nn.lpPool2d(3, 2),
    inputs: () => [
      floats([1, 2, 4, 5], wave([1, 2, 4, 5], 0.5, -2, 2).map(Math.abs), true),
    ],
  },
  "adaptiveAvgPool2d": {
    module: () => nn.adaptiveAvgPool2d([2, 3]),
    inputs: () => [x([1, 2, 5, 7])],
  },
  "adaptiveMaxPool1d": {
    module: () => nn.adaptiveMaxPool1d(2),
    inputs: () => [x([1, 2, 5])],
  },
  "pixelShuffle": {
    module: () => nn.pixelShuffle(2),
    inputs: () => [x([1, 8, 2, 3])],
  },
  "upsample": {
    module: () => nn.upsample({ scaleFactor: 2, mode: "linear" }),
    inputs: () => [x([1, 2, 2, 3])],
  },
  "unflatten": {
    module: () => nn.unflatten(1, [2, 3]),
    inputs: () => [x([2, 6])],
  },
};
