/**
 * Random tensors: the words of kernels against the generator on the host (whose
 * known answers data_rng_test.ts has), distributions by chi-squared and moments
 * with fixed seeds, and that seeds, states and threads do what they promise.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Generator, generatorStream, Philox } from "../core/random.ts";
import {
  fromHost,
  gradients,
  memory,
  scope,
  sum,
  type Tensor,
} from "../mod.ts";
import { setThreads, threads } from "../devices/cpu/pool.ts";
import { mul } from "../ops/arithmetic.ts";
import { draw } from "../ops/random_bits.ts";
import {
  bernoulli,
  defaultGenerator,
  dropout,
  manualSeed,
  multinomial,
  normal,
  rand,
  randint,
  randn,
  randperm,
  truncatedNormal,
  uniform,
} from "../ops/random.ts";
import { liveBytes } from "./live_bytes.ts";

/** χ² of counts against expected counts. */
function chiSquared(counts: ArrayLike<number>, expected: number[]): number {
  return expected.reduce((sum, e, i) => sum + (counts[i] - e) ** 2 / e, 0);
}

/** The 99.99 % quantile of the chi-squared distribution (Wilson and Hilferty). */
function bound(degrees: number): number {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.72 * Math.sqrt(spread)) ** 3;
}

function assertUniform(counts: ArrayLike<number>, expected: number[]): void {
  const chi2 = chiSquared(counts, expected);
  const limit = bound(expected.length - 1);
  assert(chi2 < limit, `chi-squared is ${chi2}, the bound ${limit}`);
}

function numbers(x: Tensor): Float64Array {
  return Float64Array.from(x.data() as ArrayLike<number>, Number);
}

/** Counts of the values by bins of equal width over [low, high). */
function histogram(
  values: Float64Array,
  bins: number,
  low = 0,
  high = 1,
): number[] {
  const counts = new Array(bins).fill(0);
  for (const v of values) counts[Math.floor((v - low) / (high - low) * bins)]++;
  return counts;
}

function vector(values: number[], requiresGrad = false): Tensor {
  return fromHost(new Float32Array(values), "f32", [values.length], {
    requiresGrad,
  });
}

Deno.test("random words of a kernel are those of the host", () => {
  const starts = [
    [0, 0],
    [1, 2 ** 32 - 2], // the counter's lower word overflows
    [2 ** 53 - 1, 2 ** 40 + 2 ** 31],
    [2 ** 32 + 7, 2 ** 31 - 1],
  ];
  for (const [seed, offset] of starts) {
    const generator = new Generator(seed);
    generator.restore({ seed, offset });
    const words = draw([18], "i32", { generator }, {
      name: "words",
      perBlock: 4,
      build: (words) => [...words],
    });
    const host = new Philox(seed, 0, generatorStream, offset);
    const expected = Int32Array.from({ length: 18 }, () => host.next32());
    assertEquals(words.data(), expected);
    assertEquals(generator.state(), { seed, offset: offset + 5 });
  }
});

Deno.test("rand is the upper 24 bits of the words", () => {
  const x = rand([3, 5], { generator: new Generator(5) });
  const host = new Philox(5, 0, generatorStream);
  const expected = Float32Array.from(
    { length: 15 },
    () => (host.next32() >>> 8) / 2 ** 24,
  );
  assertEquals(x.data(), expected);
  assertEquals([...x.shape], [3, 5]);
});

Deno.test("seeds and states repeat numbers, on any number of threads", () => {
  const all = () =>
    [
      rand([1000]),
      randn([70_001]),
      normal([300], { dtype: "f64", mean: 3 }),
      randint(0, 99, [50]),
      truncatedNormal([100]),
      randperm(30),
      dropout(rand([400]), 0.3),
    ].map((x) => [...numbers(x)]);
  const before = threads();
  try {
    setThreads(1);
    manualSeed(3);
    const first = all();
    const state = defaultGenerator().state();
    const second = all();
    setThreads(4);
    manualSeed(3);
    assertEquals(all(), first);
    defaultGenerator().restore(state);
    assertEquals(all(), second);
    manualSeed(4);
    const other = all();
    [second, other].forEach((values) =>
      values.forEach((v, i) => assert(`${v}` !== `${first[i]}`, `call ${i}`))
    );
  } finally {
    setThreads(before);
  }
});

