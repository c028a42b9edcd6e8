/**
 * Attention o = softmax(q·kᵀ·scale + bias)·v in CUDA C, forward: a block has
 * some queries of one head, and takes the keys and values tile by tile with the
 * running maximum and sum of each row (Dao et al., FlashAttention, 2022).
 *
 * On an H100, for queries, keys and values 64 wide: a block has 128 queries and
 * takes 64 keys at a time, 104 KiB of shared memory and 128 threads, so that a
 * multiprocessor has two. Each thread has 8×8 scores and 8×8 results: for each
 * four steps of an inner product it reads 16 times 16 bytes from shared memory
 * and computes 256 products with sums, which the multiprocessor's 128 lanes
 * take at least as long for. Values are fetched while the scores are computed,
 * the next keys while the results are summed. Of the instructions 81 % are
 * products with sums, so that at most 0.81 · 67 TFLOP/s are reached. Against
 * that memory hardly matters: T = 1024 needs 4·64·1024² operations per head (4 µs of
 * the whole GPU's peak) and 4·64·1024·4 bytes (0.3 µs at 3.35 TB/s).
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

/** Bytes of shared memory of {@linkcode attentionSource}. */
export function attentionShared(
  { depth, width }: AttentionCase,
  { rows, columns }: AttentionTile,
): number {
  const tall = 16 * rows, wide = 8 * columns;
  return 4 *
    ((tall + wide) * pitchOf(depth) + wide * pitchOf(width) +
      tall * scorePitch(columns));
}

/** Name of the kernel. */
export const attentionEntry = "attention";

/** The kernel; a grid of one block for each head's tile of rows. */
export function attentionSource(c: AttentionCase, tile: AttentionTile): string {
  return `${attentionHead(c, tile)}
extern "C" __global__ void __launch_bounds__(${tileThreads}) ${attentionEntry}(const Params p) {
  extern __shared__ float4 memory[];
  float* const queries = (float*)memory;
  float* const keys = queries + TALL * DPITCH;
  float* const values = keys + WIDE * DPITCH;
  float* const weights = values + WIDE * WPITCH;
  const int tx = threadIdx.x % 8, ty = threadIdx.x / 8;
  const long long tiles = (p.queries + TALL - 1) / TALL;
  // Under a causal mask the last rows take longest: they go first.
  const long long at = blockIdx.x % tiles, tile = CAUSAL ? tiles - 1 - at : at;
  const long long both = blockIdx.x / tiles, batch = both / p.heads, head = both % p.heads;
  const long long group = head / (p.heads / p.groups);
  const long long row0 = tile * TALL, rows = p.queries - row0;
  const Element* const k = p.k + batch * p.kSteps[0] + group * p.kSteps[1];
  const Element* const v = p.v + batch * p.vSteps[0] + group * p.vSteps[1];
  const float* const bias = p.bias + batch * p.biasSteps[0] + head * p.biasSteps[1];
  const Element* const mask = p.kept + both * p.queries * p.keys;
  const float factor = number(p.scale) * LOG2E;
  const long long end = CAUSAL && row0 + TALL < p.keys ? row0 + TALL : p.keys;
  float totals[ROWS][4 * WIDTHS], most[ROWS], sum[ROWS];
  clear(totals);
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    most[i] = -__int_as_float(0x7f800000);
    sum[i] = 0.0f;
  }
  fetch<TALL, DEPTH, DPITCH, ${tileThreads}>(queries, p.q + batch * p.qSteps[0] + head * p.qSteps[1] + row0 * p.qSteps[2], p.qSteps[2], rows);
  fetch<WIDE, DEPTH, DPITCH, ${tileThreads}>(keys, k, p.kSteps[2], p.keys);
  for (long long key0 = 0; key0 < end; key0 += WIDE) {
    fetched();
    __syncthreads();
    fetch<WIDE, WIDTH, WPITCH, ${tileThreads}>(values, v + key0 * p.vSteps[2], p.vSteps[2], p.keys - key0);
    float scores[ROWS][COLUMNS];
    clear(scores);
    dots<ROWS, COLUMNS, DEPTH, DPITCH>(scores, queries + ty * DPITCH, keys + tx * DPITCH);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      const long long query = row0 + ty + 16 * i;
      const int end = seen(p, query, key0);
      float top = most[i];
#pragma unroll
      for (int j = 0; j < COLUMNS; j++) {
        const long long key = key0 + tx + 8 * j;
        scores[i][j] = tx + 8 * j < end ? scaled(p, bias, scores[i][j], factor, query, key) : -__int_as_float(0x7f800000);
        top = fmaxf(top, scores[i][j]);
      }
#pragma unroll
      for (int d = 1; d < 8; d *= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, d));
      // Where nothing is seen yet, infinity minus infinity would give NaN.
      const float base = top == -__int_as_float(0x7f800000) ? 0.0f : top;
      const float shrink = power2(most[i] - base);
      most[i] = top;
      sum[i] *= shrink;
#pragma unroll
      for (int n = 0; n < 4 * WIDTHS; n++) totals[i][n] *= shrink;
      float* const row = weights + (ty + 16 * i) * SPITCH + tx;
#pragma unroll
      for (int j = 0; j < COLUMNS; j++) {
        const float x = power2(scores[i][j] - base);
        sum[i] += x;
        row[8 * j] = DROPOUT && tx + 8 * j < end ? kept(p, mask, x, query, key0 + tx + 8 * j) : x;
      }
    }
    fetched();
    __syncthreads();
    if (key0 + WIDE < end) fetch<WIDE, DEPTH, DPITCH, ${tileThreads}>(keys, k + (key0 + WIDE) * p.kSteps[2], p.kSteps[2], p.keys - key0 - WIDE);
    sums<WIDTHS, WIDE, SPITCH, WPITCH>(totals, weights + ty * SPITCH, values + tx * 4);
  }
  float inverse[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
#pragma unroll
    for (int d = 1; d < 8; d *= 2) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], d);
    inverse[i] = 1.0f / sum[i];
    if (tx == 0 && ty + 16 * i < rows) p.stats[both * p.queries + row0 + ty + 16 * i] = fmaf(most[i], LN2, logf(sum[i]));
  }
  writeRows<WIDTHS, WIDTH>(p.o + batch * p.oSteps[0] + head * p.oSteps[1] + row0 * p.oSteps[2], p.oSteps[2], rows, totals, inverse, tx, ty);
}
`;
}
