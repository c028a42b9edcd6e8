/**
 * Small computations with known results, on one device.
 *
 * @module
 */

import { getDevice } from "../core/device.ts";
import { Scope } from "../core/scope.ts";
import { fromHost, type Tensor } from "../core/tensor.ts";
import { type ProcessGroup, processGroup } from "../dist/mod.ts";
import { LibraryError } from "../ffi/library.ts";
import { add, conv, matmul } from "../ops/functions.ts";

/** How a device did. */
export interface DeviceTest {
  /** Whether all computations were right. */
  readonly works: boolean;
  /** What each computation said: `right`, what is wrong, or why it was not made. */
  readonly results: Readonly<Record<string, string>>;
  /** Bytes of memory in all. */
  readonly memoryBytes: number;
  /** 10⁹ operations per second in a product of f32 matrices. */
  readonly gflops?: number;
}

/** What a computation says that went well. */
export const right = "right";
/** What it says where a library is missing that it needs. */
export const untested =
  "not tested: a library that several GPUs need is missing";

/** Runs the computations; what fails is said in words. */
export function testDevice(device: string): DeviceTest {
  let memoryBytes = 0;
  const run = (body: () => string): string => {
    using _scope = new Scope();
    try {
      return body();
    } catch (error) {
      return (error as Error).message;
    }
  };
  const opened = run(() => {
    memoryBytes = getDevice(device).stats().limitBytes;
    return right;
  });
  if (opened !== right) {
    return { works: false, results: { device: opened }, memoryBytes };
  }
  const results = {
    product: run(() => testProduct(device)),
    convolution: run(() => testConvolution(device)),
    "all-reduce": run(() => testAllReduce(device)),
  };
  const works = Object.values(results).every((result) =>
    result === right || result === untested
  );
  return {
    works,
    results,
    memoryBytes,
    ...(works ? { gflops: measure(device) } : {}),
  };
}

/** Whole numbers, whose products and sums f32 holds exactly. */
function whole(count: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => i % 7 - 3);
}

function compare(
  got: ArrayLike<number | bigint>,
  wanted: readonly number[],
  what: string,
): string {
  const wrong = wanted.findIndex((value, i) => got[i] !== value);
  return wrong < 0
    ? right
    : `element ${wrong} of ${what} is ${got[wrong]} and should be ${
      wanted[wrong]
    }`;
}

function testProduct(device: string): string {
  const n = 33;
  const host = whole(n * n);
  const x = fromHost(host, "f32", [n, n], { device });
  const wanted = Array.from({ length: n * n }, (_, at) => {
    const row = Math.floor(at / n);
    let sum = 1;
    for (let k = 0; k < n; k++) sum += host[row * n + k] * host[k * n + at % n];
    return sum;
  });
  return compare(dataOf(add(matmul(x, x), 1)), wanted, "a matrix product");
}

function testConvolution(device: string): string {
  const [channels, size, filters, taps] = [4, 9, 8, 3];
  const image = whole(channels * size * size);
  const weights = whole(filters * channels * taps * taps);
  const x = fromHost(image, "f32", [1, channels, size, size], { device });
  const w = fromHost(weights, "f32", [filters, channels, taps, taps], {
    device,
  });
  const out = size - taps + 1;
  const wanted: number[] = [];
  for (let f = 0; f < filters; f++) {
    for (let row = 0; row < out; row++) {
      for (let column = 0; column < out; column++) {
        let sum = 0;
        for (let tap = 0; tap < channels * taps * taps; tap++) {
          const c = Math.floor(tap / (taps * taps));
          const y = row + Math.floor(tap / taps) % taps;
          const at = (c * size + y) * size + column + tap % taps;
          sum += image[at] * weights[f * channels * taps * taps + tap];
        }
        wanted.push(sum);
      }
    }
  }
  return compare(dataOf(conv(x, w)), wanted, "a convolution");
}

function testAllReduce(device: string): string {
  let group: ProcessGroup;
  try {
    group = processGroup([device]);
  } catch (error) {
    if (error instanceof LibraryError) return untested;
    throw error;
  }
  using _group = group;
  const x = fromHost(whole(64), "f32", [64], { device });
  const [sum] = group.allReduce([x]).wait();
  return compare(dataOf(sum), [...whole(64)], "an all-reduce of one rank");
}

/** Milliseconds after which an exchange is given up. */
const patience = 20_000;

/** Has all devices add their numbers up; says as the computations of one device do how it went. */
export async function testExchange(
  devices: readonly string[],
): Promise<string> {
  using _scope = new Scope();
  try {
    using group = processGroup(devices, { timeout: patience });
    const values = whole(64);
    const work = group.allReduce(
      devices.map((device) => fromHost(values, "f32", [64], { device })),
    );
    const wanted = [...values].map((value) => value * devices.length);
    const said = (await work.finish()).map((sum, rank) =>
      compare(dataOf(sum), wanted, `the sum on ${devices[rank]}`)
    );
    return said.find((text) => text !== right) ?? right;
  } catch (error) {
    return error instanceof LibraryError ? untested : (error as Error).message;
  }
}

function dataOf(x: Tensor): ArrayLike<number | bigint> {
  return x.data() as ArrayLike<number | bigint>;
}

/** Sizes of products that are timed: as large as takes a few milliseconds. */
const sizes = [64, 128, 256, 512, 1024, 2048, 4096];
/** Milliseconds that are enough to tell a speed. */
const enough = 3;

/** The best of a few products, in 10⁹ operations per second. */
function measure(name: string): number {
  let speed = 0;
  for (const n of sizes) {
    const best = timeProduct(name, n);
    speed = 2 * n ** 3 / best / 1e6;
    if (best > enough) break;
  }
  return Number(speed.toFixed(1));
}

/** Milliseconds of the best of a few products of [n, n] matrices. */
function timeProduct(name: string, n: number): number {
  using _scope = new Scope();
  const device = getDevice(name);
  const host = new Float32Array(n * n).fill(0.5);
  const x = fromHost(host, "f32", [n, n], { device: name });
  let best = Infinity;
  for (let i = 0; i < 5; i++) {
    using _product = new Scope();
    device.synchronize();
    const from = performance.now();
    matmul(x, x).materialize();
    device.synchronize();
    best = Math.min(best, performance.now() - from);
    if (i > 0 && best > 10 * enough) break;
  }
  return best;
}
