/**
 * Times operators on stand-in libraries that return at once and compute
 * nothing, next to what the native calls that they make cost by themselves.
 *
 * @module
 */

import { scope, Tensor } from "../../mod.ts";
import { symbols as cublasLt } from "../../ffi/cublaslt.ts";
import { symbols as cuda } from "../../ffi/cuda.ts";
import { symbols as cudart } from "../../ffi/cudart.ts";
import { symbols as cudnn } from "../../ffi/cudnn.ts";
import type { CudaHost } from "../../tests/cuda_host/mod.ts";
import type { Row } from "./rows.ts";

function compute(result: ReturnType<Row["run"]>): void {
  if (result instanceof Tensor) result.materialize();
  else result?.forEach(compute);
}

/** Computes a row so many times, each time into new results, and frees them. */
export function repeat({ run }: Row, times: number): void {
  scope(() => {
    for (let i = 0; i < times; i++) compute(run());
  });
}

/** Native calls of one run of a row, by name, as the mean of several runs. */
export function callsOf(host: CudaHost, row: Row): Map<string, number> {
  const runs = 20;
  host.clearCalls();
  repeat(row, runs);
  const counts = new Map<string, number>();
  for (const call of host.calls()) {
    const [name] = call.split(" ");
    counts.set(name, (counts.get(name) ?? 0) + 1 / runs);
  }
  // What happens now and then, such as taking a large piece of memory, is no part of the operator.
  for (const [name, count] of counts) {
    if (count < 0.5) counts.delete(name);
    else counts.set(name, Math.round(count));
  }
  return counts;
}

/** Calls that have a GPU compute or copy; the others only prepare. */
export const working: ReadonlySet<string> = new Set([
  "cuLaunchKernel",
  "cublasLtMatmul",
  "cudnnBackendExecute",
  "cudaMemcpyAsync",
]);

type Native = ReturnType<CudaHost["nothing"]>;

const bytes = new Uint8Array(64);
const far = 2n ** 40n;

/** A call of each native function that operators use, with arguments of the usual kind. */
const natives: Readonly<
  Record<string, [Deno.ForeignFunction, (f: Native) => unknown]>
> = {
  cuLaunchKernel: [
    cuda.cuLaunchKernel,
    (f) => f(far, 1, 1, 1, 1, 1, 1, 0, far, far, 0n),
  ],
  cublasLtMatmul: [
    cublasLt.cublasLtMatmul,
    (f) =>
      f(
        far,
        far,
        bytes,
        far,
        far,
        far,
        far,
        bytes,
        far,
        far,
        far,
        far,
        bytes,
        far,
        64n,
        far,
      ),
  ],
  cublasLtMatmulDescSetAttribute: [
    cublasLt.cublasLtMatmulDescSetAttribute,
    (f) => f(far, 1, bytes, 8n),
  ],
  cudnnBackendCreateDescriptor: [
    cudnn.cudnnBackendCreateDescriptor,
    (f) => f(1, bytes),
  ],
  cudnnBackendSetAttribute: [
    cudnn.cudnnBackendSetAttribute,
    (f) => f(far, 1, 1, 1n, bytes),
  ],
  cudnnBackendFinalize: [cudnn.cudnnBackendFinalize, (f) => f(far)],
  cudnnBackendExecute: [cudnn.cudnnBackendExecute, (f) => f(far, far, far)],
  cudnnBackendDestroyDescriptor: [
    cudnn.cudnnBackendDestroyDescriptor,
    (f) => f(far),
  ],
  cudaMemcpyAsync: [
    cudart.cudaMemcpyAsync,
    (f) => f(far, far, 4n, 2, far),
  ],
};

/** Microseconds of one run: the shortest time among batches of many. */
export function least(run: (times: number) => void, seconds: number): number {
  const times = 100;
  let best = Infinity;
  const end = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    run(times);
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < end);
  return 1000 * best / times;
}

/** Microseconds of each native function by itself: a function of its signature that does nothing. */
export function bareCosts(host: CudaHost): Map<string, number> {
  const costs = new Map<string, number>();
  for (const [name, [signature, call]] of Object.entries(natives)) {
    const nothing = host.nothing(signature);
    const loop = (times: number) => {
      for (let i = 0; i < times; i++) call(nothing);
    };
    costs.set(name, least(loop, 0.05));
  }
  return costs;
}
