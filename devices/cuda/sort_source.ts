/**
 * CUDA C of sorts. Each element becomes an unsigned key whose order is the
 * wanted one (NaN above everything, −0 equal to 0), with its position beside
 * it. Short rows are sorted by a bitonic network in shared memory, where equal
 * keys are told apart by their positions; long rows 4 bits at a time from the
 * lowest, each pass stable.
 *
 * @module
 */

import { bytesOf, type DType } from "../../core/dtype.ts";
import { storageTypes } from "../../kernel/cuda/types.ts";

/** Threads of a block. */
export const sortThreads = 256;
/** Longest row of the bitonic network. */
export const networkLength = 4096;
/** Elements of a tile of the radix sort, and those of one thread. */
export const tileItems = 8, tileLength = sortThreads * tileItems;
/** Bits of a key that one pass sorts by, and the values they have. */
export const digitBits = 4, digits = 1 << digitBits;

/** Unsigned type that holds the keys of a dtype. */
export function keyType(dtype: DType): "unsigned" | "unsigned long long" {
  return bytesOf(dtype) === 8 ? "unsigned long long" : "unsigned";
}

/** Body of the function from an element x to its key. */
function keyText(dtype: DType): string {
  switch (dtype) {
    case "u8":
    case "bool":
      return "return x;";
    case "i8":
      return "return (unsigned char)x ^ 0x80u;";
    case "i32":
      return "return (unsigned)x ^ 0x80000000u;";
    case "i64":
      return "return (unsigned long long)x ^ 0x8000000000000000ull;";
    case "f16":
      return floatKey("unsigned", "x", "0x8000u", "0x7c00u", "0xffffu");
    case "bf16":
      return floatKey("unsigned", "x", "0x8000u", "0x7f80u", "0xffffu");
    case "f32":
      return floatKey(
        "unsigned",
        "(unsigned)__float_as_int(x)",
        "0x80000000u",
        "0x7f800000u",
        "0xffffffffu",
      );
    case "f64":
      return floatKey(
        "unsigned long long",
        "(unsigned long long)__double_as_longlong(x)",
        "0x8000000000000000ull",
        "0x7ff0000000000000ull",
        "0xffffffffffffffffull",
      );
    default:
      return dtype satisfies never;
  }
}

/** Negative: all bits turned over; else the sign bit set; zeros of both signs alike; NaN above all. */
function floatKey(
  type: string,
  bits: string,
  sign: string,
  infinity: string,
  all: string,
): string {
  return `const ${type} bits = ${bits}, size = bits & ~${sign};
  return size > ${infinity} ? ${all} : size == 0 ? ${sign} : (bits & ${sign}) ? bits ^ ${all} : bits | ${sign};`;
}

function keyFunction(dtype: DType): string {
  return `__device__ __forceinline__ ${keyType(dtype)} key_of(${
    storageTypes[dtype]
  } x) {
  ${keyText(dtype)}
}
`;
}

/** Sorts rows of up to `width` elements, a power of two, in shared memory. */
export function networkSource(dtype: DType, width: number): string {
  const type = storageTypes[dtype], key = keyType(dtype);
  const held = Math.max(width, 2 * sortThreads);
  return `${keyFunction(dtype)}
struct Params {
  const ${type}* input;
  ${type}* values;
  long long* indices;
  long long rows, length, flip;
};
extern "C" __global__ void __launch_bounds__(${sortThreads}) sort_network(const Params p) {
  __shared__ ${key} keys[${held}];
  __shared__ int places[${held}];
  const long long first = (long long)blockIdx.x * ${held / width};
  for (int i = threadIdx.x; i < ${held}; i += ${sortThreads}) {
    const long long row = first + i / ${width};
    const int at = i % ${width};
    const bool real = row < p.rows && at < p.length;
    keys[i] = real ? key_of(p.input[row * p.length + at]) ^ (${key})p.flip : ~(${key})0;
    places[i] = at;
  }
  __syncthreads();
  for (int size = 2; size <= ${width}; size *= 2) {
    for (int half = size / 2; half > 0; half /= 2) {
      for (int t = threadIdx.x; t < ${held / 2}; t += ${sortThreads}) {
        const int a = 2 * t - (t & (half - 1)), b = a + half;
        const bool ascending = (a % ${width} & size) == 0;
        const ${key} ka = keys[a], kb = keys[b];
        const int pa = places[a], pb = places[b];
        const bool larger = ka > kb || (ka == kb && pa > pb);
        if (larger == ascending) {
          keys[a] = kb;
          keys[b] = ka;
          places[a] = pb;
          places[b] = pa;
        }
      }
      __syncthreads();
    }
  }
  for (int i = threadIdx.x; i < ${held}; i += ${sortThreads}) {
    const long long row = first + i / ${width};
    const int at = i % ${width};
    if (row < p.rows && at < p.length) {
      p.values[row * p.length + at] = p.input[row * p.length + places[i]];
      p.indices[row * p.length + at] = places[i];
    }
  }
}
`;
}

/** Writes the keys of all elements, and their positions in their rows. */
export function keysSource(dtype: DType): string {
  return `${keyFunction(dtype)}
struct Params {
  const ${storageTypes[dtype]}* input;
  ${keyType(dtype)}* keys;
  int* places;
  long long count, length, flip;
};
extern "C" __global__ void __launch_bounds__(${sortThreads}) sort_keys(const Params p) {
  const long long step = (long long)gridDim.x * ${sortThreads};
  for (long long i = (long long)blockIdx.x * ${sortThreads} + threadIdx.x; i < p.count; i += step) {
    p.keys[i] = key_of(p.input[i]) ^ (${keyType(dtype)})p.flip;
    p.places[i] = (int)(i % p.length);
  }
}
`;
}

