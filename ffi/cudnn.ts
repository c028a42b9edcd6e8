/**
 * cuDNN: the graphs of its backend API, which plan and run convolutions,
 * pooling, normalisations and attention.
 *
 * @module
 */

import { installing, type Packages } from "./install.ts";
import { fail, type FailedCall } from "./errors.ts";
import {
  type LibrarySpec,
  type OpenedLibrary,
  openLibrary,
} from "./library.ts";

/** Functions that are called. */
export const symbols = {
  cudnnGetVersion: { parameters: [], result: "usize" },
  cudnnGetErrorString: { parameters: ["u32"], result: "pointer" },
  cudnnGetLastErrorString: {
    parameters: ["buffer", "usize"],
    result: "void",
    optional: true,
  },
  cudnnCreate: { parameters: ["buffer"], result: "u32" },
  cudnnDestroy: { parameters: ["u64"], result: "u32" },
  cudnnSetStream: { parameters: ["u64", "u64"], result: "u32" },
  cudnnBackendCreateDescriptor: {
    parameters: ["u32", "buffer"],
    result: "u32",
  },
  cudnnBackendDestroyDescriptor: { parameters: ["u64"], result: "u32" },
  cudnnBackendFinalize: { parameters: ["u64"], result: "u32" },
  cudnnBackendSetAttribute: {
    parameters: ["u64", "u32", "u32", "i64", "buffer"],
    result: "u32",
  },
  cudnnBackendGetAttribute: {
    parameters: ["u64", "u32", "u32", "i64", "buffer", "buffer"],
    result: "u32",
  },
  cudnnBackendExecute: { parameters: ["u64", "u64", "u64"], result: "u32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Versions up to 8 count thousands, later ones ten thousands. */
function versionText(version: number): string {
  const unit = version < 10_000 ? 1000 : 10_000;
  const rest = version % unit;
  return `${Math.floor(version / unit)}.${Math.floor(rest / 100)}.${
    rest % 100
  }`;
}

/** What holds it. */
const packages: Packages = {
  pip: "nvidia-cudnn",
  marked: true,
  apt: (version) => `libcudnn9-cuda-${version.split("-")[0]}`,
  conda: "nvidia cudnn",
};

/** How cuDNN is found. */
export const cudnnLibrary: LibrarySpec<typeof symbols> = {
  name: "cudnn",
  title: "cuDNN",
  variable: "DECAF_LIBCUDNN",
  linux: ["libcudnn.so.9", "libcudnn.so.8"],
  windows: ["cudnn64_9.dll", "cudnn64_8.dll"],
  wheels: ["cudnn"],
  symbols,
  version: {
    functions: ["cudnnGetVersion"],
    read: (library) => Number(library.cudnnGetVersion()),
    text: versionText,
    least: 8900,
  },
  install: (machine, cuda) => installing(packages, machine, cuda),
};

/** cuDNN, opened. */
export type Cudnn = OpenedLibrary<typeof symbols>;

/**
 * cuDNN, opened at the first call.
 *
 * @throws {LibraryError} when it cannot be opened.
 */
export function openCudnn(): Cudnn {
  return openLibrary(cudnnLibrary);
}

const messageBytes = 4096;

/** The name of a status, as the library tells it. */
export function statusName({ symbols }: Cudnn, status: number): string {
  const text = symbols.cudnnGetErrorString(status);
  return text === null
    ? "unknown status"
    : Deno.UnsafePointerView.getCString(text);
}

/** What the library says about its last failure; undefined where it says nothing (before version 9). */
export function lastMessage({ symbols }: Cudnn): string | undefined {
  if (symbols.cudnnGetLastErrorString == null) return undefined;
  const bytes = new Uint8Array(messageBytes);
  symbols.cudnnGetLastErrorString(bytes, BigInt(messageBytes));
  const end = bytes.indexOf(0);
  const text = new TextDecoder().decode(
    bytes.subarray(0, end < 0 ? messageBytes : end),
  ).trim();
  return text === "" ? undefined : text.replace(/\s*\n\s*/g, "; ");
}

/** The failure as an error knows it. */
function failedCall(
  cudnn: Cudnn,
  name: keyof typeof symbols,
  status: number,
  args?: string,
): FailedCall {
  return {
    library: "cudnn",
    function: name,
    status,
    statusName: statusName(cudnn, status),
    text: lastMessage(cudnn),
    arguments: args,
  };
}

/**
 * Throws when a call failed.
 *
 * @throws {CudaError} when the status is not 0.
 */
export function checkCudnn(
  cudnn: Cudnn,
  name: keyof typeof symbols,
  status: number,
  args?: string,
): void {
  if (status !== 0) fail(failedCall(cudnn, name, status, args));
}
