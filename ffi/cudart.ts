/**
 * The CUDA runtime: devices, memory, copies, streams, events.
 *
 * Addresses and handles are bigints. Sources: `cuda_runtime_api.h` and
 * `driver_types.h` of CUDA 11.2 to 13.
 *
 * @module
 */

import { installing, type Packages } from "./install.ts";
import { fail } from "./errors.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";

/** Functions of the CUDA runtime that Decaf calls. */
export const symbols = {
  cudaRuntimeGetVersion: { parameters: ["buffer"], result: "i32" },
  cudaDriverGetVersion: { parameters: ["buffer"], result: "i32" },
  cudaGetErrorName: { parameters: ["i32"], result: "pointer" },
  cudaGetErrorString: { parameters: ["i32"], result: "pointer" },
  cudaGetLastError: { parameters: [], result: "i32" },
  cudaGetDeviceCount: { parameters: ["buffer"], result: "i32" },
  cudaSetDevice: { parameters: ["i32"], result: "i32" },
  cudaDeviceGetAttribute: {
    parameters: ["buffer", "i32", "i32"],
    result: "i32",
  },
  cudaDeviceGetPCIBusId: {
    parameters: ["buffer", "i32", "i32"],
    result: "i32",
  },
  cudaDeviceGetP2PAttribute: {
    parameters: ["buffer", "i32", "i32", "i32"],
    result: "i32",
  },
  cudaDeviceCanAccessPeer: {
    parameters: ["buffer", "i32", "i32"],
    result: "i32",
  },
  cudaDeviceEnablePeerAccess: { parameters: ["i32", "u32"], result: "i32" },
  cudaMemGetInfo: { parameters: ["buffer", "buffer"], result: "i32" },
  cudaMalloc: { parameters: ["buffer", "usize"], result: "i32" },
  cudaFree: { parameters: ["u64"], result: "i32" },
  cudaMallocAsync: { parameters: ["buffer", "usize", "u64"], result: "i32" },
  cudaFreeAsync: { parameters: ["u64", "u64"], result: "i32" },
  cudaDeviceGetDefaultMemPool: {
    parameters: ["buffer", "i32"],
    result: "i32",
  },
  cudaMemPoolSetAttribute: {
    parameters: ["u64", "i32", "buffer"],
    result: "i32",
  },
  cudaMemPoolGetAttribute: {
    parameters: ["u64", "i32", "buffer"],
    result: "i32",
  },
  cudaMemPoolTrimTo: { parameters: ["u64", "usize"], result: "i32" },
  cudaMemPoolSetAccess: {
    parameters: ["u64", "buffer", "usize"],
    result: "i32",
  },
  cudaHostAlloc: { parameters: ["buffer", "usize", "u32"], result: "i32" },
  cudaFreeHost: { parameters: ["u64"], result: "i32" },
  cudaMemcpyAsync: {
    parameters: ["u64", "u64", "usize", "i32", "u64"],
    result: "i32",
  },
  cudaMemcpyPeerAsync: {
    parameters: ["u64", "i32", "u64", "i32", "usize", "u64"],
    result: "i32",
  },
  cudaStreamCreateWithFlags: { parameters: ["buffer", "u32"], result: "i32" },
  cudaStreamDestroy: { parameters: ["u64"], result: "i32" },
  cudaStreamSynchronize: { parameters: ["u64"], result: "i32" },
  cudaStreamQuery: { parameters: ["u64"], result: "i32" },
  cudaStreamWaitEvent: { parameters: ["u64", "u64", "u32"], result: "i32" },
  cudaEventCreateWithFlags: { parameters: ["buffer", "u32"], result: "i32" },
  cudaEventDestroy: { parameters: ["u64"], result: "i32" },
  cudaEventRecord: { parameters: ["u64", "u64"], result: "i32" },
  cudaEventQuery: { parameters: ["u64"], result: "i32" },
  cudaEventSynchronize: { parameters: ["u64"], result: "i32" },
  cudaEventElapsedTime: {
    parameters: ["buffer", "u64", "u64"],
    result: "i32",
  },
  cudaStreamBeginCapture: { parameters: ["u64", "i32"], result: "i32" },
  cudaStreamEndCapture: { parameters: ["u64", "buffer"], result: "i32" },
  cudaGraphGetNodes: { parameters: ["u64", "buffer", "buffer"], result: "i32" },
  // CUDA 11.4 and newer.
  cudaGraphInstantiateWithFlags: {
    parameters: ["buffer", "u64", "u64"],
    result: "i32",
    optional: true,
  },
  cudaGraphLaunch: { parameters: ["u64", "u64"], result: "i32" },
  cudaGraphExecDestroy: { parameters: ["u64"], result: "i32" },
  cudaGraphDestroy: { parameters: ["u64"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** `cudaError_t`: the statuses that Decaf treats in a way of their own. */
export const cudaError = {
  Success: 0,
  InvalidValue: 1,
  MemoryAllocation: 2,
  InitializationError: 3,
  StubLibrary: 34,
  InsufficientDriver: 35,
  DevicesUnavailable: 46,
  NoDevice: 100,
  InvalidDevice: 101,
  ECCUncorrectable: 214,
  NvlinkUncorrectable: 220,
  Contained: 226,
  NotReady: 600,
  IllegalAddress: 700,
  LaunchTimeout: 702,
  PeerAccessAlreadyEnabled: 704,
  ContextIsDestroyed: 709,
  Assert: 710,
  HardwareStackError: 714,
  IllegalInstruction: 715,
  MisalignedAddress: 716,
  InvalidAddressSpace: 717,
  InvalidPc: 718,
  LaunchFailure: 719,
  TensorMemoryLeak: 721,
  NotSupported: 801,
  SystemNotReady: 802,
  SystemDriverMismatch: 803,
  CompatNotSupportedOnDevice: 804,
  Unknown: 999,
} as const;

/** `cudaMemcpyKind`. */
export const memcpyKind = {
  HostToDevice: 1,
  DeviceToHost: 2,
  DeviceToDevice: 3,
} as const;

/** `cudaDeviceAttr`. */
export const deviceAttribute = {
  MaxSharedMemoryPerBlock: 8,
  MultiProcessorCount: 16,
  L2CacheSize: 38,
  MaxThreadsPerMultiProcessor: 39,
  ComputeCapabilityMajor: 75,
  ComputeCapabilityMinor: 76,
  MaxSharedMemoryPerBlockOptin: 97,
  MemoryPoolsSupported: 115,
} as const;

/** `cudaMemPoolAttr`. */
export const memPoolAttribute = {
  ReleaseThreshold: 4,
  ReservedMemCurrent: 5,
  UsedMemCurrent: 7,
} as const;

/** `cudaDeviceP2PAttr`. */
export const p2pAttribute = {
  PerformanceRank: 1,
  AccessSupported: 2,
  NativeAtomicSupported: 3,
} as const;

/** Flags of streams and events. */
export const flags = {
  StreamNonBlocking: 1,
  EventDefault: 0,
  EventDisableTiming: 2,
  HostAllocDefault: 0,
} as const;

/** `cudaStreamCaptureMode`: Relaxed lets the thread make calls that queue nothing, such as loading a kernel. */
export const captureMode = { Relaxed: 2 } as const;

/** `cudaMemLocationType` and `cudaMemAccessFlags`, for pools that peers read. */
export const memAccess = {
  LocationTypeDevice: 1,
  FlagsProtReadWrite: 3,
} as const;

/** A CUDA version as people write it: 13020 is `13.2`. */
export function versionText(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor(version % 1000 / 10)}`;
}

const version = new Int32Array(1);

/** What holds it. */
const packages: Packages = {
  pip: "nvidia-cuda-runtime",
  apt: (version) => `cuda-cudart-${version}`,
  conda: "nvidia cuda-cudart",
};

/** Where the CUDA runtime lies and what is called in it. */
export const library: LibrarySpec<typeof symbols> = {
  name: "cudart",
  title: "the CUDA runtime (libcudart)",
  variable: "DECAF_LIBCUDART",
  linux: [
    "libcudart.so.13",
    "libcudart.so.12",
    "libcudart.so.11.0",
    "libcudart.so",
  ],
  windows: ["cudart64_13.dll", "cudart64_12.dll", "cudart64_110.dll"],
  wheels: ["cu13", "cuda_runtime"],
  symbols,
  version: {
    functions: ["cudaRuntimeGetVersion"],
    read: (lib) => {
      lib.cudaRuntimeGetVersion(version);
      return version[0];
    },
    text: versionText,
    least: 11020,
  },
  install: (machine, cuda) => installing(packages, machine, cuda),
};

/** The functions of the opened library. */
export type Cudart = Deno.DynamicLibrary<typeof symbols>["symbols"];

let lib: Cudart | undefined;

/**
 * The CUDA runtime, opened at the first call.
 *
 * @throws {LibraryError} when it cannot be opened.
 */
export function cudart(): Cudart {
  return lib ??= openLibrary(library).symbols;
}

function textAt(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}

/** Name of a status: `cudaErrorIllegalAddress`. */
export function statusName(status: number): string {
  return textAt(cudart().cudaGetErrorName(status));
}

/** A status in words. */
export function statusText(status: number): string {
  return textAt(cudart().cudaGetErrorString(status));
}

/**
 * Throws when a call failed.
 *
 * @param status What the function returned.
 * @param name The function.
 * @param args The arguments that matter, where some do.
 * @throws {CudaError} when the status is not 0.
 */
export function check(status: number, name: string, args?: string): void {
  if (status !== 0) refuse(status, name, args);
}

function refuse(status: number, name: string, args?: string): never {
  // A status that is not sticky stays behind as the last error otherwise.
  cudart().cudaGetLastError();
  return fail({
    library: "cudart",
    function: name,
    status,
    statusName: statusName(status),
    text: statusText(status),
    ...args === undefined ? {} : { arguments: args },
  });
}

const int = new Int32Array(1);
const handle = new BigUint64Array(1);
const sizes = new BigUint64Array(2);
const free = sizes.subarray(0, 1);
const total = sizes.subarray(1, 2);

/** Status and number of GPUs; the status says why there is none. */
export function deviceCount(): { status: number; count: number } {
  int[0] = 0;
  const status = cudart().cudaGetDeviceCount(int);
  if (status !== 0) cudart().cudaGetLastError();
  return { status, count: status === 0 ? int[0] : 0 };
}

/** Newest version of CUDA that the driver supports; 0 without a driver. */
export function driverVersion(): number {
  int[0] = 0;
  cudart().cudaDriverGetVersion(int);
  return int[0];
}

/** A property of a GPU. */
export function attribute(
  name: keyof typeof deviceAttribute,
  device: number,
): number {
  check(
    cudart().cudaDeviceGetAttribute(int, deviceAttribute[name], device),
    "cudaDeviceGetAttribute",
    name,
  );
  return int[0];
}

/** A property of the link between two GPUs. */
export function linkAttribute(
  name: keyof typeof p2pAttribute,
  source: number,
  target: number,
): number {
  check(
    cudart().cudaDeviceGetP2PAttribute(
      int,
      p2pAttribute[name],
      source,
      target,
    ),
    "cudaDeviceGetP2PAttribute",
    name,
  );
  return int[0];
}

/** Whether a GPU can read and write the memory of another. */
export function canAccessPeer(device: number, peer: number): boolean {
  check(
    cudart().cudaDeviceCanAccessPeer(int, device, peer),
    "cudaDeviceCanAccessPeer",
  );
  return int[0] !== 0;
}

/** Place of a GPU on the PCI bus: `0000:17:00.0`. */
export function pciBusId(device: number): string {
  const text = new Uint8Array(32);
  check(
    cudart().cudaDeviceGetPCIBusId(text, text.length, device),
    "cudaDeviceGetPCIBusId",
  );
  return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
}

/** Free and total memory of the current device, in bytes. */
export function memoryInfo(): { free: number; total: number } {
  check(cudart().cudaMemGetInfo(free, total), "cudaMemGetInfo");
  return { free: Number(sizes[0]), total: Number(sizes[1]) };
}

/** The pool that `cudaMallocAsync` takes from. */
export function defaultPool(device: number): bigint {
  check(
    cudart().cudaDeviceGetDefaultMemPool(handle, device),
    "cudaDeviceGetDefaultMemPool",
  );
  return handle[0];
}

/** A stream that does not wait for the legacy default stream. */
export function createStream(): bigint {
  check(
    cudart().cudaStreamCreateWithFlags(handle, flags.StreamNonBlocking),
    "cudaStreamCreateWithFlags",
  );
  return handle[0];
}

/** An event; one without times is cheaper. */
export function createEvent(timing: boolean): bigint {
  check(
    cudart().cudaEventCreateWithFlags(
      handle,
      timing ? flags.EventDefault : flags.EventDisableTiming,
    ),
    "cudaEventCreateWithFlags",
  );
  return handle[0];
}

const milliseconds = new Float32Array(1);

/** Time between two recorded events, in milliseconds. */
export function elapsed(start: bigint, end: bigint): number {
  check(
    cudart().cudaEventElapsedTime(milliseconds, start, end),
    "cudaEventElapsedTime",
  );
  return milliseconds[0];
}

/** Page-locked memory of the host: its address, and its bytes. */
export function pinned(bytes: number): { address: bigint; bytes: Uint8Array } {
  check(
    cudart().cudaHostAlloc(handle, BigInt(bytes), flags.HostAllocDefault),
    "cudaHostAlloc",
    `${bytes} bytes`,
  );
  const address = handle[0];
  const pointer = Deno.UnsafePointer.create(address)!;
  const buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
  return { address, bytes: new Uint8Array(buffer) };
}
