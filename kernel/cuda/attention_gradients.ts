/**
 * The gradients of attention in CUDA C, without atomics: sums are taken in the
 * same order in every run. With weights p, recomputed from the logarithm of
 * each row's sum: dv = pᵀ·d, ds = p·(d·vᵀ − Σ d·o), dq = ds·k·scale,
 * dk = dsᵀ·q·scale.
 *
 * `attention_dq` has a block for some queries and goes through the keys; it
 * also leaves Σ d·o of each row. `attention_dkv`, after it, has a block for
 * some keys and goes through the queries of all heads that these serve. Half of
 * a block's 256 threads computes p, the other half d·vᵀ and ds: so each thread
 * holds one tile of scores and one of sums, in registers, 8×8 each where 64
 * elements are wide. Seven products of tiles instead of the five that would do
 * if dq were summed by atomics.
 *
 * On an H100 a multiprocessor has one block of either kernel (173 and 208 KiB of
 * shared memory, the next tile on its way while one is used), two warps per
 * scheduler, with 16 reads of 16 bytes for 256 products with sums as in the
 * forward kernel: 14·64·T² operations per head (14 µs of the GPU's peak at
 * T = 1024) against 12·64·T·4 bytes (0.9 µs).
 *
 * @module
 */

import {
  type AttentionCase,
  attentionHead,
  type AttentionTile,
  pitchOf,
  scorePitch,
  tileThreads,
} from "./attention_tiles.ts";

/** Threads of a block: two for each of a tile. */
export const gradientThreads = 256;

/** Names of the kernels. */
export const queryGradEntry = "attention_dq", keyGradEntry = "attention_dkv";

/** Bytes of shared memory of {@linkcode queryGradSource} and, with one more tile of scores, of {@linkcode keyGradSource}. */
export function gradientShared(
  { depth, width }: AttentionCase,
  { rows, columns, stages }: AttentionTile,
  kernel: typeof queryGradEntry | typeof keyGradEntry,
): number {
  const tall = 16 * rows, wide = 8 * columns;
  const scores = tall * scorePitch(columns);
  return 4 *
    ((tall + stages * wide) * (pitchOf(depth) + pitchOf(width)) +
      (kernel === keyGradEntry ? 2 * scores : scores + tall));
}

