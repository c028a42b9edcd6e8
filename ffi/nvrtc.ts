/**
 * NVRTC: compiles CUDA C while the program runs.
 *
 * Source: `nvrtc.h` of CUDA 11.2 to 13.
 *
 * @module
 */

import { installing, type Packages } from "./install.ts";
import { fail } from "./errors.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";

/** Functions of NVRTC that Decaf calls. */
export const symbols = {
  nvrtcVersion: { parameters: ["buffer", "buffer"], result: "i32" },
  nvrtcGetErrorString: { parameters: ["i32"], result: "pointer" },
  nvrtcGetNumSupportedArchs: { parameters: ["buffer"], result: "i32" },
  nvrtcGetSupportedArchs: { parameters: ["buffer"], result: "i32" },
  nvrtcCreateProgram: {
    parameters: ["buffer", "buffer", "buffer", "i32", "buffer", "buffer"],
    result: "i32",
  },
  nvrtcDestroyProgram: { parameters: ["buffer"], result: "i32" },
  nvrtcCompileProgram: { parameters: ["u64", "i32", "buffer"], result: "i32" },
  nvrtcGetProgramLogSize: { parameters: ["u64", "buffer"], result: "i32" },
  nvrtcGetProgramLog: { parameters: ["u64", "buffer"], result: "i32" },
  nvrtcGetCUBINSize: { parameters: ["u64", "buffer"], result: "i32" },
  nvrtcGetCUBIN: { parameters: ["u64", "buffer"], result: "i32" },
  nvrtcGetPTXSize: { parameters: ["u64", "buffer"], result: "i32" },
  nvrtcGetPTX: { parameters: ["u64", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** `nvrtcResult`: the statuses that Decaf treats in a way of their own. */
export const nvrtcResult = {
  SUCCESS: 0,
  ERROR_COMPILATION: 6,
} as const;

const major = new Int32Array(1);
const minor = new Int32Array(1);

/** What holds it. */
const packages: Packages = {
  pip: "nvidia-cuda-nvrtc",
  apt: (version) => `cuda-nvrtc-${version}`,
  conda: "nvidia cuda-nvrtc",
};

/** Where NVRTC lies and what is called in it. */
export const library: LibrarySpec<typeof symbols> = {
  name: "nvrtc",
  title: "NVIDIA's runtime compiler (libnvrtc)",
  variable: "DECAF_LIBNVRTC",
  linux: [
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "libnvrtc.so.11.2",
    "libnvrtc.so",
  ],
  windows: ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll"],
  wheels: ["cu13", "cuda_nvrtc"],
  symbols,
  version: {
    functions: ["nvrtcVersion"],
    read: (lib) => {
      lib.nvrtcVersion(major, minor);
      return 100 * major[0] + minor[0];
    },
    text: (version) => `${Math.floor(version / 100)}.${version % 100}`,
    least: 1102,
  },
  install: (machine, cuda) => installing(packages, machine, cuda),
};

/** The functions of the opened library. */
export type Nvrtc = Deno.DynamicLibrary<typeof symbols>["symbols"];

let lib: Nvrtc | undefined;

/**
 * NVRTC, opened at the first call.
 *
 * @throws {LibraryError} when it cannot be opened.
 */
function nvrtc(): Nvrtc {
  return lib ??= openLibrary(library).symbols;
}

function check(status: number, name: string): void {
  if (status === 0) return;
  const text = nvrtc().nvrtcGetErrorString(status);
  fail({
    library: "nvrtc",
    function: name,
    status,
    statusName: text === null
      ? "an unknown status"
      : Deno.UnsafePointerView.getCString(text),
  });
}

/** Architectures that the library makes machine code for, ascending: 75, 80, … */
export function supportedArchitectures(): number[] {
  const count = new Int32Array(1);
  check(nvrtc().nvrtcGetNumSupportedArchs(count), "nvrtcGetNumSupportedArchs");
  const list = new Int32Array(count[0]);
  check(nvrtc().nvrtcGetSupportedArchs(list), "nvrtcGetSupportedArchs");
  return [...list];
}

/** What became of a source text. */
export interface Compilation {
  /** Machine code or PTX; undefined when the source has errors. */
  readonly code: Uint8Array<ArrayBuffer> | undefined;
  /** What the compiler said. */
  readonly log: string;
}

const size = new BigUint64Array(1);
const program = new BigUint64Array(1);
const bytesOf = (text: string) => new TextEncoder().encode(`${text}\0`);

/**
 * Compiles CUDA C.
 *
 * @param source The text.
 * @param options Options of the compiler, one a string.
 * @param form Machine code for one architecture, or PTX.
 * @throws {CudaError} when the library fails for another reason than the source.
 */
export function compile(
  source: string,
  options: readonly string[],
  form: "cubin" | "ptx",
): Compilation {
  const lib = nvrtc();
  const texts = options.map(bytesOf);
  const pointers = BigUint64Array.from(
    texts,
    (text) => BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(text))),
  );
  check(
    lib.nvrtcCreateProgram(
      program,
      bytesOf(source),
      bytesOf("kernel.cu"),
      0,
      null,
      null,
    ),
    "nvrtcCreateProgram",
  );
  const handle = program[0];
  try {
    const status = lib.nvrtcCompileProgram(handle, texts.length, pointers);
    if (status !== nvrtcResult.ERROR_COMPILATION) {
      check(status, "nvrtcCompileProgram");
    }
    const log = logOf(lib, handle);
    const code = status === 0 ? codeOf(lib, handle, form) : undefined;
    return { code, log };
  } finally {
    program[0] = handle;
    lib.nvrtcDestroyProgram(program);
  }
}

function logOf(lib: Nvrtc, handle: bigint): string {
  check(lib.nvrtcGetProgramLogSize(handle, size), "nvrtcGetProgramLogSize");
  const log = new Uint8Array(Number(size[0]));
  check(lib.nvrtcGetProgramLog(handle, log), "nvrtcGetProgramLog");
  return new TextDecoder().decode(log).replace(/\0+$/, "").trim();
}

function codeOf(
  lib: Nvrtc,
  handle: bigint,
  form: "cubin" | "ptx",
): Uint8Array<ArrayBuffer> {
  const cubin = form === "cubin";
  check(
    cubin
      ? lib.nvrtcGetCUBINSize(handle, size)
      : lib.nvrtcGetPTXSize(handle, size),
    cubin ? "nvrtcGetCUBINSize" : "nvrtcGetPTXSize",
  );
  const code = new Uint8Array(Number(size[0]));
  check(
    cubin ? lib.nvrtcGetCUBIN(handle, code) : lib.nvrtcGetPTX(handle, code),
    cubin ? "nvrtcGetCUBIN" : "nvrtcGetPTX",
  );
  return code;
}
