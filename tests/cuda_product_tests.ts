/**
 * Registers tests of products on a device of their own: on the stand-in
 * libraries, whose machine must be left without violations, memory or handles,
 * or with DECAF_TEST_CUDA=real on a GPU.
 */

import { assertEquals } from "@std/assert";
import type { Block } from "../core/device.ts";
import { CudaDevice } from "../devices/cuda/device.ts";
import { cudaForTests } from "./cuda_host/device.ts";
import type { CudaHost } from "./cuda_host/mod.ts";

const { absent, host } = await cudaForTests();

function register(
  name: string,
  reason: string | undefined,
  body: (device: CudaDevice) => void | Promise<void>,
): void {
  Deno.test({
    name: reason === undefined ? name : `${name} (${reason})`,
    ignore: reason !== undefined,
    async fn() {
      host?.reset();
      const device = new CudaDevice(0);
      try {
        await body(device);
      } finally {
        device.close();
      }
      assertEquals(host?.violations() ?? [], []);
      assertEquals(host?.leaks() ?? [], []);
    },
  });
}

/** Registers a test that looks at results; there is no machine to look at on a real GPU. */
export function test(
  name: string,
  body: (device: CudaDevice, machine: CudaHost | undefined) => void,
): void {
  register(name, absent, (device) => body(device, host));
}

/** Registers a test that looks at calls or makes them fail; ignored on a real GPU. */
export function callsTest(
  name: string,
  body: (device: CudaDevice, machine: CudaHost) => void | Promise<void>,
): void {
  const reason = absent ??
    (host === undefined ? "needs the stand-in libraries" : undefined);
  register(name, reason, (device) => body(device, host!));
}

/** Calls of a function since the list was cleared. */
export function count(machine: CudaHost, name: string): number {
  return machine.calls().filter((call) => call === name).length;
}

/** Frees what a test made. */
export function free(...blocks: (Block | undefined)[]): void {
  for (const block of blocks) block?.storage.release();
}
