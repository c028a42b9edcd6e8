/**
 * The CUDA driver: modules and launches. The rest goes through the runtime.
 *
 * Source: `cuda.h` of CUDA 11.2 to 13.
 *
 * @module
 */

import { installingDriver } from "./install.ts";
import { fail } from "./errors.ts";
import { versionText } from "./cudart.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";

/** Functions of the CUDA driver that Decaf calls. */
export const symbols = {
  cuInit: { parameters: ["u32"], result: "i32" },
  cuDriverGetVersion: { parameters: ["buffer"], result: "i32" },
  cuGetErrorName: { parameters: ["i32", "buffer"], result: "i32" },
  cuGetErrorString: { parameters: ["i32", "buffer"], result: "i32" },
  cuDeviceGetName: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  cuModuleLoadData: { parameters: ["buffer", "buffer"], result: "i32" },
  cuModuleUnload: { parameters: ["u64"], result: "i32" },
  cuModuleGetFunction: {
    parameters: ["buffer", "u64", "buffer"],
    result: "i32",
  },
  cuFuncSetAttribute: { parameters: ["u64", "i32", "i32"], result: "i32" },
  cuLaunchKernel: {
    parameters: [
      "u64",
      "u32",
      "u32",
      "u32",
      "u32",
      "u32",
      "u32",
      "u32",
      "u64",
      "u64",
      "u64",
    ],
    result: "i32",
  },
  // CUDA 11.3 and newer.
  cuStreamGetCaptureInfo_v2: {
    parameters: ["u64", "buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
    optional: true,
  },
  // CUDA 12 and newer; the older one takes the first fields of the same struct.
  cuGraphExecKernelNodeSetParams_v2: {
    parameters: ["u64", "u64", "buffer"],
    result: "i32",
    optional: true,
  },
  cuGraphExecKernelNodeSetParams: {
    parameters: ["u64", "u64", "buffer"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** `CUresult`: the statuses that Decaf treats in a way of their own. */
export const cuResult = {
  SUCCESS: 0,
  INVALID_IMAGE: 200,
  NO_BINARY_FOR_GPU: 209,
  UNSUPPORTED_PTX_VERSION: 222,
} as const;

/** `CUfunction_attribute`. */
export const functionAttribute = { MAX_DYNAMIC_SHARED_SIZE_BYTES: 8 } as const;

/** `CUDA_KERNEL_NODE_PARAMS_v2`: bytes, and where its fields stand. */
export const kernelNodeParams = {
  bytes: 72,
  func: 0,
  gridDimX: 8,
  gridDimY: 12,
  gridDimZ: 16,
  blockDimX: 20,
  blockDimY: 24,
  blockDimZ: 28,
  sharedMemBytes: 32,
  kernelParams: 40,
  extra: 48,
  kern: 56,
  ctx: 64,
} as const;

const version = new Int32Array(1);

/** Where the CUDA driver lies and what is called in it. */
export const library: LibrarySpec<typeof symbols> = {
  name: "cuda",
  title: "NVIDIA's driver (libcuda)",
  variable: "DECAF_LIBCUDA",
  linux: ["libcuda.so.1", "libcuda.so"],
  windows: ["nvcuda.dll"],
  wheels: [],
  symbols,
  version: {
    functions: ["cuDriverGetVersion"],
    read: (lib) => {
      lib.cuDriverGetVersion(version);
      return version[0];
    },
    text: versionText,
    least: 11020,
  },
  install: installingDriver,
};

/** The functions of the opened library. */
export type Cuda = Deno.DynamicLibrary<typeof symbols>["symbols"];

let lib: Cuda | undefined;

/**
 * The CUDA driver, opened and initialised at the first call.
 *
 * @throws {LibraryError} when it cannot be opened.
 * @throws {CudaError} when it finds no GPU that it can drive.
 */
export function cuda(): Cuda {
  if (lib !== undefined) return lib;
  const { symbols } = openLibrary(library);
  check(symbols.cuInit(0), "cuInit", undefined, symbols);
  return lib = symbols;
}

const pointer = new BigUint64Array(1);

function textAt(address: bigint): string {
  const at = Deno.UnsafePointer.create(address);
  return at === null ? "" : Deno.UnsafePointerView.getCString(at);
}

/**
 * Throws when a call failed.
 *
 * @param status What the function returned.
 * @param name The function.
 * @param args The arguments that matter, where some do.
 * @param symbols The library, while it is being opened.
 * @throws {CudaError} when the status is not 0.
 */
export function check(
  status: number,
  name: string,
  args?: string,
  symbols: Cuda = cuda(),
): void {
  if (status === 0) return;
  const known = symbols.cuGetErrorName(status, pointer) === 0;
  const statusName = known ? textAt(pointer[0]) : "an unknown status";
  const text = symbols.cuGetErrorString(status, pointer) === 0
    ? textAt(pointer[0])
    : undefined;
  fail({
    library: "cuda",
    function: name,
    status,
    statusName,
    ...text === undefined ? {} : { text },
    ...args === undefined ? {} : { arguments: args },
  });
}

/** Name of a GPU: `NVIDIA H100 80GB HBM3`. */
export function deviceName(ordinal: number): string {
  const text = new Uint8Array(256);
  check(cuda().cuDeviceGetName(text, text.length, ordinal), "cuDeviceGetName");
  return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
}

/** Loads compiled code into the current device. */
export function loadModule(image: Uint8Array<ArrayBuffer>): bigint {
  check(cuda().cuModuleLoadData(pointer, image), "cuModuleLoadData");
  return pointer[0];
}

/** A kernel of a loaded module. */
export function moduleFunction(module: bigint, entry: string): bigint {
  const name = new TextEncoder().encode(`${entry}\0`);
  check(
    cuda().cuModuleGetFunction(pointer, module, name),
    "cuModuleGetFunction",
    entry,
  );
  return pointer[0];
}