/** Puts elements where the sorted positions say. */
export function gatherSource(dtype: DType): string {
  const type = storageTypes[dtype];
  return `struct Params {
  const ${type}* input;
  const int* places;
  ${type}* values;
  long long* indices;
  long long count, length;
};
extern "C" __global__ void __launch_bounds__(${sortThreads}) sort_gather(const Params p) {
  const long long step = (long long)gridDim.x * ${sortThreads};
  for (long long i = (long long)blockIdx.x * ${sortThreads} + threadIdx.x; i < p.count; i += step) {
    const int place = p.places[i];
    p.values[i] = p.input[i - i % p.length + place];
    p.indices[i] = place;
  }
}
`;
}

function radixParams(key: string): string {
  return `struct Params {
  const ${key}* keys;
  const int* places;
  ${key}* nextKeys;
  int* nextPlaces;
  int* counts;
  long long length, tiles, shift;
};
`;
}

/** Counts the digits of each tile, as [row, digit, tile]. */
export function countSource(key: string): string {
  return `${radixParams(key)}
extern "C" __global__ void __launch_bounds__(${sortThreads}) radix_count(const Params p) {
  __shared__ int counts[${digits}];
  const long long row = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles;
  if (threadIdx.x < ${digits}) counts[threadIdx.x] = 0;
  __syncthreads();
  const ${key}* keys = p.keys + row * p.length;
  for (int k = 0; k < ${tileItems}; k++) {
    const long long i = tile * ${tileLength} + k * ${sortThreads} + threadIdx.x;
    if (i < p.length) atomicAdd(&counts[(int)(keys[i] >> p.shift) & ${
    digits - 1
  }], 1);
  }
  __syncthreads();
  if (threadIdx.x < ${digits}) {
    p.counts[(row * ${digits} + threadIdx.x) * p.tiles + tile] = counts[threadIdx.x];
  }
}
`;
}

/** Counts of a row become places: the sum of all counts before each. One block per row. */
export function offsetsSource(): string {
  const warps = sortThreads / 32;
  return `struct Params {
  int* counts;
  long long length;
};
extern "C" __global__ void __launch_bounds__(${sortThreads}) radix_offsets(const Params p) {
  __shared__ int sums[${warps}];
  int* counts = p.counts + blockIdx.x * p.length;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int running = 0;
  for (long long first = 0; first < p.length; first += ${sortThreads}) {
    const long long i = first + threadIdx.x;
    const int own = i < p.length ? counts[i] : 0;
    int upTo = own;
    for (int d = 1; d < 32; d *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, upTo, d);
      if (lane >= d) upTo += other;
    }
    if (lane == 31) sums[warp] = upTo;
    __syncthreads();
    int before = running;
    for (int w = 0; w < ${warps}; w++) {
      if (w < warp) before += sums[w];
      running += sums[w];
    }
    if (i < p.length) counts[i] = before + upTo - own;
    __syncthreads();
  }
}
`;
}

/** Moves each element of a tile to its place; elements of one digit keep their order. */
export function moveSource(key: string): string {
  const warps = sortThreads / 32, mask = digits - 1;
  return `${radixParams(key)}
extern "C" __global__ void __launch_bounds__(${sortThreads}) radix_move(const Params p) {
  // How many elements of each digit each thread has; then, how many stand before them in the tile.
  __shared__ unsigned short ranks[${digits}][${sortThreads}];
  __shared__ int sums[${warps}];
  __shared__ int starts[${digits}];
  const int t = threadIdx.x, lane = t % 32, warp = t / 32;
  const long long row = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles;
  const long long first = tile * ${tileLength} + t * ${tileItems};
  const long long base = row * p.length;
  for (int d = 0; d < ${digits}; d++) ranks[d][t] = 0;
  ${key} keys[${tileItems}];
  for (int k = 0; k < ${tileItems}; k++) {
    if (first + k < p.length) {
      keys[k] = p.keys[base + first + k];
      ranks[(int)(keys[k] >> p.shift) & ${mask}][t]++;
    }
  }
  __syncthreads();
  // Sums run over all threads of a digit, then the next digit: ${digits} neighbours in that order per thread.
  unsigned short* own = &ranks[0][0] + t * ${digits};
  int total = 0;
  for (int k = 0; k < ${digits}; k++) total += own[k];
  int upTo = total;
  for (int d = 1; d < 32; d *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, upTo, d);
    if (lane >= d) upTo += other;
  }
  if (lane == 31) sums[warp] = upTo;
  __syncthreads();
  int before = upTo - total;
  for (int w = 0; w < warp; w++) before += sums[w];
  for (int k = 0; k < ${digits}; k++) {
    const int count = own[k];
    own[k] = (unsigned short)before;
    before += count;
  }
  __syncthreads();
  if (t < ${digits}) {
    starts[t] = p.counts[(row * ${digits} + t) * p.tiles + tile] - ranks[t][0];
  }
  __syncthreads();
  for (int k = 0; k < ${tileItems}; k++) {
    if (first + k < p.length) {
      const int digit = (int)(keys[k] >> p.shift) & ${mask};
      const long long to = base + starts[digit] + ranks[digit][t]++;
      p.nextKeys[to] = keys[k];
      p.nextPlaces[to] = p.places[base + first + k];
    }
  }
}
`;
}
