/** Tests on a fresh machine with CUDA devices: the stand-ins, or with DECAF_TEST_CUDA=real the GPUs that are there. */

import { assertEquals } from "@std/assert";
import type { CudaDevice } from "../devices/cuda/device.ts";
import { deviceCount } from "../ffi/cudart.ts";
import {
  closeDevice,
  fromHost,
  getDevice,
  memory,
  type Tensor,
} from "../mod.ts";
import { type CudaHost, cudaHost } from "./cuda_host/mod.ts";

const host = await cudaHost();

/** Bytes of a mebibyte. */
export const MiB = 1 << 20;

const real = Deno.env.get("DECAF_TEST_CUDA") === "real";

const gpus = real ? deviceCount().count : 0;

/** Why a test cannot run here; on a GPU those run that need no power over the machine. */
function absence(needsHost: boolean, devices: number): string | undefined {
  if (!real || needsHost) return host.absent;
  return gpus < devices
    ? `it needs ${devices} GPUs, and there are ${gpus}`
    : undefined;
}

/** Registers a test on a fresh machine; at its end nothing is wrong and nothing is left. */
export function test(
  name: string,
  body: (host: CudaHost) => void | Promise<void>,
  devices = 1,
  lost = false,
): void {
  const why = absence(body.length > 0, devices);
  const stand = host.absent === undefined ? host : undefined;
  Deno.test({
    name: why === undefined ? name : `${name} (${why})`,
    ignore: why !== undefined,
    async fn() {
      stand?.reset();
      stand?.clearViolations();
      stand?.devices(devices);
      try {
        await body(stand!);
        assertEquals(stand?.violations() ?? [], []);
        for (let i = 0; i < devices; i++) {
          const { liveBytes } = memory().devices[`cuda:${i}`] ?? {
            liveBytes: 0,
          };
          assertEquals(liveBytes, 0, `bytes are live on cuda:${i}`);
        }
      } finally {
        stand?.release();
        for (let i = 0; i < devices; i++) closeDevice(`cuda:${i}`);
      }
      // What a lost device holds cannot be given back one by one.
      if (!lost) assertEquals(stand?.leaks() ?? [], []);
      assertEquals(stand?.violations() ?? [], []);
    },
  });
}

/** A device of the machine. */
export function cuda(ordinal = 0): CudaDevice {
  return getDevice(`cuda:${ordinal}`) as CudaDevice;
}

/** n numbers that start at `first`. */
export function ramp(n: number, first = 0): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: n }, (_, i) => (first + i) % 8191);
}

/** A vector on a device. */
export function tensorOf(
  data: Float32Array<ArrayBuffer>,
  device = "cuda",
): Tensor {
  return fromHost(data, "f32", [data.length], { device });
}

/** Milliseconds that a call takes. */
export function timed(body: () => void): number {
  const from = performance.now();
  body();
  return performance.now() - from;
}
