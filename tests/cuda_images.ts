/**
 * Tests of operators on images on the CUDA device, on the stand-in libraries:
 * the same numbers as on the CPU, through cuDNN, with nothing left behind.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { contiguous, gradients, scope, type Tensor, tensor } from "../mod.ts";
import { closeDevice } from "../core/device.ts";
import type { DType } from "../core/dtype.ts";
import "../devices/cuda/device.ts";
import { cudaForTests } from "./cuda_host/device.ts";
import type { CudaHost } from "./cuda_host/mod.ts";

const { absent, host } = await cudaForTests();

/** The stand-ins' controls. */
export type Machine = CudaHost;

/** Calls of the libraries, where there are stand-ins that tell them. */
export class Calls {
  readonly #machine: Machine | undefined;

  /** Calls of a machine; of none on a real GPU. */
  constructor(machine: Machine | undefined) {
    this.#machine = machine;
  }

  /** Forgets the calls so far. */
  clear(): void {
    this.#machine?.clearCalls();
  }

  /** Fails unless a function was called so often. */
  expect(name: string, times: number, what?: string): void {
    if (this.#machine === undefined) return;
    assertEquals(count(this.#machine, name), times, what);
  }

  /** Fails unless a function was called so often or more. */
  expectAtLeast(name: string, times: number, what?: string): void {
    if (this.#machine === undefined) return;
    const made = count(this.#machine, name);
    assert(made >= times, `${what}: ${made} calls of ${name}, not ${times}`);
  }
}

function register(
  name: string,
  reason: string | undefined,
  body: () => void | Promise<void>,
): void {
  Deno.test({
    name: reason === undefined ? name : `${name} (${reason})`,
    ignore: reason !== undefined,
    async fn() {
      host?.reset();
      try {
        await body();
      } finally {
        closeDevice("cuda");
      }
      assertEquals(host?.violations() ?? [], []);
      assertEquals(host?.leaks() ?? [], []);
    },
  });
}

/** A test that looks at results, on the stand-ins or a GPU; it ends with nothing violated and nothing left behind. */
export function onCuda(
  name: string,
  body: (calls: Calls) => void | Promise<void>,
): void {
  register(name, absent, () => body(new Calls(host)));
}

/** A test that looks into the library, or asks it to compile kernels for many shapes; ignored on a GPU. */
export function onStandIn(
  name: string,
  body: (machine: Machine) => void | Promise<void>,
): void {
  const reason = absent ??
    (host === undefined ? "needs the stand-in libraries" : undefined);
  register(name, reason, () => body(host!));
}

/** How often a function was called. */
export function count(machine: Machine, name: string): number {
  return machine.calls().filter((call) => call === name).length;
}

/** An operand of a test. */
export interface Operand {
  /** Extents. */
  readonly shape: readonly number[];
  /** Whether its channels lie last in memory. */
  readonly last?: boolean;
  /** What is added to its elements, which lie between −1 and 1. */
  readonly shift?: number;
}

/** An operand on a device; the same numbers on each. */
export function operand(
  { shape, last, shift = 0 }: Operand,
  seed: number,
  dtype: DType,
  device: string,
): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Array.from(
    { length: size },
    (_, i) => shift + Math.sin(seed + 1.7 * i + 0.01 * i * i),
  );
  // Rounded on the CPU, so that both devices get the same numbers.
  const flat = tensor(data).cast(dtype).cast("f64").toArray() as number[];
  const x = tensor(flat, { device, dtype }).reshape(shape);
  return last ? contiguous(x, { memoryFormat: "channelsLast" }) : x;
}

/** What a function gives on a device. */
export interface Outcome {
  /** Extents of the result. */
  readonly shape: readonly number[];
  /** Whether the channels of the result lie last in memory. */
  readonly last: boolean;
  /** The result and the gradients of the operands, flat. */
  readonly numbers: number[][];
}

/** A function of operands on a device: result, gradients and memory order. */
export function outcome(
  f: (...operands: Tensor[]) => Tensor,
  operands: readonly Operand[],
  dtype: DType,
  device: string,
): Outcome {
  return scope(() => {
    const xs = operands.map((o, i) => {
      const x = operand(o, i, dtype, device).detach();
      x.requiresGrad = true;
      return x;
    });
    const y = f(...xs).materialize();
    const g = operand(
      { shape: y.shape, last: y.value.channelsLast },
      9,
      dtype,
      device,
    );
    const flat = (x: Tensor) =>
      x.cast("f64").reshape([x.size]).toArray() as number[];
    const grads = gradients(y, xs, { seed: g });
    return {
      shape: y.shape,
      last: y.value.channelsLast,
      numbers: [y.detach(), ...grads].map((t) => flat(t!)),
    };
  });
}

const slack: Partial<Record<DType, number>> = {
  f64: 1e-11,
  // The real library may transform windows before it multiplies them.
  f32: host === undefined ? 2e-4 : 2e-5,
  f16: 2e-2,
  bf16: 1e-1,
};

/** Fails unless the numbers agree to the precision of the dtype. */
export function assertAgree(
  actual: Outcome,
  expected: Outcome,
  dtype: DType,
  what: string,
): void {
  assertEquals(actual.shape, expected.shape, what);
  actual.numbers.forEach((list, k) => {
    const wanted = expected.numbers[k];
    assertEquals(list.length, wanted.length, what);
    const scale = Math.max(1, ...wanted.map(Math.abs));
    list.forEach((value, i) => {
      const off = Math.abs(value - wanted[i]);
      assert(
        off <= slack[dtype]! * scale,
        `${what}: ${
          k === 0 ? "result" : `gradient ${k - 1}`
        }, element ${i} is ${value}, expected ${wanted[i]}`,
      );
    });
  });
}
