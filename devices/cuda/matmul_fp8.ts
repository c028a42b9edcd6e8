/**
 * Products of numbers of eight bits, by cuBLASLt on GPUs of compute capability
 * 8.9 and above.
 *
 * @module
 */

import type { ScaledProduct } from "../../core/device.ts";
import { ComputeType, DataType, Epilogue } from "../../ffi/cublaslt.ts";
import { addressOf, type CudaContext } from "./context.ts";
import { blasOf, dataTypes } from "./matmul.ts";
import { alignmentCode, joinAlignments, Problem } from "./matmul_problem.ts";

const formats = {
  e4m3: DataType.R_8F_E4M3,
  e5m2: DataType.R_8F_E5M2,
} as const;

/** The library multiplies bytes in blocks of this many. */
const multiple = 16;

/** Oldest CUDA whose cuBLASLt has these products. */
const leastVersion = 120_000;

/** c = (a·b) · scaleA · scaleB; false when the GPU or cuBLASLt has nothing for it. */
export function scaledProduct(
  context: CudaContext,
  spec: ScaledProduct,
): boolean {
  const { dtype, m, n, k, formatA, formatB } = spec;
  const { major, minor } = context;
  if (
    10 * major + minor < 89 || m * n * k === 0 || m % multiple !== 0 ||
    n % multiple !== 0 || k % multiple !== 0
  ) return false;
  context.activate();
  const blas = blasOf(context);
  if (blas.lib.version < leastVersion) return false;
  const addresses = {
    a: addressOf(spec.b, "u8"),
    b: addressOf(spec.a, "u8"),
    d: addressOf(spec.c, dtype),
    bias: 0n,
    aux: 0n,
    scaleA: addressOf(spec.scaleB, "f32"),
    scaleB: addressOf(spec.scaleA, "f32"),
  };
  const code = (address: bigint) => alignmentCode(Number(address));
  const problem = Object.assign(new Problem(), {
    compute: ComputeType.C_32F,
    typeA: formats[formatB],
    typeB: formats[formatA],
    typeD: dataTypes[dtype],
    epilogue: Epilogue.DEFAULT,
    m: n,
    n: m,
    k,
    lda: -k, // the only way round that the library takes
    ldb: k,
    ldd: n,
    alignment: joinAlignments(
      code(addresses.a),
      code(addresses.b),
      code(addresses.d),
      code(0n),
      code(0n),
    ),
  });
  return blas.run(blas.plan(problem, addresses), addresses);
}
