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

/** The kernel of a block per piece of a row: `body` sees the piece's bounds, and starts from `running`. */
function pieceKernel(name: string, body: string): string {
  return `extern "C" __global__ void __launch_bounds__(${scanThreads}) ${name}(const Params p) {
  __shared__ Item totals[${scanThreads / 32}];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long row = blockIdx.x / p.pieces, piece = blockIdx.x % p.pieces;
  const long long end = (piece + 1) * p.piece < p.length ? (piece + 1) * p.piece : p.length;
  const long long start = row * p.length;
${body}}
`;
}

/** What the threads of a warp up to this one have together, from what each has: `upTo` from `sum`. */
const upToLane = `    Item upTo = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const Item other = before(upTo, d);
      if (lane >= d) upTo = join(other, upTo);
    }
    if (lane == 31) totals[warp] = upTo;
`;

const tile = scanThreads * scanItems;

/** What each piece gives as a whole, into `carries`. */
export function totalScan(element: ScanElement, op: ScanSpec["op"]): string {
  return head(element, op) + pieceKernel(
    "scan_totals",
    `  Item running = nothing();
  for (long long tile = piece * p.piece; tile < end; tile += ${tile}) {
    const long long first = tile + threadIdx.x * ${scanItems};
    Item sum = nothing();
#pragma unroll
    for (int k = 0; k < ${scanItems}; k++) {
      const long long i = first + k;
      sum = join(sum, i < end ? element(p.input[start + i], i) : nothing());
    }
${upToLane}    __syncthreads();
    for (int w = 0; w < ${
      scanThreads / 32
    }; w++) running = join(running, totals[w]);
    __syncthreads();
  }
  if (threadIdx.x == 0) ((Item*)p.carries)[blockIdx.x] = running;
`,
  );
}

/** The scan of each piece, from what runs into it. */
export function pieceScan(element: ScanElement, op: ScanSpec["op"]): string {
  return head(element, op) + pieceKernel(
    "scan_pieces",
    `  Item running = p.pieces > 1 ? ((const Item*)p.carries)[blockIdx.x] : nothing();
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
${upToLane}    Item ahead = before(upTo, 1);
    if (lane == 0) ahead = nothing();
    __syncthreads();
    Item base = running;
    for (int w = 0; w < ${scanThreads / 32}; w++) {
      if (w < warp) base = join(base, totals[w]);
      running = join(running, totals[w]);
    }
    base = join(base, ahead);
#pragma unroll
    for (int k = 0; k < ${scanItems}; k++) {
      if (first + k < end) store(p, start + first + k, join(base, own[k]));
    }
    __syncthreads();
  }
`,
  );
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