Deno.test("rand is uniform and below 1 in every dtype", () => {
  const generator = new Generator(1);
  const bits = { f32: 24, f64: 53, f16: 11, bf16: 8 } as const;
  for (const dtype of ["f32", "f64", "f16", "bf16"] as const) {
    const values = numbers(rand([64_000], { dtype, generator }));
    assertUniform(histogram(values, 64), new Array(64).fill(1000));
    const whole = values.every((v) =>
      v >= 0 && v < 1 && Number.isInteger(v * 2 ** bits[dtype])
    );
    assert(whole, dtype);
  }
  // Neighbours are independent: pairs fill the square evenly.
  const values = numbers(rand([64_000], { generator }));
  const cells = new Array(64).fill(0);
  for (let i = 0; i < values.length; i += 2) {
    cells[8 * Math.floor(8 * values[i]) + Math.floor(8 * values[i + 1])]++;
  }
  assertUniform(cells, new Array(64).fill(500));
  const scaled = numbers(uniform([6400], { low: -3, high: 5, generator }));
  assertUniform(histogram(scaled, 16, -3, 5), new Array(16).fill(400));
});

/** Probabilities of the standard normal distribution between −3, −2.5, …, 3 and beyond; published values of Φ. */
const normalBins = (() => {
  const phi = [
    0.0013498980316301,
    0.0062096653257761,
    0.0227501319481792,
    0.0668072012688581,
    0.158655253931457,
    0.308537538725987,
    0.5,
  ];
  const cdf = [0, ...phi, ...phi.slice(0, -1).reverse().map((p) => 1 - p), 1];
  return cdf.slice(1).map((p, i) => p - cdf[i]);
})();

Deno.test("randn is normal in every dtype", () => {
  const generator = new Generator(2);
  const n = 80_000;
  for (const dtype of ["f32", "f64", "bf16", "f16"] as const) {
    // Halved steps of bf16 move values across the bins' ends: shift the bins of the narrow types a little.
    const narrow = dtype === "bf16" || dtype === "f16";
    const values = numbers(randn([n], { dtype, generator }));
    if (!narrow) {
      const counts = new Array(normalBins.length).fill(0);
      for (const v of values) {
        counts[Math.min(13, Math.max(0, Math.floor((v + 3) * 2) + 1))]++;
      }
      assertUniform(counts, normalBins.map((p) => p * n));
    }
    const moment = (k: number) =>
      values.reduce((sum, v) => sum + v ** k, 0) / n;
    // Five standard deviations of the sample moments: √(1, 2, 15, 96) / √n.
    const within = (k: number, expected: number, spread: number) =>
      assert(
        Math.abs(moment(k) - expected) < 5 * Math.sqrt(spread / n) + 2e-3,
        `${dtype}: moment ${k} is ${moment(k)}`,
      );
    within(1, 0, 1);
    within(2, 1, 2);
    within(3, 0, 15);
    within(4, 3, 96);
  }
  const shifted = numbers(normal([n], { mean: 5, std: 2, generator }));
  const mean = shifted.reduce((a, b) => a + b) / n;
  const variance = shifted.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
  assert(Math.abs(mean - 5) < 0.04 && Math.abs(variance - 4) < 0.1);
});

Deno.test("truncatedNormal has the bell's middle", () => {
  const values = numbers(
    truncatedNormal([40_000], {
      low: -1,
      high: 2,
      generator: new Generator(3),
    }),
  );
  assert(values.every((v) => v >= -1 && v <= 2));
  // Φ(−1) … Φ(2) in steps of a half.
  const middle = normalBins.slice(5, 11);
  const total = middle.reduce((a, b) => a + b);
  assertUniform(
    histogram(values.filter((v) => v < 2), 6, -1, 2),
    middle.map((p) => p / total * 40_000),
  );
  // Without bounds it is the whole bell, to its last bit of tail.
  for (const dtype of ["f32", "f64"] as const) {
    const whole = numbers(truncatedNormal([40_000], {
      low: -Infinity,
      high: Infinity,
      mean: 1,
      dtype,
      generator: new Generator(31),
    }));
    const counts = new Array(normalBins.length).fill(0);
    for (const v of whole) {
      counts[Math.min(13, Math.max(0, Math.floor((v - 1 + 3) * 2) + 1))]++;
    }
    assertUniform(counts, normalBins.map((p) => p * 40_000));
  }
});

