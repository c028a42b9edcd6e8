/**
 * Every symbol table entry, constant and size of the bindings against NVIDIA's
 * own headers, where they are installed.
 */

import { assert, assertEquals } from "@std/assert";
import * as cublasLt from "../ffi/cublaslt.ts";
import * as cuda from "../ffi/cuda.ts";
import * as cudart from "../ffi/cudart.ts";
import * as cudnn from "../ffi/cudnn.ts";
import * as cudnnEnums from "../ffi/cudnn_enums.ts";
import * as cudnnRnn from "../ffi/cudnn_rnn.ts";
import * as nccl from "../ffi/nccl.ts";
import * as nvrtc from "../ffi/nvrtc.ts";
import {
  askHeaders,
  codesOf,
  headerFolders,
  nvidiaFolder,
} from "./c_headers.ts";

/** What one library's bindings claim. */
interface Bindings {
  /** Headers that declare it. */
  readonly headers: readonly string[];
  /** Symbol table. */
  readonly symbols: Deno.ForeignLibraryInterface;
  /** Numbers by the C expression that has them. */
  readonly values: Readonly<Record<string, number>>;
}

/** Constants by their names in C. */
function named(
  prefix: string,
  constants: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(constants).map(([name, value]) => [prefix + name, value]),
  );
}

/** Where fields of a struct stand. */
function offsets(
  struct: string,
  fields: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(fields).map(([field, offset]) => [
      `offsetof(${struct}, ${field})`,
      offset,
    ]),
  );
}