/** The gradient of the queries. */
export function queryGradSource(c: AttentionCase, tile: AttentionTile): string {
  return `${attentionHead(c, tile)}
constexpr int STAGES = ${tile.stages};
constexpr int STAGE = WIDE * (DPITCH + WPITCH);
extern "C" __global__ void __launch_bounds__(${gradientThreads}) ${queryGradEntry}(const Params p) {
  extern __shared__ float4 memory[];
  float* const queries = (float*)memory;
  float* const arriving = queries + TALL * DPITCH;
  float* const stages = arriving + TALL * WPITCH;
  float* const weights = stages + STAGES * STAGE;
  float* const deltas = weights + TALL * SPITCH;
  const int half = threadIdx.x / ${tileThreads}, lane = threadIdx.x % ${tileThreads}, tx = lane % 8, ty = lane / 8;
  const long long tiles = (p.queries + TALL - 1) / TALL;
  const long long at = blockIdx.x % tiles, tile = CAUSAL ? tiles - 1 - at : at;
  const long long both = blockIdx.x / tiles, batch = both / p.heads, head = both % p.heads;
  const long long group = head / (p.heads / p.groups);
  const long long row0 = tile * TALL, rows = p.queries - row0;
  const Element* const k = p.k + batch * p.kSteps[0] + group * p.kSteps[1];
  const Element* const v = p.v + batch * p.vSteps[0] + group * p.vSteps[1];
  const Element* const o = p.o + batch * p.oSteps[0] + head * p.oSteps[1] + row0 * p.oSteps[2];
  const float* const bias = p.bias + batch * p.biasSteps[0] + head * p.biasSteps[1];
  const Element* const mask = p.kept + both * p.queries * p.keys;
  const float factor = number(p.scale) * LOG2E;
  const long long end = CAUSAL && row0 + TALL < p.keys ? row0 + TALL : p.keys;
  const auto fetchStage = [&](float* to, long long key0) {
    fetch<WIDE, DEPTH, DPITCH, ${gradientThreads}>(to, k + key0 * p.kSteps[2], p.kSteps[2], p.keys - key0);
    fetch<WIDE, WIDTH, WPITCH, ${gradientThreads}>(to + WIDE * DPITCH, v + key0 * p.vSteps[2], p.vSteps[2], p.keys - key0);
  };
  fetch<TALL, DEPTH, DPITCH, ${gradientThreads}>(queries, p.q + batch * p.qSteps[0] + head * p.qSteps[1] + row0 * p.qSteps[2], p.qSteps[2], rows);
  fetch<TALL, WIDTH, WPITCH, ${gradientThreads}>(arriving, p.d + batch * p.dSteps[0] + head * p.dSteps[1] + row0 * p.dSteps[2], p.dSteps[2], rows);
  fetchStage(stages, 0);
  fetched();
  __syncthreads();
  // The sum of d·o of each row, by eight threads.
  for (int row = threadIdx.x / 8; row < TALL; row += ${gradientThreads / 8}) {
    float sum = 0.0f;
    for (int column = tx * 4; column < WIDTH && row < rows; column += 32) {
      const float4 x = *(const float4*)(arriving + row * WPITCH + column);
      const float4 y = read4(o + row * p.oSteps[2] + column, WIDTH - column);
      sum = fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.z, y.z, fmaf(x.w, y.w, sum))));
    }
#pragma unroll
    for (int d = 1; d < 8; d *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (tx == 0) {
      deltas[row] = sum;
      if (row < rows) p.delta[both * p.queries + row0 + row] = sum;
    }
  }
  __syncthreads();
  // Logarithms of sums for one half, sums of d·o for the other.
  float stats[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    const int row = ty + 16 * i;
    stats[i] = half ? deltas[row] : row < rows ? p.stats[both * p.queries + row0 + row] * LOG2E : 0.0f;
  }
  float totals[ROWS][4 * DEPTHS];
  clear(totals);
  int stage = 0;
  for (long long key0 = 0; key0 < end; key0 += WIDE) {
    float* const keys = stages + stage * STAGE;
    const float* const values = keys + WIDE * DPITCH;
    if (key0 > 0) {
      if (STAGES == 1) {
        __syncthreads();
        fetchStage(keys, key0);
      }
      fetched();
      __syncthreads();
    }
    if (STAGES == 2) {
      stage ^= 1;
      if (key0 + WIDE < end) fetchStage(stages + stage * STAGE, key0 + WIDE);
    }
    float scores[ROWS][COLUMNS];
    clear(scores);
    if (half == 0) {
      dots<ROWS, COLUMNS, DEPTH, DPITCH>(scores, queries + ty * DPITCH, keys + tx * DPITCH);
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
        const long long query = row0 + ty + 16 * i;
        const int end = seen(p, query, key0);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
          const long long key = key0 + tx + 8 * j;
          weights[(ty + 16 * i) * SPITCH + tx + 8 * j] = tx + 8 * j < end ? weight(scaled(p, bias, scores[i][j], factor, query, key), stats[i]) : 0.0f;
        }
      }
    } else {
      dots<ROWS, COLUMNS, WIDTH, WPITCH>(scores, arriving + ty * WPITCH, values + tx * WPITCH);
    }
    __syncthreads();
    if (half == 1) {
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
        const long long query = row0 + ty + 16 * i;
        const int end = seen(p, query, key0);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
          const long long key = key0 + tx + 8 * j;
          float* const own = weights + (ty + 16 * i) * SPITCH + tx + 8 * j;
          const float x = DROPOUT && tx + 8 * j < end ? kept(p, mask, scores[i][j], query, key) : scores[i][j];
          *own *= x - stats[i];
        }
      }
    }
    __syncthreads();
    // Each half sums over its half of the keys.
    sums<DEPTHS, WIDE / 2, SPITCH, DPITCH>(totals, weights + ty * SPITCH + half * (WIDE / 2), keys + half * (WIDE / 2) * DPITCH + tx * 4);
  }
  __syncthreads();
  float factors[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    factors[i] = number(p.scale);
#pragma unroll
    for (int n = 0; n < 4 * DEPTHS; n++) {
      float* const other = queries + (ty + 16 * i) * DPITCH + tx * 4 + n / 4 * 32 + n % 4;
      if (half == 1) *other = totals[i][n];
    }
  }
  __syncthreads();
  if (half == 1) return;
#pragma unroll
  for (int i = 0; i < ROWS; i++)
#pragma unroll
    for (int n = 0; n < 4 * DEPTHS; n++) totals[i][n] += queries[(ty + 16 * i) * DPITCH + tx * 4 + n / 4 * 32 + n % 4];
  writeRows<DEPTHS, DEPTH>(p.dq + batch * p.dqSteps[0] + head * p.dqSteps[1] + row0 * p.dqSteps[2], p.dqSteps[2], rows, totals, factors, tx, ty);
}
`;
}

