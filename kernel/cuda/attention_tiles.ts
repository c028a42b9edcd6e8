/**
 * What the kernels of attention share, in CUDA C: tiles in shared memory and
 * the two products that are taken of them.
 *
 * @module
 */

import { preludeFor } from "./prelude.ts";
import { narrow, storageTypes, widen } from "./types.ts";

/** Element types that the kernels read and write; they compute in f32. */
export type AttentionElement = "f32" | "f16" | "bf16";

/** What a kernel of attention is written for. */
export interface AttentionCase {
  /** Element type. */
  readonly dtype: AttentionElement;
  /** Width of queries and keys. */
  readonly depth: number;
  /** Width of values and results. */
  readonly width: number;
  /** Whether query i sees keys up to i only. */
  readonly causal: boolean;
  /** Whether something is added to the scores. */
  readonly bias: boolean;
  /** Whether weights are dropped. */
  readonly dropout: boolean;
  /** Whether all rows are read and written four elements at a time. */
  readonly vectors: boolean;
}

/** How much of the scores a block and a thread take at once. */
export interface AttentionTile {
  /** Rows of a thread; a tile has 16 times as many. */
  readonly rows: number;
  /** Columns of a thread; a tile has 8 times as many. */
  readonly columns: number;
  /** 2 where the next tile is fetched while one is used. */
  readonly stages: 1 | 2;
}

/** Threads that share a tile of scores: 16 along its rows, 8 along its columns. */
export const tileThreads = 128;

/** Elements from one row of a matrix to the next in shared memory: whole groups of 32, and 4 more so that eight rows lie in different banks. */
export function pitchOf(width: number): number {
  return 32 * Math.ceil(width / 32) + 4;
}

/** The same for a tile of scores; 8 more than the columns, so that four rows of eight lie in different banks. */
export function scorePitch(columns: number): number {
  return 8 * columns + 8;
}

/** The struct that all kernels take: pointers and `long long` only. */
const params = `struct Params {
  const Element *q, *k, *v;
  Element* o;
  float* stats;
  const float* bias;
  const Element *kept, *d;
  float* delta;
  Element *dq, *dk, *dv;
  long long heads, groups, queries, keys;
  // Steps along batch, heads and time.
  long long qSteps[3], kSteps[3], vSteps[3], oSteps[3], dSteps[3], dqSteps[3], dkSteps[3], dvSteps[3];
  long long biasSteps[4];
  // Bits of floats: factor of the scores, of the weights that are kept.
  long long scale, keep;
};
`;

