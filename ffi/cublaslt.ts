/**
 * cuBLASLt: matrix products with epilogues. Symbol table, constants, and thin
 * calls that throw when the library refuses. CUDA 11, 12 and 13.
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

/** The functions that Decaf calls, as `cublasLt.h` declares them. */
export const symbols = {
  cublasLtGetVersion: { parameters: [], result: "usize" },
  cublasLtCreate: { parameters: ["buffer"], result: "i32" },
  cublasLtDestroy: { parameters: ["u64"], result: "i32" },
  cublasLtMatmulDescCreate: {
    parameters: ["buffer", "i32", "i32"],
    result: "i32",
  },
  cublasLtMatmulDescDestroy: { parameters: ["u64"], result: "i32" },
  cublasLtMatmulDescSetAttribute: {
    parameters: ["u64", "i32", "buffer", "usize"],
    result: "i32",
  },
  cublasLtMatrixLayoutCreate: {
    parameters: ["buffer", "i32", "u64", "u64", "i64"],
    result: "i32",
  },
  cublasLtMatrixLayoutDestroy: { parameters: ["u64"], result: "i32" },
  cublasLtMatrixLayoutSetAttribute: {
    parameters: ["u64", "i32", "buffer", "usize"],
    result: "i32",
  },
  cublasLtMatmulPreferenceCreate: { parameters: ["buffer"], result: "i32" },
  cublasLtMatmulPreferenceDestroy: { parameters: ["u64"], result: "i32" },
  cublasLtMatmulPreferenceSetAttribute: {
    parameters: ["u64", "i32", "buffer", "usize"],
    result: "i32",
  },
  // handle, operation, A, B, C, D, preference, how many, results, how many there are
  cublasLtMatmulAlgoGetHeuristic: {
    parameters: [
      "u64",
      "u64",
      "u64",
      "u64",
      "u64",
      "u64",
      "u64",
      "i32",
      "buffer",
      "buffer",
    ],
    result: "i32",
  },
  // handle, operation, A, B, C, D, algorithm, result
  cublasLtMatmulAlgoCheck: {
    parameters: ["u64", "u64", "u64", "u64", "u64", "u64", "buffer", "buffer"],
    result: "i32",
  },
  // handle, operation, α, A, its layout, B, its layout, β, C, its layout, D, its layout, algorithm, workspace, its bytes, stream
  cublasLtMatmul: {
    parameters: [
      "u64",
      "u64",
      "buffer",
      "u64",
      "u64",
      "u64",
      "u64",
      "buffer",
      "u64",
      "u64",
      "u64",
      "u64",
      "buffer",
      "u64",
      "usize",
      "u64",
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** `cublasStatus_t`. */
export const Status = {
  SUCCESS: 0,
  NOT_INITIALIZED: 1,
  ALLOC_FAILED: 3,
  INVALID_VALUE: 7,
  ARCH_MISMATCH: 8,
  MAPPING_ERROR: 11,
  EXECUTION_FAILED: 13,
  INTERNAL_ERROR: 14,
  NOT_SUPPORTED: 15,
  LICENSE_ERROR: 16,
} as const;

/** What each status means, in words. */
const statusText: Readonly<Record<keyof typeof Status, string>> = {
  SUCCESS: "no error",
  NOT_INITIALIZED:
    "the library could not start: no driver, no GPU, or one that it does not support",
  ALLOC_FAILED: "the library has no memory left",
  INVALID_VALUE: "an argument is out of its range, or arguments contradict",
  ARCH_MISMATCH: "this GPU lacks a feature that the product needs",
  MAPPING_ERROR: "a memory mapping failed",
  EXECUTION_FAILED: "the GPU reported an error",
  INTERNAL_ERROR: "an operation inside the library failed",
  NOT_SUPPORTED: "this combination is not supported on this GPU",
  LICENSE_ERROR: "the library wants a licence",
};

/** `cudaDataType_t`: the types that Decaf multiplies. */
export const DataType = {
  R_32F: 0,
  R_64F: 1,
  R_16F: 2,
  R_16BF: 14,
  R_8F_E4M3: 28,
  R_8F_E5M2: 29,
} as const;

/** `cublasComputeType_t`. */
export const ComputeType = {
  C_32F: 68,
  C_64F: 70,
  C_32F_FAST_TF32: 77,
} as const;

/** `cublasOperation_t`. */
export const Operation = { N: 0, T: 1 } as const;

/** `cublasLtMatmulDescAttributes_t`, with the bytes of each attribute in {@linkcode descBytes}. */
export const DescAttribute = {
  TRANSA: 3,
  TRANSB: 4,
  EPILOGUE: 7,
  BIAS_POINTER: 8,
  EPILOGUE_AUX_POINTER: 11,
  EPILOGUE_AUX_LD: 12,
  A_SCALE_POINTER: 17,
  B_SCALE_POINTER: 18,
  FAST_ACCUM: 25,
  BIAS_DATA_TYPE: 26,
} as const;

/** Bytes of each attribute of an operation. */
export const descBytes: Readonly<Record<keyof typeof DescAttribute, number>> = {
  TRANSA: 4,
  TRANSB: 4,
  EPILOGUE: 4,
  BIAS_POINTER: 8,
  EPILOGUE_AUX_POINTER: 8,
  EPILOGUE_AUX_LD: 8,
  A_SCALE_POINTER: 8,
  B_SCALE_POINTER: 8,
  FAST_ACCUM: 1,
  BIAS_DATA_TYPE: 4,
};

/** `cublasLtMatrixLayoutAttribute_t`, with the bytes of each attribute in {@linkcode layoutBytes}. */
export const LayoutAttribute = {
  BATCH_COUNT: 5,
  STRIDED_BATCH_OFFSET: 6,
} as const;

/** Bytes of each attribute of a layout. */
export const layoutBytes: Readonly<
  Record<keyof typeof LayoutAttribute, number>
> = { BATCH_COUNT: 4, STRIDED_BATCH_OFFSET: 8 };

/** `cublasLtMatmulPreferenceAttributes_t`, with the bytes of each attribute in {@linkcode preferenceBytes}. */
export const PreferenceAttribute = {
  MAX_WORKSPACE_BYTES: 1,
  REDUCTION_SCHEME_MASK: 3,
  MIN_ALIGNMENT_A_BYTES: 5,
  MIN_ALIGNMENT_B_BYTES: 6,
  MIN_ALIGNMENT_C_BYTES: 7,
  MIN_ALIGNMENT_D_BYTES: 8,
} as const;

/** Bytes of each attribute of a preference. */
export const preferenceBytes: Readonly<
  Record<keyof typeof PreferenceAttribute, number>
> = {
  MAX_WORKSPACE_BYTES: 8,
  REDUCTION_SCHEME_MASK: 4,
  MIN_ALIGNMENT_A_BYTES: 4,
  MIN_ALIGNMENT_B_BYTES: 4,
  MIN_ALIGNMENT_C_BYTES: 4,
  MIN_ALIGNMENT_D_BYTES: 4,
};

/** `cublasLtReductionScheme_t`: how the parts of a sum that were computed side by side are added. */
export const ReductionScheme = {
  NONE: 0,
  INPLACE: 1,
  COMPUTE_TYPE: 2,
  OUTPUT_TYPE: 4,
  MASK: 7,
} as const;

/** `cublasLtEpilogue_t`: what happens to the product before it is stored. */
export const Epilogue = {
  DEFAULT: 1,
  RELU: 2,
  RELU_AUX: 130,
  BIAS: 4,
  RELU_BIAS: 6,
  RELU_AUX_BIAS: 134,
  DRELU: 136,
  DRELU_BGRAD: 152,
  GELU: 32,
  GELU_AUX: 160,
  GELU_BIAS: 36,
  GELU_AUX_BIAS: 164,
  DGELU: 192,
  DGELU_BGRAD: 208,
  BGRADA: 256,
  BGRADB: 512,
} as const;

/** Bytes of `cublasLtMatmulAlgo_t`. */
export const algoBytes = 64;

/** `cublasLtMatmulHeuristicResult_t`: its bytes, and where its fields lie after the algorithm. */
export const HeuristicResult = {
  bytes: 96,
  workspaceSize: 64,
  state: 72,
  wavesCount: 76,
} as const;

/** Version as people write it; until CUDA 11 the number had fewer digits per part. */
function versionText(version: number): string {
  const [major, rest] = version < 100_000
    ? [11, version - 11_000]
    : [Math.floor(version / 10_000), version % 10_000];
  return `${major}.${Math.floor(rest / 100)}.${rest % 100}`;
}

/** What holds it. */
const packages: Packages = {
  pip: "nvidia-cublas",
  apt: (version) => `libcublas-${version}`,
  conda: "nvidia libcublas",
};

/** How cuBLASLt is found. */
export const library: LibrarySpec<typeof symbols> = {
  name: "cublasLt",
  title: "cuBLASLt",
  variable: "DECAF_LIBCUBLASLT",
  linux: ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"],
  windows: ["cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll"],
  wheels: ["cu13", "cublas"],
  symbols,
  version: {
    functions: ["cublasLtGetVersion"],
    read: (symbols) => Number(symbols.cublasLtGetVersion()),
    text: versionText,
    least: 11_000,
  },
  install: (machine, cuda) => installing(packages, machine, cuda),
};

/** cuBLASLt, opened. */
export type CublasLt = OpenedLibrary<typeof symbols>;

/**
 * Opens cuBLASLt at the first call.
 *
 * @throws {LibraryError} when it cannot be opened.
 */
export function cublasLt(): CublasLt {
  return openLibrary(library);
}

const names = new Map<number, keyof typeof Status>(
  Object.entries(Status).map(([name, value]) => [
    value,
    name as keyof typeof Status,
  ]),
);

/**
 * Throws for any status but success.
 *
 * @param status What the function returned.
 * @param function_ Name of the function.
 * @param args The arguments that matter, in words.
 * @throws {CudaError} unless the status is success.
 */
export function check(status: number, function_: string, args?: string): void {
  if (status === Status.SUCCESS) return;
  const name = names.get(status);
  fail({
    library: "cublasLt",
    function: function_,
    status,
    statusName: name === undefined
      ? "an unknown status"
      : `CUBLAS_STATUS_${name}`,
    text: name && statusText[name],
    arguments: args,
  });
}

/** A place for one 64-bit result or attribute. */
const word = new BigUint64Array(1);
const wordBytes = new Uint8Array(word.buffer);
const view = new DataView(word.buffer);

/** Makes a handle on the current device. */
export function createHandle({ symbols }: CublasLt): bigint {
  check(symbols.cublasLtCreate(wordBytes), "cublasLtCreate");
  return word[0];
}

/** Makes the description of an operation. */
export function createDesc(
  { symbols }: CublasLt,
  compute: number,
  scale: number,
): bigint {
  const status = symbols.cublasLtMatmulDescCreate(wordBytes, compute, scale);
  check(
    status,
    "cublasLtMatmulDescCreate",
    `compute type ${compute}, scale type ${scale}`,
  );
  return word[0];
}

/** Makes the description of a column-major matrix. */
export function createLayout(
  { symbols }: CublasLt,
  type: number,
  rows: number,
  columns: number,
  ld: number,
): bigint {
  const status = symbols.cublasLtMatrixLayoutCreate(
    wordBytes,
    type,
    BigInt(rows),
    BigInt(columns),
    BigInt(ld),
  );
  check(
    status,
    "cublasLtMatrixLayoutCreate",
    `type ${type}, ${rows} rows, ${columns} columns, leading dimension ${ld}`,
  );
  return word[0];
}

/** Makes the description of what the search for an algorithm may use. */
export function createPreference({ symbols }: CublasLt): bigint {
  check(
    symbols.cublasLtMatmulPreferenceCreate(wordBytes),
    "cublasLtMatmulPreferenceCreate",
  );
  return word[0];
}

/** Puts a value where the attribute setters read it. */
function put(value: number | bigint, bytes: number): bigint {
  if (bytes === 8) view.setBigInt64(0, BigInt(value), true);
  else if (bytes === 4) view.setInt32(0, Number(value), true);
  else view.setInt8(0, Number(value));
  return BigInt(bytes);
}

/** Sets an attribute of an operation. */
export function setDesc(
  { symbols }: CublasLt,
  desc: bigint,
  name: keyof typeof DescAttribute,
  value: number | bigint,
): void {
  const bytes = put(value, descBytes[name]);
  const status = symbols.cublasLtMatmulDescSetAttribute(
    desc,
    DescAttribute[name],
    wordBytes,
    bytes,
  );
  if (status !== 0) {
    check(status, "cublasLtMatmulDescSetAttribute", `${name} = ${value}`);
  }
}

/** Sets an attribute of a layout. */
export function setLayout(
  { symbols }: CublasLt,
  layout: bigint,
  name: keyof typeof LayoutAttribute,
  value: number | bigint,
): void {
  const bytes = put(value, layoutBytes[name]);
  const status = symbols.cublasLtMatrixLayoutSetAttribute(
    layout,
    LayoutAttribute[name],
    wordBytes,
    bytes,
  );
  check(status, "cublasLtMatrixLayoutSetAttribute", `${name} = ${value}`);
}

/** Sets an attribute of a preference. */
export function setPreference(
  { symbols }: CublasLt,
  preference: bigint,
  name: keyof typeof PreferenceAttribute,
  value: number | bigint,
): void {
  const bytes = put(value, preferenceBytes[name]);
  const status = symbols.cublasLtMatmulPreferenceSetAttribute(
    preference,
    PreferenceAttribute[name],
    wordBytes,
    bytes,
  );
  check(status, "cublasLtMatmulPreferenceSetAttribute", `${name} = ${value}`);
}