Deno.test("randint draws every number alike", () => {
  const generator = new Generator(4);
  for (const dtype of ["i64", "i32", "i8", "f32"] as const) {
    const values = numbers(randint(-3, 7, [20_000], { dtype, generator }));
    assertUniform(histogram(values, 10, -3, 7), new Array(10).fill(2000));
  }
  const spans = [[-(2 ** 31), 2 ** 31], [-(2 ** 31), 2 ** 31 - 1], [
    0,
    2 ** 53 - 1,
  ], [-(2 ** 40), 2 ** 40]];
  for (const [low, high] of spans) {
    const values = numbers(randint(low, high, [8000], { generator }));
    assert(values.every((v) => Number.isInteger(v) && v >= low && v < high));
    assertUniform(histogram(values, 16, low, high), new Array(16).fill(500));
  }
  const truths = randint(0, 2, [1000], { dtype: "bool", generator });
  const set = numbers(truths).reduce((a, b) => a + b);
  assert(set > 420 && set < 580, `${set} of 1000`);
  assertEquals(numbers(randint(7, 8, [3])), new Float64Array(3).fill(7));
});

Deno.test("randperm gives every order alike", () => {
  const generator = new Generator(5);
  const counts = new Map<string, number>();
  for (let i = 0; i < 2400; i++) {
    const order = randperm(4, { generator }).data().join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assertEquals(counts.size, 24);
  assertUniform([...counts.values()], new Array(24).fill(100));
  const long = numbers(randperm(1000, { generator }));
  assertEquals(long.toSorted(), Float64Array.from(long.keys()));
});

Deno.test("bernoulli succeeds as often as told", () => {
  const generator = new Generator(6);
  const n = 20_000;
  for (const dtype of ["f32", "f64", "f16"] as const) {
    for (const p of [0, 0.125, 0.75, 1]) {
      const probabilities = uniform([n], { low: p, high: p, dtype });
      const x = bernoulli(probabilities, { generator });
      assertEquals(x.dtype, dtype);
      const values = numbers(x);
      assert(values.every((v) => v === 0 || v === 1));
      const rate = values.reduce((a, b) => a + b) / n;
      const spread = Math.sqrt(p * (1 - p) / n);
      assert(Math.abs(rate - p) <= 4 * spread, `${rate} for ${p}`);
    }
  }
});

Deno.test("dropout drops a share, scales the rest, and its gradient does the same", () => {
  const generator = new Generator(7);
  const n = 20_000;
  const x = vector(new Array(n).fill(1), true);
  const y = dropout(x, 0.3, { generator });
  const values = numbers(y);
  const kept = values.filter((v) => v !== 0);
  assert(kept.every((v) => Math.abs(v - 1 / 0.7) < 1e-6));
  assert(Math.abs(kept.length / n - 0.7) < 0.013, `${kept.length / n}`);
  const [gradient] = gradients(sum(mul(y, y)), [x]);
  assertEquals(
    numbers(gradient!).map((v) => Math.round(v * 1e4)),
    values.map((v) => Math.round(2 * v * 1.4285714 * 1e4)),
  );
  // Broadcast and transposed operands draw for each element of the result's order.
  const state = { seed: 9, offset: 4 };
  const columns = fromHost(Float32Array.of(1, 2, 3, 4, 5, 6), "f32", [2, 3]);
  const dense = numbers(dropout(columns, 0.5, { state }));
  const mask = numbers(
    dropout(vector(new Array(6).fill(1)), 0.5, { state }),
  );
  assertEquals(dense, mask.map((m, i) => m * (i + 1)));
  assertEquals(numbers(dropout(x, 0.9, { training: false })), numbers(x));
  assertEquals(numbers(dropout(x, 1)), new Float64Array(n));
  const before = defaultGenerator().state();
  dropout(x, 0.9, { training: false });
  assertEquals(defaultGenerator().state(), before);
});

Deno.test("multinomial draws by weight", () => {
  const generator = new Generator(8);
  const weights = [0, 1, 2, 0, 5, 0];
  const n = 16_000;
  const again = numbers(
    multinomial(vector(weights), n, { replacement: true, generator }),
  );
  const counts = new Array(6).fill(0);
  for (const v of again) counts[v]++;
  assertEquals([counts[0], counts[3], counts[5]], [0, 0, 0]);
  assertUniform([counts[1], counts[2], counts[4]], [2000, 4000, 10_000]);
  // Many rows at once, without replacement: the first and the second one.
  const rows = 8000;
  const table = fromHost(
    Float32Array.from({ length: rows * 4 }, (_, i) => [4, 0, 1, 3][i % 4]),
    "f32",
    [rows, 4],
  );
  const drawn = multinomial(table, 2, { generator });
  assertEquals([...drawn.shape], [rows, 2]);
  assertEquals(drawn.dtype, "i64");
  const pairs: Record<string, number> = {};
  const flat = numbers(drawn);
  for (let i = 0; i < flat.length; i += 2) {
    const pair = `${flat[i]}${flat[i + 1]}`;
    pairs[pair] = (pairs[pair] ?? 0) + 1;
  }
  // P(a then b) = wₐ/8 · w_b/(8 − wₐ)
  const expected: Record<string, number> = {
    "02": 4 / 8 * 1 / 4,
    "03": 4 / 8 * 3 / 4,
    "20": 1 / 8 * 4 / 7,
    "23": 1 / 8 * 3 / 7,
    "30": 3 / 8 * 4 / 5,
    "32": 3 / 8 * 1 / 5,
  };
  assertEquals(Object.keys(pairs).sort(), Object.keys(expected).sort());
  const keys = Object.keys(expected);
  assertUniform(
    keys.map((key) => pairs[key]),
    keys.map((key) => expected[key] * rows),
  );
});

Deno.test("random tensors: shapes, dtypes, gradients and memory", () => {
  assertEquals(rand([0, 3]).data(), new Float32Array(0));
  assertEquals([...randn([]).shape], []);
  assertEquals(randn([2], { dtype: "bf16" }).dtype, "bf16");
  assert(randn([2], { requiresGrad: true }).requiresGrad);
  const before = memory(), bytes = liveBytes();
  scope(() => {
    randn([10]);
    dropout(rand([10]));
    multinomial(rand([3, 4]), 2);
    randperm(5);
  });
  assertEquals(memory().tensors, before.tensors);
  assertEquals(liveBytes(), bytes);
});

Deno.test("random tensors refuse what makes no sense", () => {
  const refused: [() => unknown, string][] = [
    [() => rand([2, -1]), "[2, -1]"],
    [() => rand([2], { dtype: "i32" }), "dtype i32"],
    [() => randint(3, 3, [2]), "3"],
    [() => randint(0, 300, [2], { dtype: "u8" }), "0 to 255"],
    [() => randperm(-1), "-1"],
    [() => dropout(vector([1]), 1.5), "1.5"],
    [() => multinomial(vector([1, 2]), 3), "of 2 categories"],
    [() => multinomial(vector([1, 0]), 2), "only 1"],
    [() => multinomial(vector([1, -1]), 1), "-1"],
    [() => multinomial(vector([NaN, 1]), 1), "NaN"],
    [() => multinomial(vector([0, 0]), 1), "sum is 0"],
    [() => bernoulli(randint(0, 2, [2])), "dtype i64"],
    [() => new Generator(-1), "-1"],
    [() => manualSeed(0.5), "0.5"],
    [() => new Generator(1).restore({ seed: 1, offset: -2 }), "offset -2"],
    [() => rand([1], { device: "tpu" }), "tpu"],
  ];
  for (const [call, words] of refused) assertThrows(call, Error, words);
});