/** Reading, fetching and writing four elements. */
function accesses(dtype: AttentionElement, vectors: boolean): string {
  const each = (body: (c: number) => string) => [0, 1, 2, 3].map(body);
  const field = (c: number) => "xyzw"[c];
  const read = vectors
    ? `  const Vector x = *(const Vector*)from;
  return make_float4(${each((c) => widen(dtype, `x.${field(c)}`)).join(", ")});`
    : `  return make_float4(${
      each((c) => `left > ${c} ? ${widen(dtype, `from[${c}]`)} : 0.0f`)
        .join(", ")
    });`;
  const write = vectors
    ? `  *(Vector*)to = { ${
      each((c) => narrow(dtype, `x.${field(c)}`)).join(", ")
    } };`
    : each((c) =>
      `  if (left > ${c}) to[${c}] = ${narrow(dtype, `x.${field(c)}`)};`
    ).join("\n");
  const background = dtype === "f32" && vectors;
  const plain =
    `  *(float4*)to = there ? read4(from, left) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);`;
  return `typedef ${dtype === "f32" ? "float4" : "ushort4"} Vector;
// Four elements, of which \`left\` or fewer are there.
__device__ __forceinline__ float4 read4(const Element* from, int left) {
${read}
}
__device__ __forceinline__ void write4(Element* to, float4 x, int left) {
${write}
}
// Four elements into shared memory, zeros where there is no such row; on sm_80 and later f32 arrives in the background.
__device__ __forceinline__ void fetch4(float* to, const Element* from, bool there, int left) {
${
    background
      ? `#if defined(__CUDACC_RTC__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
#else
${plain}
#endif`
      : plain
  }
}
// Waits for what this thread has fetched.
__device__ __forceinline__ void fetched() {
${
    background
      ? `#if defined(__CUDACC_RTC__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif`
      : ""
  }
}
`;
}

const products = `// Fetches \`count\` rows of a matrix, and zeros up to N rows.
template <int N, int W, int PITCH, int THREADS>
__device__ __forceinline__ void fetch(float* to, const Element* from, long long step, long long count) {
  constexpr int chunks = (W + 3) / 4;
#pragma unroll 4
  for (int n = threadIdx.x; n < N * chunks; n += THREADS) {
    const int row = n / chunks, column = n % chunks * 4;
    fetch4(to + row * PITCH + column, from + row * step + column, row < count, W - column);
  }
}
// Scores += a bT: rows of a lie 16 rows apart for a thread, those of b 8.
template <int R, int C, int W, int PITCH>
__device__ __forceinline__ void dots(float (&scores)[R][C], const float* a, const float* b) {
#pragma unroll 2
  for (int d = 0; d < W; d += 4) {
    float4 y[C];
#pragma unroll
    for (int j = 0; j < C; j++) y[j] = *(const float4*)(b + j * 8 * PITCH + d);
#pragma unroll
    for (int i = 0; i < R; i++) {
      const float4 x = *(const float4*)(a + i * 16 * PITCH + d);
#pragma unroll
      for (int j = 0; j < C; j++) scores[i][j] = fmaf(x.x, y[j].x, scores[i][j]);
#pragma unroll
      for (int j = 0; j < C; j++) scores[i][j] = fmaf(x.y, y[j].y, scores[i][j]);
#pragma unroll
      for (int j = 0; j < C; j++) scores[i][j] = fmaf(x.z, y[j].z, scores[i][j]);
#pragma unroll
      for (int j = 0; j < C; j++) scores[i][j] = fmaf(x.w, y[j].w, scores[i][j]);
    }
  }
}
// Totals += w m for K columns of w: a thread has rows 16 apart, and columns 4 by 4 that lie 32 apart.
template <int G, int K, int WPITCH, int PITCH, int R, int N>
__device__ __forceinline__ void sums(float (&totals)[R][N], const float* w, const float* m) {
#pragma unroll 1
  for (int k = 0; k < K; k += 4) {
    float x[R][4];
#pragma unroll
    for (int i = 0; i < R; i++) {
      const float4 four = *(const float4*)(w + i * 16 * WPITCH + k);
      x[i][0] = four.x; x[i][1] = four.y; x[i][2] = four.z; x[i][3] = four.w;
    }
#pragma unroll
    for (int n = 0; n < 4; n++) {
#pragma unroll
      for (int g = 0; g < G; g++) {
        const float4 y = *(const float4*)(m + (k + n) * PITCH + 32 * g);
#pragma unroll
        for (int i = 0; i < R; i++) {
          totals[i][4 * g] = fmaf(x[i][n], y.x, totals[i][4 * g]);
          totals[i][4 * g + 1] = fmaf(x[i][n], y.y, totals[i][4 * g + 1]);
          totals[i][4 * g + 2] = fmaf(x[i][n], y.z, totals[i][4 * g + 2]);
          totals[i][4 * g + 3] = fmaf(x[i][n], y.w, totals[i][4 * g + 3]);
        }
      }
    }
  }
}
template <int R, int N>
__device__ __forceinline__ void clear(float (&x)[R][N]) {
#pragma unroll
  for (int i = 0; i < R; i++)
#pragma unroll
    for (int j = 0; j < N; j++) x[i][j] = 0.0f;
}
// Writes a thread's part of a result, each row times a factor.
template <int G, int W, int R, int N>
__device__ __forceinline__ void writeRows(Element* to, long long step, long long count, const float (&x)[R][N], const float (&factor)[R], int tx, int ty) {
#pragma unroll
  for (int i = 0; i < R; i++) {
    const int row = ty + 16 * i;
    if (row >= count) continue;
#pragma unroll
    for (int g = 0; g < G; g++) {
      const int column = tx * 4 + 32 * g;
      if (column >= W) continue;
      write4(to + row * step + column, make_float4(x[i][4 * g] * factor[i], x[i][4 * g + 1] * factor[i], x[i][4 * g + 2] * factor[i], x[i][4 * g + 3] * factor[i]), W - column);
    }
  }
}
`;

/** The text before a kernel, and what its body names: extents, types and functions. */
export function attentionHead(
  { dtype, depth, width, causal, bias, dropout, vectors }: AttentionCase,
  { rows, columns }: AttentionTile,
): string {
  const text = accesses(dtype, vectors) + products;
  return `typedef ${storageTypes[dtype]} Element;
${params}[[maybe_unused]] constexpr int DEPTH = ${depth}, WIDTH = ${width}, ROWS = ${rows}, COLUMNS = ${columns};
[[maybe_unused]] constexpr int TALL = 16 * ROWS, WIDE = 8 * COLUMNS;
[[maybe_unused]] constexpr int DEPTHS = (DEPTH + 31) / 32, WIDTHS = (WIDTH + 31) / 32;
[[maybe_unused]] constexpr int DPITCH = ${pitchOf(depth)}, WPITCH = ${
    pitchOf(width)
  }, SPITCH = ${scorePitch(columns)};
[[maybe_unused]] constexpr bool CAUSAL = ${causal}, BIAS = ${bias}, DROPOUT = ${dropout};
[[maybe_unused]] constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;
${preludeFor(text)}${text}
__device__ __forceinline__ float number(long long bits) { return __int_as_float((int)bits); }
// Score times log2(e), with what is added to it.
__device__ __forceinline__ float scaled(const Params& p, const float* bias, float score, float factor, long long query, long long key) {
  const float x = score * factor;
  return BIAS ? fmaf(bias[query * p.biasSteps[2] + key * p.biasSteps[3]], LOG2E, x) : x;
}
// Two to the power of x; what no float of full precision holds is 0.
__device__ __forceinline__ float power2(float x) {
#if defined(__CUDACC_RTC__)
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
#else
  return exp2f(x);
#endif
}
// A weight by the logarithm of its row's sum; rounding must not let it exceed 1.
__device__ __forceinline__ float weight(float score, float stats) {
  const float x = score - stats;
  return power2(x > 0.0f ? 0.0f : x);
}
// A number of columns of a tile.
__device__ __forceinline__ int columns(long long n) {
  return n < 0 ? 0 : n > WIDE ? WIDE : (int)n;
}
// How many columns of a tile a query sees of the keys from key0 on.
__device__ __forceinline__ int seen(const Params& p, long long query, long long key0) {
  if ((BIAS || DROPOUT) && query >= p.queries) return 0;
  return columns((CAUSAL && query < p.keys ? query + 1 : p.keys) - key0);
}
// What a dropout makes of a weight.
__device__ __forceinline__ float kept(const Params& p, const Element* mask, float x, long long query, long long key) {
  return mask[query * p.keys + key] != 0 ? x * number(p.keep) : 0.0f;
}
`;
}
