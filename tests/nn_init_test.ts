/** Initialisers: ranges, moments, shapes of distributions, and PyTorch's defaults of layers. */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertThrows,
} from "@std/assert";
import { fromHost, type Tensor } from "../mod.ts";
import { Generator, manualSeed } from "../core/random.ts";
import * as nn from "../nn/mod.ts";

const { init } = nn;

function blank(...shape: number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return fromHost(new Float32Array(size).fill(NaN), "f32", shape);
}

function moments(x: Tensor) {
  const data = Array.from(x.data(), Number);
  const mean = data.reduce((a, b) => a + b, 0) / data.length;
  const variance = data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length;
  return {
    mean,
    std: Math.sqrt(variance),
    min: Math.min(...data),
    max: Math.max(...data),
  };
}

/** Checks U(low, high) on many numbers: bounds kept and reached, mean and deviation within five standard errors. */
function isUniform(x: Tensor, low: number, high: number): void {
  const { mean, std, min, max } = moments(x);
  const width = high - low, n = x.size;
  assert(min >= low - 1e-7 && max <= high + 1e-7, `${min} ${max}`);
  assert(min < low + 20 * width / n && max > high - 20 * width / n);
  assertAlmostEquals(mean, (low + high) / 2, 5 * width / Math.sqrt(12 * n));
  assertAlmostEquals(std, width / Math.sqrt(12), 5 * width / Math.sqrt(8 * n));
}

/** Checks N(mean, std²) on many numbers: mean and deviation within five standard errors, some beyond three deviations. */
function isNormal(x: Tensor, mean: number, std: number): void {
  const seen = moments(x);
  assertAlmostEquals(seen.mean, mean, 5 * std / Math.sqrt(x.size));
  assertAlmostEquals(seen.std, std, 5 * std / Math.sqrt(2 * x.size));
  assert(seen.max > mean + 2.8 * std && seen.max < mean + 6 * std);
}

Deno.test("uniform and normal", () => {
  manualSeed(1);
  isUniform(init.uniform(blank(100, 100), -3, 5), -3, 5);
  isNormal(init.normal(blank(100, 100), 2, 0.5), 2, 0.5);
  const half = init.uniform(blank(100, 100).cast("f16"), 0, 1);
  assertEquals(half.dtype, "f16");
  isUniform(half, 0, 1);
});

Deno.test("scaled initialisers have the deviations of their papers", () => {
  manualSeed(2);
  // 30 inputs per unit: 10 channels, 3 taps; 60 outputs: 20 filters, 3 taps
  const shape = [20, 10, 3].concat([1]);
  const many = () => blank(shape[0] * 10, shape[1] * 10, shape[2]);
  const fanIn = 300, fanOut = 600;
  const xavier = Math.sqrt(2 / (fanIn + fanOut));
  isUniform(
    init.xavierUniform(many()),
    -xavier * Math.sqrt(3),
    xavier * Math.sqrt(3),
  );
  isNormal(init.xavierNormal(many(), { gain: 2 }), 0, 2 * xavier);
  const he = Math.sqrt(6 / fanIn);
  isUniform(init.kaimingUniform(many()), -he, he);
  isNormal(
    init.kaimingNormal(many(), { mode: "fanOut", nonlinearity: "relu" }),
    0,
    Math.sqrt(2 / fanOut),
  );
  isNormal(
    init.kaimingNormal(many(), { slope: 0.2 }),
    0,
    Math.sqrt(2 / (1.04 * fanIn)),
  );
  // Caffe2: both count elements per first or second extent
  const caffe = Math.sqrt(3 / fanIn);
  isUniform(init.xavierFill(many()), -caffe, caffe);
  isNormal(init.msraFill(many()), 0, Math.sqrt(2 / fanOut));
});

Deno.test("a truncated normal keeps its bounds and its shape", () => {
  manualSeed(3);
  const x = init.truncNormal(blank(100, 100), { std: 0.5, low: -0.5, high: 1 });
  const { mean, std, min, max } = moments(x);
  assert(min >= -0.5 && max <= 1);
  // Moments of N(0, ½²) within [−1σ, 2σ]: φ and Φ at the bounds.
  const phi = (z: number) => Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
  const mass = 0.9772498680518208 - 0.15865525393145707;
  const m = (phi(-1) - phi(2)) / mass;
  const v = 1 + (-1 * phi(-1) - 2 * phi(2)) / mass - m * m;
  assertAlmostEquals(mean, 0.5 * m, 0.02);
  assertAlmostEquals(std, 0.5 * Math.sqrt(v), 0.02);
});

