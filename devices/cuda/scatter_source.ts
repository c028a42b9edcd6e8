/**
 * CUDA C of scatters.
 *
 * @module
 */

import type { ScatterMode } from "../../core/device.ts";
import { preludeFor } from "../../kernel/cuda/prelude.ts";

/** Types in which values are combined; anything is moved by `set` as its bytes. */
export type ScatterElement = "f32" | "f64" | "i32" | "i64" | "b8" | "b16";

/** Threads of a block. */
export const scatterThreads = 256;

const types: Readonly<Record<ScatterElement, string>> = {
  f32: "float",
  f64: "double",
  i32: "int",
  i64: "long long",
  b8: "unsigned char",
  b16: "unsigned short",
};

/** What becomes of a target where a value meets it. */
function combineText(element: ScatterElement, mode: ScatterMode): string {
  const type = types[element];
  const float = element === "f32" || element === "f64";
  switch (mode) {
    case "set":
      return "b";
    case "add":
    case "mul": {
      const symbol = mode === "add" ? "+" : "*";
      return float
        ? `a ${symbol} b`
        : `(${type})((unsigned ${type})a ${symbol} (unsigned ${type})b)`;
    }
    case "max":
    case "min":
      return float
        ? `${element}_${mode}(a, b)`
        : `b ${mode === "max" ? ">" : "<"} a ? b : a`;
    default:
      return mode satisfies never;
  }
}

/** The parameters of all kernels, and where a source element goes. */
function head(
  element: ScatterElement,
  mode: ScatterMode,
  perElement: boolean,
): string {
  const type = types[element];
  const combine = combineText(element, mode);
  return `${preludeFor(combine)}struct Params {
  ${type}* target;
  const ${type}* source;
  const long long* index;
  int* winners;
  void* keys;
  int* places;
  long long outer, targetSize, sourceSize, inner;
};
__device__ __forceinline__ ${type} combine(${type} a, ${type} b) { return ${combine}; }
// Position along the axis for source element (o, s, i); -1 where it is out of range.
__device__ __forceinline__ long long position(const Params& p, long long o, long long s, long long i) {
  const long long t = p.index[${
    perElement ? "(o * p.sourceSize + s) * p.inner + i" : "s"
  }];
  return t >= 0 && t < p.targetSize ? t : -1;
}
`;
}

function eachThread(name: string, count: string, body: string): string {
  return `extern "C" __global__ void __launch_bounds__(${scatterThreads}) ${name}(const Params p) {
  const long long count = ${count};
  const long long step = (long long)gridDim.x * ${scatterThreads};
  for (long long n = (long long)blockIdx.x * ${scatterThreads} + threadIdx.x; n < count; n += step) {
${body}
  }
}
`;
}

/** A thread per line along the axis walks the source in order. */
export function walkSource(
  element: ScatterElement,
  mode: ScatterMode,
  perElement: boolean,
): string {
  return head(element, mode, perElement) + eachThread(
    "scatter_walk",
    "p.outer * p.inner",
    `    const long long o = n / p.inner, i = n % p.inner;
    for (long long s = 0; s < p.sourceSize; s++) {
      const long long t = position(p, o, s, i);
      if (t < 0) continue;
      ${types[element]}* to = p.target + (o * p.targetSize + t) * p.inner + i;
      *to = combine(*to, p.source[(o * p.sourceSize + s) * p.inner + i]);
    }`,
  );
}

/** Every source element by itself, where the order of combinations makes no difference. */
export function atomicSource(
  element: ScatterElement,
  mode: ScatterMode,
  perElement: boolean,
): string {
  const [bits, to, from, from0] = element === "f32"
    ? ["int", "__float_as_int", "__int_as_float", "int"]
    : element === "f64"
    ? [
      "unsigned long long",
      "__double_as_longlong",
      "__longlong_as_double",
      "long long",
    ]
    : element === "i32"
    ? ["int", "", "", "int"]
    : ["unsigned long long", "", "(long long)", "long long"];
  return head(element, mode, perElement) + eachThread(
    "scatter_atomic",
    "p.outer * p.sourceSize * p.inner",
    `    const long long i = n % p.inner, line = n / p.inner;
    const long long o = line / p.sourceSize, s = line % p.sourceSize;
    const long long t = position(p, o, s, i);
    if (t >= 0) {
      ${bits}* to = (${bits}*)(p.target + (o * p.targetSize + t) * p.inner + i);
      ${bits} now = *to;
      for (;;) {
        const ${bits} next = (${bits})${to}(combine(${from}((${from0})now), p.source[n]));
        if (next == now) break;
        const ${bits} met = atomicCAS(to, now, next);
        if (met == now) break;
        now = met;
      }
    }`,
  );
}

