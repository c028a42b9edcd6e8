/** What an operator took is given back when memory runs out in the middle of it. */

import { assertEquals } from "@std/assert";
import {
  backward,
  cast,
  getDevice,
  memory,
  mul,
  OutOfMemoryError,
  Scope,
  sum,
  Tensor,
  tensor,
} from "../mod.ts";
import { operators, type SampleTensor } from "../core/op.ts";
import { CpuDevice } from "../devices/cpu/device.ts";

class Full extends OutOfMemoryError {}

/** Runs `body` with room for `blocks` more blocks; whether that was enough. */
function withRoomFor(blocks: number, body: () => void): boolean {
  const { allocate } = CpuDevice.prototype;
  let left = blocks;
  CpuDevice.prototype.allocate = function (bytes: number) {
    if (left-- <= 0) throw new Full("no more blocks");
    return allocate.call(this, bytes);
  };
  try {
    body();
    return true;
  } catch (error) {
    if ((error as Error).cause instanceof Full) return false;
    throw error;
  } finally {
    CpuDevice.prototype.allocate = allocate;
  }
}

function isSample(x: unknown): x is SampleTensor {
  return typeof x === "object" && x !== null && "sample" in x;
}

/** The arguments of a sample call, its tensors stored. */
function made(x: unknown): unknown {
  if (isSample(x)) {
    const numbers = x.dtype === "bool" ? "u8" : x.dtype;
    const stored = tensor(x.data, { dtype: numbers, shape: x.shape });
    const typed = cast(stored, x.dtype).materialize();
    typed.requiresGrad = x.grad;
    return typed;
  }
  if (Array.isArray(x)) return x.map(made);
  if (typeof x === "object" && x !== null) {
    return Object.fromEntries(
      Object.entries(x).map(([name, value]) => [name, made(value)]),
    );
  }
  return x;
}

/** Calls an operator and differentiates its first differentiable result. */
function callAndDifferentiate(
  call: (...args: unknown[]) => unknown,
  args: readonly unknown[],
): void {
  const results = [call(...args)].flat().filter((r) => r instanceof Tensor);
  for (const result of results) result.materialize();
  const root = results.find((r) => r.node !== undefined);
  if (root !== undefined) backward(sum(mul(root, root)));
}

/** Calls with room for more and more blocks, until that is enough. */
function leaksNothing(
  call: (...args: unknown[]) => unknown,
  sample: readonly unknown[],
): void {
  for (let room = 0, enough = false; !enough; room++) {
    const before = memory();
    {
      using _call = new Scope();
      const args = sample.map(made);
      enough = withRoomFor(room, () => callAndDifferentiate(call, args));
    }
    const after = memory();
    const what = `with room for ${room} blocks`;
    assertEquals(after.tensors, before.tensors, what);
    assertEquals(after.devices.cpu.blocks, before.devices.cpu.blocks, what);
  }
}

getDevice("cpu"); // memory() tells of devices that are in use

for (const [name, { call, samples }] of operators()) {
  Deno.test(`out of memory in ${name} leaks nothing`, () => {
    for (const sample of samples.slice(0, 2)) leaksNothing(call, sample);
  });
}
