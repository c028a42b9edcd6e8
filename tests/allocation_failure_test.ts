/**
 * Each allocation of each operator is made to fail in turn, forward and
 * backward: the error is the one for users, and nothing stays allocated.
 */

import { assert, assertEquals } from "@std/assert";
import {
  fromHost,
  getDevice,
  gradients,
  memory,
  operators,
  OutOfMemoryError,
  scope,
  Tensor,
} from "../mod.ts";
import type { OpInfo, Sample } from "../core/op.ts";
import { hostArray, isFloat, setElement } from "../core/dtype.ts";
import type { SampleTensor } from "../core/op.ts";

const device = getDevice("cpu");
const allocate = device.allocate.bind(device);

/** Runs `body` with the n-th allocation from here failing; tells whether it came to that. */
function withFailure(n: number, body: () => void): boolean {
  let count = 0;
  device.allocate = (bytes) => {
    if (++count === n) throw new OutOfMemoryError("no memory left");
    return allocate(bytes);
  };
  try {
    body();
  } catch (error) {
    if (count < n) throw error;
    assert(
      error instanceof OutOfMemoryError,
      `${error} instead of an OutOfMemoryError`,
    );
    return true;
  } finally {
    device.allocate = allocate;
  }
  return count >= n;
}

function isSample(x: unknown): x is SampleTensor {
  return (x as SampleTensor | undefined)?.sample === true;
}

/** The argument of a call with its sample tensors made. */
function made(argument: unknown, tensors: Tensor[]): unknown {
  if (isSample(argument)) {
    const { shape, dtype, data, grad } = argument;
    const host = hostArray(dtype, data.length);
    data.forEach((v, i) => setElement(host, dtype, i, v));
    const requiresGrad = grad && isFloat(dtype);
    const tensor = fromHost(host, dtype, shape, { requiresGrad });
    tensors.push(tensor);
    return tensor;
  }
  if (Array.isArray(argument)) return argument.map((a) => made(a, tensors));
  if (
    typeof argument === "object" && argument !== null &&
    Object.getPrototypeOf(argument) === Object.prototype
  ) {
    return Object.fromEntries(
      Object.entries(argument).map(([k, v]) => [k, made(v, tensors)]),
    );
  }
  return argument;
}

function results(output: unknown): Tensor[] {
  if (output instanceof Tensor) return [output];
  if (typeof output !== "object" || output === null) return [];
  return Object.values(output).flatMap(results);
}

function run(info: OpInfo, sample: Sample): void {
  const leaves: Tensor[] = [];
  const output = info.call(...sample.map((a) => made(a, leaves)));
  const all = results(output);
  for (const result of all) result.materialize();
  const root = all.find((result) => result.requiresGrad);
  const wanted = leaves.filter((leaf) => leaf.requiresGrad);
  if (root === undefined || wanted.length === 0) return;
  for (const g of gradients(root.sum(), wanted)) g?.materialize();
}

for (const info of operators().values()) {
  Deno.test(`no memory left in ${info.name}`, () => {
    const sample = info.samples[0];
    if (sample === undefined) return;
    scope(() => run(info, sample));
    for (let n = 1; n < 200; n++) {
      const before = memory();
      const failed = withFailure(n, () => scope(() => run(info, sample)));
      const { tensors, devices: { cpu } } = memory();
      assertEquals(
        [tensors, cpu.blocks, cpu.liveBytes],
        [
          before.tensors,
          before.devices.cpu.blocks,
          before.devices.cpu.liveBytes,
        ],
        `after allocation ${n} failed`,
      );
      if (!failed) return;
    }
  });
}
