/**
 * Registers tests of products on the stand-in libraries: each on a machine of
 * its own, which must be left without violations, memory or handles.
 */

import { assertEquals } from "@std/assert";
import type { Block } from "../core/device.ts";
import { CudaDevice } from "../devices/cuda/device.ts";
import { cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();

/** The machine, where there is one. */
export type Machine = Exclude<typeof host, { absent: string }>;

/** Registers a test on a device of its own; ignored, with the reason, where the stand-ins cannot be built. */
export function test(
  name: string,
  body: (device: CudaDevice, machine: Machine) => void | Promise<void>,
): void {
  Deno.test({
    name: host.absent ? `${name} (${host.absent})` : name,
    ignore: host.absent !== undefined,
    async fn() {
      if (host.absent !== undefined) return;
      host.reset();
      const device = new CudaDevice(0);
      try {
        await body(device, host);
      } finally {
        device.close();
      }
      assertEquals(host.violations(), []);
      assertEquals(host.leaks(), []);
    },
  });
}

/** Calls of a function since the list was cleared. */
export function count(machine: Machine, name: string): number {
  return machine.calls().filter((call) => call === name).length;
}

/** Frees what a test made. */
export function free(...blocks: (Block | undefined)[]): void {
  for (const block of blocks) block?.storage.release();
}