/** One line per library; whoever binds another adds his. */
const table: Readonly<Record<string, Bindings>> = {
  cudart: {
    headers: ["cuda_runtime_api.h"],
    symbols: cudart.symbols,
    values: {
      ...named("cudaError", without(cudart.cudaError, "Success")),
      cudaSuccess: cudart.cudaError.Success,
      ...named("cudaMemcpy", cudart.memcpyKind),
      ...named("cudaDevAttr", cudart.deviceAttribute),
      cudaMemPoolAttrReleaseThreshold: cudart.memPoolAttribute.ReleaseThreshold,
      cudaMemPoolAttrReservedMemCurrent:
        cudart.memPoolAttribute.ReservedMemCurrent,
      cudaMemPoolAttrUsedMemCurrent: cudart.memPoolAttribute.UsedMemCurrent,
      ...named("cudaDevP2PAttr", cudart.p2pAttribute),
      ...named("cuda", cudart.flags),
      cudaMemLocationTypeDevice: cudart.memAccess.LocationTypeDevice,
      cudaMemAccessFlagsProtReadWrite: cudart.memAccess.FlagsProtReadWrite,
      "sizeof(cudaMemAccessDesc)": 12,
      "offsetof(cudaMemAccessDesc, location.type)": 0,
      "offsetof(cudaMemAccessDesc, location.id)": 4,
      "offsetof(cudaMemAccessDesc, flags)": 8,
    },
  },
  cuda: {
    headers: ["cuda.h"],
    symbols: cuda.symbols,
    values: {
      CUDA_SUCCESS: cuda.cuResult.SUCCESS,
      ...named("CUDA_ERROR_", without(cuda.cuResult, "SUCCESS")),
      ...named("CU_FUNC_ATTRIBUTE_", cuda.functionAttribute),
      "sizeof(CUDA_KERNEL_NODE_PARAMS_v2)": cuda.kernelNodeParams.bytes,
      ...offsets(
        "CUDA_KERNEL_NODE_PARAMS_v2",
        without(cuda.kernelNodeParams, "bytes"),
      ),
    },
  },
  nvrtc: {
    headers: ["nvrtc.h"],
    symbols: nvrtc.symbols,
    values: named("NVRTC_", nvrtc.nvrtcResult),
  },
  cublasLt: {
    headers: ["cublasLt.h"],
    symbols: cublasLt.symbols,
    values: {
      ...named("CUBLAS_STATUS_", cublasLt.Status),
      ...named("CUDA_", cublasLt.DataType),
      ...named(
        "CUBLAS_COMPUTE_",
        renamed(cublasLt.ComputeType, (name) => name.replace("C_", "")),
      ),
      ...named("CUBLAS_OP_", cublasLt.Operation),
      ...named("CUBLASLT_MATMUL_DESC_", cublasLt.DescAttribute),
      ...named("CUBLASLT_MATRIX_LAYOUT_", cublasLt.LayoutAttribute),
      ...named("CUBLASLT_MATMUL_PREF_", cublasLt.PreferenceAttribute),
      ...named("CUBLASLT_REDUCTION_SCHEME_", cublasLt.ReductionScheme),
      ...named("CUBLASLT_EPILOGUE_", cublasLt.Epilogue),
      "sizeof(cublasLtMatmulAlgo_t)": cublasLt.algoBytes,
      "sizeof(cublasLtMatmulHeuristicResult_t)": cublasLt.HeuristicResult.bytes,
      "offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize)":
        cublasLt.HeuristicResult.workspaceSize,
      "offsetof(cublasLtMatmulHeuristicResult_t, state)":
        cublasLt.HeuristicResult.state,
      "offsetof(cublasLtMatmulHeuristicResult_t, wavesCount)":
        cublasLt.HeuristicResult.wavesCount,
    },
  },
  cudnn: {
    headers: ["cudnn.h"],
    symbols: cudnn.symbols,
    values: {
      ...named("CUDNN_BACKEND_", cudnnEnums.DescriptorType),
      ...named("CUDNN_ATTR_", cudnnEnums.AttributeName),
      ...named("CUDNN_TYPE_", cudnnEnums.AttributeType),
      ...named("CUDNN_DATA_", cudnnEnums.DataType),
      ...named("CUDNN_", cudnnEnums.ConvolutionMode),
      ...named("CUDNN_POINTWISE_", cudnnEnums.PointwiseMode),
      ...named("CUDNN_REDUCE_TENSOR_", cudnnEnums.ReduceOperator),
      ...named("CUDNN_RESAMPLE_", cudnnEnums.ResampleMode),
      ...named("CUDNN_", cudnnEnums.PaddingMode),
      ...named("CUDNN_", cudnnEnums.NanPropagation),
      ...named("CUDNN_HEUR_MODE_", cudnnEnums.HeuristicsMode),
      ...named("CUDNN_NUMERICAL_NOTE_", cudnnEnums.NumericalNote),
      ...named("CUDNN_", cudnnEnums.NormMode),
      ...named("CUDNN_NORM_FWD_", cudnnEnums.NormPhase),
      ...named("CUDNN_RNG_DISTRIBUTION_", cudnnEnums.RngDistribution),
    },
  },
  "cudnn (recurrent networks)": {
    headers: ["cudnn.h"],
    symbols: cudnnRnn.symbols,
    values: {
      ...named("CUDNN_RNN_ALGO_", cudnnRnn.RnnAlgorithm),
      ...named("CUDNN_", cudnnRnn.RnnMode),
      ...named("CUDNN_RNN_", cudnnRnn.RnnBias),
      ...named("CUDNN_", cudnnRnn.RnnDirection),
      ...named("CUDNN_", cudnnRnn.RnnInput),
      ...named("CUDNN_RNN_DATA_LAYOUT_", cudnnRnn.RnnLayout),
      ...named("CUDNN_", cudnnRnn.MathType),
      ...named("CUDNN_FWD_MODE_", cudnnRnn.ForwardMode),
      ...named("CUDNN_WGRAD_MODE_", cudnnRnn.WeightGradMode),
      ...named("CUDNN_RNN_", cudnnRnn.RnnFlags),
    },
  },
  nccl: {
    headers: ["nccl.h"],
    symbols: nccl.symbols,
    values: {
      ncclSuccess: nccl.result.Success,
      ...named("nccl", without(nccl.result, "Success")),
      ...named("nccl", nccl.dataType),
      ...named("nccl", nccl.redOp),
      "sizeof(ncclUniqueId)": nccl.uniqueIdBytes,
      NCCL_API_MAGIC: nccl.apiMagic,
      ...offsets("ncclConfig_t", nccl.config),
    },
  },
};

function without(
  constants: Readonly<Record<string, number>>,
  left: string,
): Record<string, number> {
  const { [left]: _, ...rest } = constants;
  return rest;
}

function renamed(
  constants: Readonly<Record<string, number>>,
  rename: (name: string) => string,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(constants).map(([name, value]) => [rename(name), value]),
  );
}

/** A function's name without the version of its form: `cuMemAlloc` of `cuMemAlloc_v2`. */
function baseOf(name: string): string {
  return name.replace(/_v\d+$/, "");
}