/** The gradients of keys and values. */
export function keyGradSource(c: AttentionCase, tile: AttentionTile): string {
  return `${attentionHead(c, tile)}
constexpr int STAGES = ${tile.stages};
constexpr int STAGE = WIDE * (DPITCH + WPITCH);
constexpr int SPANS = DEPTHS > WIDTHS ? DEPTHS : WIDTHS;
extern "C" __global__ void __launch_bounds__(${gradientThreads}) ${keyGradEntry}(const Params p) {
  extern __shared__ float4 memory[];
  float* const keys = (float*)memory;
  float* const values = keys + TALL * DPITCH;
  float* const stages = values + TALL * WPITCH;
  float* const weights = stages + STAGES * STAGE;
  float* const slopes = weights + TALL * SPITCH;
  const int half = threadIdx.x / ${tileThreads}, lane = threadIdx.x % ${tileThreads}, tx = lane % 8, ty = lane / 8;
  const long long tiles = (p.keys + TALL - 1) / TALL, tile = blockIdx.x % tiles;
  const long long both = blockIdx.x / tiles, batch = both / p.groups, group = both % p.groups;
  const long long shared = p.heads / p.groups;
  const long long row0 = tile * TALL, rows = p.keys - row0;
  const float factor = number(p.scale) * LOG2E;
  // Queries before the first key see none of these keys.
  const long long start = CAUSAL ? row0 / WIDE * WIDE : 0;
  const long long steps = start < p.queries ? (p.queries - start + WIDE - 1) / WIDE : 0;
  const auto fetchStage = [&](float* to, long long head, long long query0) {
    fetch<WIDE, DEPTH, DPITCH, ${gradientThreads}>(to, p.q + batch * p.qSteps[0] + head * p.qSteps[1] + query0 * p.qSteps[2], p.qSteps[2], p.queries - query0);
    fetch<WIDE, WIDTH, WPITCH, ${gradientThreads}>(to + WIDE * DPITCH, p.d + batch * p.dSteps[0] + head * p.dSteps[1] + query0 * p.dSteps[2], p.dSteps[2], p.queries - query0);
  };
  fetch<TALL, DEPTH, DPITCH, ${gradientThreads}>(keys, p.k + batch * p.kSteps[0] + group * p.kSteps[1] + row0 * p.kSteps[2], p.kSteps[2], rows);
  fetch<TALL, WIDTH, WPITCH, ${gradientThreads}>(values, p.v + batch * p.vSteps[0] + group * p.vSteps[1] + row0 * p.vSteps[2], p.vSteps[2], rows);
  // Gradients of the values in one half of the threads, of the keys in the other.
  float totals[ROWS][4 * SPANS];
  clear(totals);
  int stage = 0;
  long long head = group * shared, query0 = start;
  if (STAGES == 2 && steps > 0) fetchStage(stages, head, query0);
  for (long long n = 0; n < shared * steps; n++) {
    float* const queries = stages + stage * STAGE;
    const float* const arriving = queries + WIDE * DPITCH;
    const bool last = query0 + WIDE >= p.queries;
    const long long nextHead = last ? head + 1 : head, nextQuery = last ? start : query0 + WIDE;
    if (STAGES == 1) {
      __syncthreads();
      fetchStage(queries, head, query0);
    }
    fetched();
    __syncthreads();
    if (STAGES == 2) {
      stage ^= 1;
      if (n + 1 < shared * steps) fetchStage(stages + stage * STAGE, nextHead, nextQuery);
    }
    const long long plane = batch * p.heads + head;
    const float* const bias = p.bias + batch * p.biasSteps[0] + head * p.biasSteps[1];
    const Element* const mask = p.kept + plane * p.queries * p.keys;
    float stats[COLUMNS];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
      const long long query = query0 + tx + 8 * j, at = plane * p.queries + query;
      stats[j] = query >= p.queries ? 0.0f : half ? p.delta[at] : p.stats[at] * LOG2E;
    }
    float scores[ROWS][COLUMNS];
    clear(scores);
    if (half == 0) {
      dots<ROWS, COLUMNS, DEPTH, DPITCH>(scores, keys + ty * DPITCH, queries + tx * DPITCH);
      const int end = columns(p.queries - query0);
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
        const long long key = row0 + ty + 16 * i;
        // The first query that sees the key.
        const int start = (BIAS || DROPOUT) && key >= p.keys ? WIDE : columns(CAUSAL ? key - query0 : 0);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
          const long long query = query0 + tx + 8 * j;
          const bool there = tx + 8 * j >= start && tx + 8 * j < end;
          const float x = there ? weight(scaled(p, bias, scores[i][j], factor, query, key), stats[j]) : 0.0f;
          const int own = (ty + 16 * i) * SPITCH + tx + 8 * j;
          weights[own] = DROPOUT && there ? kept(p, mask, x, query, key) : x;
          if (DROPOUT) slopes[own] = x;
        }
      }
    } else {
      dots<ROWS, COLUMNS, WIDTH, WPITCH>(scores, values + ty * WPITCH, arriving + tx * WPITCH);
    }
    __syncthreads();
    if (half == 0) {
      sums<WIDTHS, WIDE, SPITCH, WPITCH>(totals, weights + ty * SPITCH, arriving + tx * 4);
    } else {
#pragma unroll
      for (int i = 0; i < ROWS; i++) {
        const long long key = row0 + ty + 16 * i;
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
          const long long query = query0 + tx + 8 * j;
          const int own = (ty + 16 * i) * SPITCH + tx + 8 * j;
          const float x = DROPOUT && query < p.queries && key < p.keys ? kept(p, mask, scores[i][j], query, key) : scores[i][j];
          slopes[own] = (DROPOUT ? slopes[own] : weights[own]) * (x - stats[j]);
        }
      }
      // A warp's rows are its own.
      __syncwarp();
      sums<DEPTHS, WIDE, SPITCH, DPITCH>(totals, slopes + ty * SPITCH, queries + tx * 4);
    }
    head = nextHead;
    query0 = nextQuery;
  }
  float factors[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) factors[i] = half ? number(p.scale) : 1.0f;
  if (half == 0) writeRows<WIDTHS, WIDTH>(p.dv + batch * p.dvSteps[0] + group * p.dvSteps[1] + row0 * p.dvSteps[2], p.dvSteps[2], rows, totals, factors, tx, ty);
  else writeRows<DEPTHS, DEPTH>(p.dk + batch * p.dkSteps[0] + group * p.dkSteps[1] + row0 * p.dkSteps[2], p.dkSteps[2], rows, totals, factors, tx, ty);
}
`;
}
