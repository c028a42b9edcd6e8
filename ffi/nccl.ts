/**
 * NCCL: collectives among GPUs. Symbol table, constants, and thin calls that
 * throw when the library refuses. Versions 2.10 to 2.30.
 *
 * Communicators, streams and device addresses are bigints. Source: `nccl.h`.
 *
 * @module
 */

import { installing, type Packages } from "./install.ts";
import { fail } from "./errors.ts";
import {
  type LibrarySpec,
  type OpenedLibrary,
  openLibrary,
} from "./library.ts";

/** `ncclUniqueId`, 128 bytes that are passed by value. */
const uniqueId = {
  // deno-fmt-ignore
  struct: [
    "u64", "u64", "u64", "u64", "u64", "u64", "u64", "u64",
    "u64", "u64", "u64", "u64", "u64", "u64", "u64", "u64",
  ],
} as const satisfies Deno.NativeType;

/** Bytes of a unique id. */
export const uniqueIdBytes = 128;

/** The functions that Decaf calls, as `nccl.h` declares them. */
export const symbols = {
  ncclGetVersion: { parameters: ["buffer"], result: "i32" },
  ncclGetUniqueId: { parameters: ["buffer"], result: "i32" },
  ncclGetErrorString: { parameters: ["i32"], result: "pointer" },
  ncclGetLastError: {
    parameters: ["u64"],
    result: "pointer",
    optional: true, // since 2.13
  },
  ncclCommInitAll: {
    parameters: ["buffer", "i32", "buffer"],
    result: "i32",
  },
  ncclCommInitRank: {
    parameters: ["buffer", "i32", uniqueId, "i32"],
    result: "i32",
  },
  ncclCommInitRankConfig: {
    parameters: ["buffer", "i32", uniqueId, "i32", "buffer"],
    result: "i32",
    optional: true, // since 2.14
  },
  ncclCommFinalize: {
    parameters: ["u64"],
    result: "i32",
    optional: true, // since 2.14
  },
  ncclCommDestroy: { parameters: ["u64"], result: "i32" },
  ncclCommAbort: { parameters: ["u64"], result: "i32" },
  ncclCommGetAsyncError: { parameters: ["u64", "buffer"], result: "i32" },
  ncclCommCount: { parameters: ["u64", "buffer"], result: "i32" },
  ncclCommCuDevice: { parameters: ["u64", "buffer"], result: "i32" },
  ncclCommUserRank: { parameters: ["u64", "buffer"], result: "i32" },
  ncclGroupStart: { parameters: [], result: "i32" },
  ncclGroupEnd: { parameters: [], result: "i32" },
  // what is sent, what is received, elements, type, operation, communicator, stream
  ncclAllReduce: {
    parameters: ["u64", "u64", "usize", "i32", "i32", "u64", "u64"],
    result: "i32",
  },
  ncclReduceScatter: {
    parameters: ["u64", "u64", "usize", "i32", "i32", "u64", "u64"],
    result: "i32",
  },
  // …, operation, root, communicator, stream
  ncclReduce: {
    parameters: ["u64", "u64", "usize", "i32", "i32", "i32", "u64", "u64"],
    result: "i32",
  },
  // …, type, root, communicator, stream
  ncclBroadcast: {
    parameters: ["u64", "u64", "usize", "i32", "i32", "u64", "u64"],
    result: "i32",
  },
  ncclAllGather: {
    parameters: ["u64", "u64", "usize", "i32", "u64", "u64"],
    result: "i32",
  },
  // address, elements, type, peer, communicator, stream
  ncclSend: {
    parameters: ["u64", "usize", "i32", "i32", "u64", "u64"],
    result: "i32",
  },
  ncclRecv: {
    parameters: ["u64", "usize", "i32", "i32", "u64", "u64"],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** `ncclResult_t`. */
export const result = {
  Success: 0,
  UnhandledCudaError: 1,
  SystemError: 2,
  InternalError: 3,
  InvalidArgument: 4,
  InvalidUsage: 5,
  RemoteError: 6,
  InProgress: 7,
  Timeout: 8,
} as const;

/** `ncclDataType_t`. */
export const dataType = {
  Int8: 0,
  Uint8: 1,
  Int32: 2,
  Int64: 4,
  Float16: 6,
  Float32: 7,
  Float64: 8,
  Bfloat16: 9,
} as const;

/** `ncclRedOp_t`. */
export const redOp = {
  Sum: 0,
  Prod: 1,
  Max: 2,
  Min: 3,
  Avg: 4,
} as const;

/** `NCCL_API_MAGIC`: the first thing that the library looks at in a configuration. */
export const apiMagic = 0xcafebeef;

/** Where the first fields of `ncclConfig_t` stand. */
export const config = { size: 0, magic: 8, version: 12, blocking: 16 } as const;

/** `NCCL_VERSION_CODE` as people write it: 23007 is `2.30.7`. */
export function versionText(version: number): string {
  const base = version < 10_000 ? 1000 : 10_000;
  const major = Math.floor(version / base);
  const minor = Math.floor(version % base / 100);
  return `${major}.${minor}.${version % 100}`;
}

const int = new Int32Array(1);

/** What holds it. */
const packages: Packages = {
  pip: "nvidia-nccl",
  marked: true,
  apt: () => "libnccl2",
  conda: "conda-forge nccl",
};

/** Where NCCL lies and what is called in it. */
export const library: LibrarySpec<typeof symbols> = {
  name: "nccl",
  title: "NCCL",
  variable: "DECAF_LIBNCCL",
  linux: ["libnccl.so.2", "libnccl.so"],
  windows: ["nccl.dll"],
  wheels: ["nccl"],
  symbols,
  version: {
    functions: ["ncclGetVersion"],
    read: (lib) => {
      lib.ncclGetVersion(int);
      return int[0];
    },
    text: versionText,
    least: 21000,
  },
  install: (machine, cuda) => installing(packages, machine, cuda),
};

/** NCCL, opened. */
export type Nccl = OpenedLibrary<typeof symbols>;

let opened: Nccl | undefined;

/**
 * Opens NCCL at the first call.
 *
 * @throws {LibraryError} when it cannot be opened.
 */
export function nccl(): Nccl {
  return opened ??= openLibrary(library);
}

/** Name of a status: `ncclRemoteError`. */
export function statusName(status: number): string {
  const found = Object.entries(result).find(([, value]) => value === status);
  return found === undefined ? `status ${status}` : `nccl${found[0]}`;
}

function textAt(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}

/** A status in words, with what the library said last, where it says more. */
export function statusText(status: number, communicator = 0n): string {
  const { ncclGetErrorString, ncclGetLastError } = nccl().symbols;
  const text = textAt(ncclGetErrorString(status));
  const last = textAt(ncclGetLastError?.(communicator) ?? null).trim();
  return last === "" ? text : `${text}; NCCL says: ${last}`;
}

/** What matters of a call that failed. */
export interface CheckDetails {
  /** Communicator of the call. */
  readonly communicator?: bigint;
  /** The arguments that matter. */
  readonly arguments?: string;
}

/**
 * Throws when a call failed. Work that goes on (`ncclInProgress`) is no failure.
 *
 * @param status What the function returned.
 * @param name The function.
 * @throws {CudaError} when the status is neither 0 nor 7.
 */
export function check(
  status: number,
  name: string,
  details: CheckDetails = {},
): void {
  if (status === result.Success || status === result.InProgress) return;
  const { communicator, arguments: args } = details;
  fail({
    library: "nccl",
    function: name,
    status,
    statusName: statusName(status),
    text: statusText(status, communicator),
    ...args === undefined ? {} : { arguments: args },
  });
}

/** Names a meeting that `initRank` can join, on this host. */
export function getUniqueId(): Uint8Array<ArrayBuffer> {
  const id = new Uint8Array(uniqueIdBytes);
  check(nccl().symbols.ncclGetUniqueId(id), "ncclGetUniqueId");
  return id;
}

/** Joins GPUs of this process; returns a communicator for each. */
export function initAll(devices: readonly number[]): bigint[] {
  const handles = new BigUint64Array(devices.length);
  check(
    nccl().symbols.ncclCommInitAll(
      handles,
      devices.length,
      Int32Array.from(devices),
    ),
    "ncclCommInitAll",
    { arguments: `devices ${devices.join(", ")}` },
  );
  return [...handles];
}

/** Rank and number of ranks to join, and where. */
export interface Seat {
  /** Rank. */
  readonly rank: number;
  /** Number of ranks. */
  readonly worldSize: number;
  /** What `getUniqueId` gave to one of them. */
  readonly id: Uint8Array<ArrayBuffer>;
}

/**
 * Joins other processes with the current GPU. Versions from 2.14 on return at
 * once: `asyncError` is `InProgress` until all ranks are there. Older ones wait.
 */
export function initRank({ rank, worldSize, id }: Seat): bigint {
  const handle = new BigUint64Array(1);
  const { ncclCommInitRank, ncclCommInitRankConfig } = nccl().symbols;
  const args = { arguments: `rank ${rank} of ${worldSize}` };
  if (ncclCommInitRankConfig === null) {
    check(
      ncclCommInitRank(handle, worldSize, id, rank),
      "ncclCommInitRank",
      args,
    );
    return handle[0];
  }
  check(
    ncclCommInitRankConfig(handle, worldSize, id, rank, nonBlocking()),
    "ncclCommInitRankConfig",
    args,
  );
  return handle[0];
}

/** `ncclConfig_t` as it was in 2.14, which all later versions take: size, magic, version, blocking. */
function nonBlocking(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(config.size, BigInt(bytes.length), true);
  view.setUint32(config.magic, apiMagic, true);
  view.setUint32(config.version, 21400, true);
  view.setInt32(config.blocking, 0, true);
  return bytes;
}

/** State of a communicator: 0, `InProgress`, or what went wrong outside of any call. */
export function asyncError(communicator: bigint): number {
  check(
    nccl().symbols.ncclCommGetAsyncError(communicator, int),
    "ncclCommGetAsyncError",
    { communicator },
  );
  return int[0];
}

/** What a communicator says of itself. */
export function describe(
  communicator: bigint,
): { rank: number; worldSize: number; device: number } {
  const { ncclCommCount, ncclCommUserRank, ncclCommCuDevice } = nccl().symbols;
  const ask = (name: string, status: number) => {
    check(status, name, { communicator });
    return int[0];
  };
  return {
    worldSize: ask("ncclCommCount", ncclCommCount(communicator, int)),
    rank: ask("ncclCommUserRank", ncclCommUserRank(communicator, int)),
    device: ask("ncclCommCuDevice", ncclCommCuDevice(communicator, int)),
  };
}