/** What the bindings claim and the headers deny. */
async function mistakes(
  bindings: Bindings,
  includes: readonly string[],
): Promise<string[]> {
  const { headers, symbols, values } = bindings;
  const answer = await askHeaders({
    headers: ["cstddef", ...headers],
    functions: Object.keys(symbols).flatMap((name) => [name, baseOf(name)]),
    values: Object.keys(values),
  }, includes);
  const found: string[] = [];
  for (const [name, symbol] of Object.entries(symbols)) {
    if (!("parameters" in symbol)) continue;
    const declared = answer.functions[name];
    // Forms of a function that other versions of the headers have.
    const older = "optional" in symbol && symbol.optional === true;
    if (declared === undefined) {
      const known = older && answer.functions[baseOf(name)] !== undefined;
      if (!known) found.push(`${name} is not declared`);
      continue;
    }
    const linked = symbol.name ?? name;
    // The header's own form is another entry; this is the one before it.
    if (
      declared.linked !== name && declared.linked in symbols &&
      baseOf(declared.linked) === linked
    ) {
      continue;
    }
    if (declared.linked !== linked) {
      found.push(`${name} is linked as ${declared.linked}, not ${linked}`);
    }
    const ours = symbol.parameters.length;
    if (declared.parameters.length !== ours) {
      found.push(
        `${name} takes ${declared.parameters.length} arguments, not ${ours}`,
      );
      continue;
    }
    const fits = (type: Deno.NativeResultType, code: string, what: string) => {
      if (!codesOf(type).includes(code)) {
        found.push(
          `${name}: ${what} is ${code}, not ${JSON.stringify(type)}`,
        );
      }
    };
    fits(symbol.result, declared.result, "the result");
    symbol.parameters.forEach((type, i) =>
      fits(type, declared.parameters[i], `parameter ${i + 1}`)
    );
  }
  for (const [name, value] of Object.entries(values)) {
    const declared = answer.values[name];
    if (declared !== value) found.push(`${name} is ${declared}, not ${value}`);
  }
  return found;
}

const nvidia = nvidiaFolder();
const includes = nvidia === undefined ? [] : headerFolders(nvidia);

/** Why a library's headers cannot be asked, if they cannot. */
async function absence(
  headers: readonly string[],
): Promise<string | undefined> {
  for (const header of headers) {
    const found = await Promise.all(
      includes.map((folder) =>
        Deno.stat(`${folder}/${header}`).then(() => true, () => false)
      ),
    );
    if (!found.includes(true)) {
      return `no ${header}: set DECAF_NVIDIA to site-packages/nvidia of a Python with NVIDIA's wheels`;
    }
  }
  try {
    await new Deno.Command("g++", { args: ["--version"] }).output();
    return undefined;
  } catch {
    return "no g++";
  }
}

for (const [library, bindings] of Object.entries(table)) {
  const why = await absence(bindings.headers);
  Deno.test({
    name: `bindings of ${library} agree with its headers${
      why === undefined ? "" : ` (${why})`
    }`,
    ignore: why !== undefined,
    async fn() {
      assertEquals(await mistakes(bindings, includes), []);
    },
  });
}

const whyNot = await absence(table.cudart.headers);
Deno.test({
  name: `what headers deny is found${
    whyNot === undefined ? "" : ` (${whyNot})`
  }`,
  ignore: whyNot !== undefined,
  async fn() {
    const found = await mistakes({
      headers: ["cuda_runtime_api.h"],
      symbols: {
        cudaSetDevice: { parameters: ["usize"], result: "i32" },
        cudaGetLastError: { parameters: ["i32"], result: "i32" },
        cudaEventQuery: { parameters: ["u64"], result: "f64" },
        cudaTeleport: { parameters: [], result: "i32" },
        cudaFree: { parameters: ["u64"], result: "i32" },
      },
      values: { cudaErrorMemoryAllocation: 3, cudaErrorOfMine: 1 },
    }, includes);
    assertEquals(found, [
      'cudaSetDevice: parameter 1 is i4, not "usize"',
      "cudaGetLastError takes 0 arguments, not 1",
      'cudaEventQuery: the result is e4, not "f64"',
      "cudaTeleport is not declared",
      "cudaErrorMemoryAllocation is 2, not 3",
      "cudaErrorOfMine is undefined, not 1",
    ]);
  },
});

Deno.test("every library of ffi/ has its line in the table", async () => {
  const bound: string[] = [];
  for await (
    const { name } of Deno.readDir(new URL("../ffi", import.meta.url))
  ) {
    const text = await Deno.readTextFile(
      new URL(`../ffi/${name}`, import.meta.url),
    );
    if (/^export const symbols = /m.test(text)) bound.push(name);
  }
  assert(bound.length > 0);
  const own = await Deno.readTextFile(new URL(import.meta.url));
  assertEquals(bound.filter((name) => !own.includes(`../ffi/${name}`)), []);
});
