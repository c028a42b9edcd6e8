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
import { cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();

/** The machine, where there is one. */
export type Machine = Exclude<typeof host, { readonly absent: string }>;

/** A test on the stand-ins, which ends with nothing violated and nothing left behind. */
export function onCuda(
  name: string,
  body: (machine: Machine) => void | Promise<void>,
): void {
  Deno.test({
    name: host.absent === undefined ? name : `${name} (${host.absent})`,
    ignore: host.absent !== undefined,
    async fn() {
      if (host.absent !== undefined) return;
      host.reset();
      try {
        await body(host);
      } finally {
        closeDevice("cuda");
      }
      assertEquals(host.violations(), []);
      assertEquals(host.leaks(), []);
    },
  });
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
  f32: 2e-5,
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
