/**
 * Which algorithms cuBLASLt has for a problem.
 *
 * @module
 */

import {
  algoBytes,
  check,
  createPreference,
  type CublasLt,
  DataType,
  HeuristicResult,
  ReductionScheme,
  setPreference,
  Status,
} from "../../ffi/cublaslt.ts";
import type { Algorithm, Plan } from "./matmul_plan.ts";
import { alignments, type Problem } from "./matmul_problem.ts";

/** The library on one device. */
export interface Library {
  /** Its functions. */
  readonly lib: CublasLt;
  /** `cublasLtHandle_t`. */
  readonly handle: bigint;
  /** Bytes of scratch memory that an algorithm may need. */
  readonly workspaceLimit: number;
}

/**
 * Whether a status says that the library does not compute such a problem. What
 * it does not know of an epilogue or of eight-bit numbers it calls invalid.
 */
export function refuses(problem: Problem, status: number): boolean {
  return status === Status.NOT_SUPPORTED ||
    (problem.dispensable &&
      (status === Status.INVALID_VALUE || status === Status.ARCH_MISMATCH));
}

/** Asks the library which algorithms it would take, the best first. */
export function ask(
  { lib, handle, workspaceLimit }: Library,
  plan: Plan,
  count: number,
): Algorithm[] {
  const { symbols } = lib;
  const { problem } = plan;
  const [alignA, alignB, alignD] = alignments(problem.alignment);
  const preference = createPreference(lib);
  try {
    setPreference(
      lib,
      preference,
      "MAX_WORKSPACE_BYTES",
      workspaceLimit,
    );
    setPreference(lib, preference, "MIN_ALIGNMENT_A_BYTES", alignA);
    setPreference(lib, preference, "MIN_ALIGNMENT_B_BYTES", alignB);
    setPreference(lib, preference, "MIN_ALIGNMENT_C_BYTES", alignD);
    setPreference(lib, preference, "MIN_ALIGNMENT_D_BYTES", alignD);
    const wide = problem.typeD === DataType.R_32F ||
      problem.typeD === DataType.R_64F;
    setPreference(
      lib,
      preference,
      "REDUCTION_SCHEME_MASK",
      // Sums that are computed in parts are not rounded before they are added.
      wide ? ReductionScheme.MASK : ReductionScheme.COMPUTE_TYPE,
    );
    const results = new Uint8Array(count * HeuristicResult.bytes);
    const found = new Int32Array(1);
    const status = symbols.cublasLtMatmulAlgoGetHeuristic(
      handle,
      plan.desc,
      plan.a,
      plan.b,
      plan.d,
      plan.d,
      preference,
      count,
      results,
      new Uint8Array(found.buffer),
    );
    if (refuses(problem, status)) return [];
    check(status, "cublasLtMatmulAlgoGetHeuristic", `${problem}`);
    const view = new DataView(results.buffer);
    const list: Algorithm[] = [];
    for (let i = 0; i < found[0]; i++) {
      const at = i * HeuristicResult.bytes;
      if (view.getInt32(at + HeuristicResult.state, true) !== 0) continue;
      list.push({
        bytes: results.slice(at, at + algoBytes),
        workspace: Number(
          view.getBigUint64(at + HeuristicResult.workspaceSize, true),
        ),
      });
    }
    return list;
  } finally {
    symbols.cublasLtMatmulPreferenceDestroy(preference);
  }
}

/** Whether an algorithm from a file can be used here; undefined when not. */
export function recall(
  { lib, handle, workspaceLimit }: Library,
  plan: Plan,
  bytes: Uint8Array<ArrayBuffer>,
): Algorithm | undefined {
  if (bytes.length !== algoBytes) return undefined;
  const result = new Uint8Array(HeuristicResult.bytes);
  const status = lib.symbols.cublasLtMatmulAlgoCheck(
    handle,
    plan.desc,
    plan.a,
    plan.b,
    plan.d,
    plan.d,
    bytes,
    result,
  );
  const view = new DataView(result.buffer);
  const workspace = Number(
    view.getBigUint64(HeuristicResult.workspaceSize, true),
  );
  return status === Status.SUCCESS && workspace <= workspaceLimit
    ? { bytes, workspace }
    : undefined;
}
