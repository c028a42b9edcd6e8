/**
 * The stand-in libraries, for measurements of CUDA that need no GPU.
 *
 * @module
 */

import { cudaHost } from "../tests/cuda_host/mod.ts";
import type { CudaHost } from "../tests/cuda_host/mod.ts";

/** The stand-in libraries; ends the process, with the reason, where there are none. */
export async function standIns(): Promise<CudaHost> {
  const host = await cudaHost();
  if (host.absent === undefined) return host;
  console.error(`The stand-in libraries are not to be had: ${host.absent}`);
  Deno.exit(1);
}
