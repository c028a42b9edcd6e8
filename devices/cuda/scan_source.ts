/**
 * CUDA C of running sums, products and extrema.
 *
 * @module
 */

import type { ScanSpec } from "../../core/device.ts";
import { valueTypes } from "../../kernel/cuda/types.ts";

/** Element types that are scanned. */
export type ScanElement = "f32" | "f64" | "i32" | "i64";

/** Threads of a block, and elements that each takes at once. */
export const scanThreads = 256, scanItems = 4;

/** What runs along: a sum or product (of f32 in f64, rounded per element), or an extremum with its position, −1 where there is none yet. */
function itemText(element: ScanElement, op: ScanSpec["op"]): string {
  const type = valueTypes[element];
  if (op === "sum" || op === "prod") {
    const wide = element === "f32" ? "double" : type;
    const symbol = op === "sum" ? "+" : "*";
    const joined = element === "i32" || element === "i64"
      ? `(${wide})((unsigned ${wide})a.value ${symbol} (unsigned ${wide})b.value)`
      : `a.value ${symbol} b.value`;
    return `struct Item { ${wide} value; };
__device__ __forceinline__ Item nothing() { return { ${
      op === "sum" ? 0 : 1
    } }; }
__device__ __forceinline__ Item element(${type} x, long long at) { return { (${wide})x }; }
// What runs before, then what comes after.
__device__ __forceinline__ Item join(Item a, Item b) { return { ${joined} }; }
__device__ __forceinline__ Item before(Item x, int distance) {
  return { __shfl_up_sync(0xffffffffu, x.value, distance) };
}
__device__ __forceinline__ void store(const Params& p, long long i, Item x) {
  ((${type}*)p.output)[i] = (${type})x.value;
}
`;
  }
  return `struct Item { ${type} value; long long at; };
__device__ __forceinline__ Item nothing() { return { 0, -1 }; }
__device__ __forceinline__ Item element(${type} x, long long at) { return { x, at }; }
// What runs before, then what comes after: the last of equals wins, and NaN over all.
__device__ __forceinline__ Item join(Item a, Item b) {
  if (a.at < 0) return b;
  if (b.at < 0) return a;
  return b.value ${
    op === "max" ? ">=" : "<="
  } a.value || b.value != b.value ? b : a;
}
__device__ __forceinline__ Item before(Item x, int distance) {
  return { __shfl_up_sync(0xffffffffu, x.value, distance), __shfl_up_sync(0xffffffffu, x.at, distance) };
}
__device__ __forceinline__ void store(const Params& p, long long i, Item x) {
  ((${type}*)p.output)[i] = x.value;
  if (p.indices) p.indices[i] = x.at;
}
`;
}

/** Bytes of an item in scratch memory. */
export function itemBytes(element: ScanElement, op: ScanSpec["op"]): number {
  if (op === "max" || op === "min") return 16;
  return element === "i32" ? 4 : 8;
}

function head(element: ScanElement, op: ScanSpec["op"]): string {
  return `struct Params {
  const ${valueTypes[element]}* input;
  void* output;
  long long* indices;
  void* carries;
  long long rows, length, pieces, piece;
};
${itemText(element, op)}`;
}

/** One thread per row, element after element. */
export function shortScan(element: ScanElement, op: ScanSpec["op"]): string {
  return `${head(element, op)}
extern "C" __global__ void __launch_bounds__(${scanThreads}) scan_short(const Params p) {
  const long long row = (long long)blockIdx.x * ${scanThreads} + threadIdx.x;
  if (row >= p.rows) return;
  Item running = nothing();
  for (long long i = 0; i < p.length; i++) {
    running = join(running, element(p.input[row * p.length + i], i));
    store(p, row * p.length + i, running);
  }
}
`;
}

/** One block per piece of a row; without \`stores\` only what the piece gives as a whole, into \`carries\`. */
export function pieceScan(
  element: ScanElement,
  op: ScanSpec["op"],
  stores: boolean,
): string {
  const tile = scanThreads * scanItems, warps = scanThreads / 32;
  return `${head(element, op)}
extern "C" __global__ void __launch_bounds__(${scanThreads}) ${
    stores ? "scan_pieces" : "scan_totals"
  }(const Params p) {
  __shared__ Item totals[${warps}];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long row = blockIdx.x / p.pieces, piece = blockIdx.x % p.pieces;
  const long long end = (piece + 1) * p.piece < p.length ? (piece + 1) * p.piece : p.length;
  const long long start = row * p.length;
  Item running = ${
    stores
      ? "p.pieces > 1 ? ((const Item*)p.carries)[blockIdx.x] : nothing()"
      : "nothing()"
  };
  for (long long tile = piece * p.piece; tile < end; tile += ${tile}) {
    const long long first = tile + threadIdx.x * ${scanItems};
    Item own[${scanItems}];
    Item sum = nothing();
#pragma unroll
    for (int k = 0; k < ${scanItems}; k++) {
      const long long i = first + k;
      sum = join(sum, i < end ? element(p.input[start + i], i) : nothing());
      own[k] = sum;
    }
    // What the threads of this warp before this one have, then the warps before.
    Item upTo = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const Item other = before(upTo, d);
      if (lane >= d) upTo = join(other, upTo);
    }
    if (lane == 31) totals[warp] = upTo;
    Item ahead = before(upTo, 1);
    if (lane == 0) ahead = nothing();
    __syncthreads();
    Item base = running;
#pragma unroll
    for (int w = 0; w < ${warps}; w++) {
      if (w < warp) base = join(base, totals[w]);
      running = join(running, totals[w]);
    }
${
    stores
      ? `    base = join(base, ahead);
#pragma unroll
    for (int k = 0; k < ${scanItems}; k++) {
      if (first + k < end) store(p, start + first + k, join(base, own[k]));
    }
`
      : ""
  }    __syncthreads();
  }
${
    stores
      ? ""
      : "  if (threadIdx.x == 0) ((Item*)p.carries)[blockIdx.x] = running;\n"
  }}
`;
}

/** One thread per row: what each piece gave becomes what runs into it. */
export function carryScan(element: ScanElement, op: ScanSpec["op"]): string {
  return `${head(element, op)}
extern "C" __global__ void __launch_bounds__(${scanThreads}) scan_carries(const Params p) {
  const long long row = (long long)blockIdx.x * ${scanThreads} + threadIdx.x;
  if (row >= p.rows) return;
  Item* carries = (Item*)p.carries + row * p.pieces;
  Item running = nothing();
  for (long long i = 0; i < p.pieces; i++) {
    const Item own = carries[i];
    carries[i] = running;
    running = join(running, own);
  }
}
`;
}