/** For each target cell the last source position that hits it: cells are targets, or positions along the axis where all lines share the index. */
export function winnersSource(
  element: ScatterElement,
  perElement: boolean,
): string {
  const text = head(element, "set", perElement);
  const cell = perElement ? "(o * p.targetSize + t) * p.inner + i" : "t";
  const [count, place] = perElement
    ? [
      "p.outer * p.sourceSize * p.inner",
      `    const long long i = n % p.inner, line = n / p.inner;
    const long long o = line / p.sourceSize, s = line % p.sourceSize;`,
    ]
    : ["p.sourceSize", "    const long long o = 0, s = n, i = 0;"];
  return text + eachThread(
    "scatter_none",
    perElement ? "p.outer * p.targetSize * p.inner" : "p.targetSize",
    "    p.winners[n] = -1;",
  ) + eachThread(
    "scatter_winners",
    count,
    `${place}
    const long long t = position(p, o, s, i);
    if (t >= 0) atomicMax(p.winners + ${cell}, (int)s);`,
  ) + eachThread(
    "scatter_last",
    "p.outer * p.sourceSize * p.inner",
    `    const long long i = n % p.inner, line = n / p.inner;
    const long long o = line / p.sourceSize, s = line % p.sourceSize;
    const long long t = position(p, o, s, i);
    if (t >= 0 && p.winners[${cell}] == (int)s) {
      p.target[(o * p.targetSize + t) * p.inner + i] = p.source[n];
    }`,
  );
}

/** Keys by which source positions are sorted: the target cell, or one past the last where there is none. */
export function cellKeysSource(
  element: ScatterElement,
  mode: ScatterMode,
  perElement: boolean,
  key: string,
): string {
  const body = perElement
    ? `    const long long i = n % p.inner, line = n / p.inner;
    const long long o = line / p.sourceSize, s = line % p.sourceSize;
    const long long t = position(p, o, s, i);
    ((${key}*)p.keys)[n] = (${key})(t < 0 ? p.outer * p.targetSize * p.inner : (o * p.targetSize + t) * p.inner + i);`
    : `    const long long t = position(p, 0, n, 0);
    ((${key}*)p.keys)[n] = (${key})(t < 0 ? p.targetSize : t);`;
  return head(element, mode, perElement) + eachThread(
    "scatter_keys",
    perElement ? "p.outer * p.sourceSize * p.inner" : "p.sourceSize",
    `${body}
    p.places[n] = (int)n;`,
  );
}

/** A thread per run of equal keys, and per line: combines the run's elements in the order of the source. */
export function runsSource(
  element: ScatterElement,
  mode: ScatterMode,
  key: string,
): string {
  const type = types[element];
  return head(element, mode, false) + eachThread(
    "scatter_runs",
    "p.outer * p.sourceSize * p.inner",
    `    const ${key}* keys = (const ${key}*)p.keys;
    const long long i = n % p.inner, line = n / p.inner;
    const long long o = line / p.sourceSize, q = line % p.sourceSize;
    const ${key} t = keys[q];
    if ((long long)t < p.targetSize && (q == 0 || keys[q - 1] != t)) {
      ${type}* to = p.target + (o * p.targetSize + (long long)t) * p.inner + i;
      ${type} total = *to;
      for (long long r = q; r < p.sourceSize && keys[r] == t; r++) {
        total = combine(total, p.source[(o * p.sourceSize + p.places[r]) * p.inner + i]);
      }
      *to = total;
    }`,
  );
}