Deno.test("orthogonal rows or columns", () => {
  manualSeed(4);
  for (
    const [shape, gain] of [[[5, 3, 4], 1], [[9, 4], 2], [[6, 6], 1]] as const
  ) {
    const x = init.orthogonal(blank(...shape), { gain });
    const rows = shape[0], columns = x.size / rows;
    const data = Array.from(x.data(), Number);
    const at = (r: number, c: number) => data[r * columns + c];
    const count = Math.min(rows, columns), length = Math.max(rows, columns);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        let dot = 0;
        for (let n = 0; n < length; n++) {
          dot += rows <= columns ? at(i, n) * at(j, n) : at(n, i) * at(n, j);
        }
        assertAlmostEquals(dot, i === j ? gain ** 2 : 0, 1e-5);
      }
    }
  }
});

Deno.test("constants, gains, fans", () => {
  assertEquals(init.constant(blank(2), 3).toArray(), [3, 3]);
  assertEquals(init.zeros(blank(1)).toArray(), [0]);
  assertEquals(init.ones(blank(1)).toArray(), [1]);
  assertEquals(init.eye(blank(2, 3)).toArray(), [[1, 0, 0], [0, 1, 0]]);
  assertEquals(init.fans(blank(4, 3, 2)), { fanIn: 6, fanOut: 8 });
  assertEquals(init.gain("linear"), 1);
  assertAlmostEquals(init.gain("leakyRelu", 1), 1);
  assertAlmostEquals(init.gain("tanh"), 5 / 3);
  assertThrows(() => init.xavierNormal(blank(3)), TypeError, "two axes");
  assertThrows(() => init.eye(blank(3)), TypeError, "two axes");
  assertThrows(() => init.uniform(blank(1), 2, 1), RangeError, "U(2, 1)");
  assertThrows(() => init.normal(blank(1), 0, -1), RangeError, "-1");
  assertThrows(
    () => init.truncNormal(blank(1), { low: 1, high: 1 }),
    RangeError,
    "cut to [1, 1]",
  );
});

Deno.test("a seed gives the same weights", () => {
  const weights = () => {
    manualSeed(7);
    return nn.linear(3, 2).weight.toArray();
  };
  assertEquals(weights(), weights());
  const own = () =>
    init.normal(blank(3), 0, 1, { generator: new Generator(5) }).toArray();
  assertEquals(own(), own());
});

Deno.test("layers start as PyTorch's do", () => {
  manualSeed(8);
  const linear = nn.linear(400, 300);
  isUniform(linear.weight, -1 / 20, 1 / 20);
  isUniform(nn.linear(4, 9000).bias!, -0.5, 0.5);
  const conv = nn.conv2d(8, 150, 5, { groups: 2 }); // fan-in 4·25
  isUniform(conv.weight, -0.1, 0.1);
  isUniform(nn.conv1d(2, 9000, 2).bias!, -0.5, 0.5);
  const transposed = nn.convTranspose2d(90, 4, 5); // fan-in 4·25
  isUniform(transposed.weight, -0.1, 0.1);
  isUniform(nn.bilinear(16, 25, 30).weight, -0.25, 0.25);
  isNormal(nn.embedding(100, 100).weight, 0, 1);
  const padded = nn.embedding(100, 100, { paddingIdx: -2 }).weight;
  const row = Array.from(padded.data(), Number).slice(9800, 9900);
  assert(row.every((x) => x === 0));
  const lstm = nn.lstm(64, 64, { layers: 2 });
  for (const weight of Object.values(lstm.weights)) {
    if (weight.rank === 2) isUniform(weight, -1 / 8, 1 / 8);
    else assert(moments(weight).max <= 1 / 8);
  }
  const attention = nn.multiheadAttention(64, 4);
  const xavier = Math.sqrt(6 / (64 + 192));
  isUniform(attention.inProjWeight!, -xavier, xavier);
  isUniform(attention.outProj.weight, -1 / 8, 1 / 8);
  for (const bias of [attention.inProjBias!, attention.outProj.bias!]) {
    assertEquals([moments(bias).min, moments(bias).max], [0, 0]);
  }
  assertEquals(nn.prelu().weight.toArray(), [0.25]);
  const numbers = Object.values(nn.batchNorm2d(1).stateDict())
    .map((x) => Number(x.data()[0]));
  assertEquals(numbers, [1, 0, 0, 1, 0]);
  const layer = Object.values(nn.layerNorm(1).stateDict());
  assertEquals(layer.map((x) => x.item()), [1, 0]);
});
