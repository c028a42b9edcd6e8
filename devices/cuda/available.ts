/**
 * Whether CUDA works here, and what is missing where it does not: each cause
 * has a sentence of its own.
 *
 * @module
 */

import { library as blasLibrary } from "../../ffi/cublaslt.ts";
import { cuda, library as driverLibrary } from "../../ffi/cuda.ts";
import {
  cudaError,
  deviceCount,
  driverVersion,
  library as runtimeLibrary,
  statusName,
  statusText,
  versionText,
} from "../../ffi/cudart.ts";
import { CudaError } from "../../ffi/errors.ts";
import { LibraryError, openLibrary, tryLibrary } from "../../ffi/library.ts";
import { library as nvrtcLibrary } from "../../ffi/nvrtc.ts";

/** A CUDA device cannot be used on this machine, or not with these permissions. */
export class CudaUnavailableError extends Error {
  /** Name of the class, as shown in stack traces. */
  override name = "CudaUnavailableError";
}

/**
 * The number of GPUs, at least one.
 *
 * @throws {LibraryError} when a library is missing or `--allow-ffi` was not given.
 * @throws {CudaUnavailableError} when there is no GPU that works.
 */
export function requireGpus(): number {
  const { versionText: needed } = openLibrary(runtimeLibrary);
  const { status, count } = deviceCount();
  if (status === 0 && count > 0) {
    openLibrary(driverLibrary);
    return count;
  }
  throw new CudaUnavailableError(
    `Cannot use a CUDA device: ${reason(status, needed)}`,
  );
}

/** What a failed count of GPUs means. */
function reason(status: number, needed: string): string {
  const driver = tryLibrary(driverLibrary);
  switch (status) {
    case cudaError.InsufficientDriver: {
      if (driver instanceof LibraryError && driver.tried.length > 0) {
        return `there is no NVIDIA driver on this machine (libcuda was not found); install one, or use --device cpu`;
      }
      const version = driverVersion();
      return version === 0
        ? "NVIDIA's driver does not answer; is its kernel module loaded (nvidia-smi tells)?"
        : `the driver supports CUDA ${
          versionText(version)
        }, and the runtime that was found is for CUDA ${needed}; install a newer driver, or the libraries of CUDA ${
          Math.floor(version / 1000)
        } (pip install nvidia-cuda-runtime-cu12 for CUDA 12)`;
    }
    case cudaError.Success:
    case cudaError.NoDevice:
      return `the driver finds no GPU${hidden()}`;
    case cudaError.SystemDriverMismatch:
      return "the driver's library and its kernel module are of different versions; restart the machine";
    case cudaError.StubLibrary:
      return "the libcuda that was found is a stub for linking and drives nothing; remove its folder from LD_LIBRARY_PATH";
  }
  return `the runtime says ${statusName(status)} (${status}), ${
    statusText(status)
  }`;
}

/** A hint that GPUs are hidden by a variable. */
function hidden(): string {
  const permission = { name: "env", variable: "CUDA_VISIBLE_DEVICES" } as const;
  if (Deno.permissions.querySync(permission).state !== "granted") return "";
  const value = Deno.env.get("CUDA_VISIBLE_DEVICES");
  return value === undefined ? "" : ` (CUDA_VISIBLE_DEVICES is "${value}")`;
}

/** Why no CUDA device can be used; undefined when one can. */
export function whyNoCuda(): string | undefined {
  try {
    requireGpus();
    return undefined;
  } catch (error) {
    if (
      error instanceof LibraryError || error instanceof CudaUnavailableError
    ) {
      return error.message;
    }
    throw error;
  }
}

/** Why a program that leaves the choice open is not sent to a GPU: CUDA does not work, or lacks what kernels and products need. */
export function whyNotChosen(): string | undefined {
  const problem = whyNoCuda();
  if (problem !== undefined) return problem;
  for (const needed of [tryLibrary(nvrtcLibrary), tryLibrary(blasLibrary)]) {
    if (needed instanceof LibraryError) return needed.message;
  }
  try {
    cuda();
    return undefined;
  } catch (error) {
    if (error instanceof CudaError) return error.message;
    throw error;
  }
}
