/**
 * Kernels that are no row programs: written in CUDA C, compiled once per
 * device and name, called with 8-byte parameters only.
 *
 * @module
 */

import type { Block } from "../../core/device.ts";
import { bytesOf, type DType } from "../../core/dtype.ts";
import type { CudaContext, CudaFunction, CudaStorage } from "./context.ts";
import { kernelObserver } from "./launch_facts.ts";

const compiled = new WeakMap<CudaContext, Map<string, CudaFunction>>();

/** The kernel of a name, from the source that `write` gives when it is new to the device. */
export function ownKernel(
  context: CudaContext,
  name: string,
  entry: string,
  write: () => string,
): CudaFunction {
  let kernels = compiled.get(context);
  if (kernels === undefined) compiled.set(context, kernels = new Map());
  let kernel = kernels.get(name);
  if (kernel === undefined) {
    const source = write();
    kernelObserver.rendered?.(source, entry);
    kernel = context.compile(source, entry);
    kernels.set(name, kernel);
  }
  return kernel;
}

const buffer = new ArrayBuffer(512);
const words = new Uint32Array(buffer);
const views: Uint8Array[] = [];

let written = 0;

/** Begins the parameters of a call, which are all pointers or `long long`: in one buffer for all calls. */
export function startLongs(): void {
  written = 0;
}

/** Adds a parameter. */
export function addLong(value: number): void {
  words[2 * written] = value;
  words[2 * written + 1] = Math.floor(value / 2 ** 32);
  written++;
}

/** The parameters that were added. */
export function addedLongs(): Uint8Array {
  return views[written] ??= new Uint8Array(buffer, 0, 8 * written);
}

/** Parameters that are all pointers or `long long`. */
export function longs(values: readonly number[]): Uint8Array {
  startLongs();
  for (let i = 0; i < values.length; i++) addLong(values[i]);
  return addedLongs();
}

/** Address of a block's first element, as a number, for work that is about to be queued. */
export function addressIn({ storage, offset }: Block, dtype: DType): number {
  (storage as CudaStorage).upload?.join();
  return storage.address + offset * bytesOf(dtype);
}

/** The smallest power of two that is not below `n`. */
export function powerOfTwo(n: number): number {
  return n <= 1 ? 1 : 2 ** Math.ceil(Math.log2(n));
}
