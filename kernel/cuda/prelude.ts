/**
 * Functions that generated kernels call, in CUDA C. A kernel's source gets
 * those that it uses and no others.
 *
 * Half types are converted by the GPU's own instructions where NVRTC compiles,
 * and by arithmetic on bits everywhere else (bf16 below sm_80, too).
 *
 * @module
 */

import { specialSources } from "./special.ts";

const head = "__device__ __forceinline__";

/** Division and remainder of integers: 0 for a divisor of 0, wrapping for the smallest number over −1. */
function integer(name: "i32" | "i64"): Record<string, string> {
  const type = name === "i32" ? "int" : "long long";
  return {
    [`${name}_div`]: `${head} ${type} ${name}_div(${type} a, ${type} b) {
  return b == 0 ? 0 : b == -1 ? (${type})(0 - (unsigned ${type})a) : a / b;
}`,
    [`${name}_rem`]: `${head} ${type} ${name}_rem(${type} a, ${type} b) {
  return b == 0 || b == -1 ? 0 : a % b;
}`,
  };
}

/** Extrema that pass NaN on. */
function extrema(op: "min" | "max"): Record<string, string> {
  return {
    [`f32_${op}`]: `${head} float f32_${op}(float a, float b) {
#if defined(__CUDACC_RTC__) && __CUDA_ARCH__ >= 800
  float r;
  asm("${op}.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
#else
  return a != a || b != b ? a + b : f${op}f(a, b);
#endif
}`,
    [`f64_${op}`]: `${head} double f64_${op}(double a, double b) {
  return a != a || b != b ? a + b : f${op}(a, b);
}`,
  };
}

/** Conversions that truncate, saturate, and make 0 of NaN. */
function conversion(
  from: "f32" | "f64",
  to: "i32" | "i64",
): Record<string, string> {
  const [source, suffix] = from === "f32" ? ["float", "f"] : ["double", ""];
  const [target, most, bound] = to === "i32"
    ? ["int", "2147483647", "2147483648.0"]
    : ["long long", "9223372036854775807LL", "9223372036854775808.0"];
  const name = `${from}_to_${to}`;
  return {
    [name]: `${head} ${target} ${name}(${source} x) {
  return x != x ? 0 : x >= ${bound}${suffix} ? ${most} : x < -${bound}${suffix} ? -${most} - 1 : (${target})x;
}`,
  };
}

const halves: Record<string, string> = {
  f16_to_f32: `${head} float f16_to_f32(unsigned short h) {
#if defined(__CUDACC_RTC__)
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h));
  return r;
#else
  const int size = h & 0x7fff;
  // Exponent and mantissa in f32's places need 2^112 more; infinities and NaN keep all exponent bits set.
  const float scaled = __int_as_float(size << 13) * __int_as_float(0x77800000);
  const int bits = __float_as_int(scaled) | (size >= 0x7c00 ? 0x7f800000 : 0);
  return __int_as_float(bits | (h & 0x8000) << 16);
#endif
}`,
  f32_to_f16: `${head} unsigned short f32_to_f16(float x) {
#if defined(__CUDACC_RTC__)
  unsigned short r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
  return r;
#else
  const unsigned bits = (unsigned)__float_as_int(x), size = bits & 0x7fffffffu;
  const unsigned sign = bits >> 16 & 0x8000u;
  if (size > 0x7f800000u) return (unsigned short)(sign | 0x7e00u);
  if (size >= 0x47800000u) return (unsigned short)(sign | 0x7c00u);
  if (size >= 0x38800000u) {
    return (unsigned short)(sign | (size - 0x37fff001u + (size >> 13 & 1u)) >> 13);
  }
  // Subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
  const float shifted = __int_as_float((int)size) + 0.5f;
  return (unsigned short)(sign | ((unsigned)__float_as_int(shifted) - 0x3f000000u));
#endif
}`,
  bf16_to_f32: `${head} float bf16_to_f32(unsigned short h) {
  return __int_as_float((int)((unsigned)h << 16));
}`,
  f32_to_bf16: `${head} unsigned short f32_to_bf16(float x) {
#if defined(__CUDACC_RTC__) && __CUDA_ARCH__ >= 800
  unsigned short r;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x));
  return r;
#else
  const unsigned bits = (unsigned)__float_as_int(x);
  if (x != x) return 0x7fc0;
  return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
}`,
};

const indexing: Record<string, string> = {
  // n / d for n < 2^31, with the magic number and shift of d (see `divider`).
  fast_div:
    `${head} unsigned fast_div(unsigned n, unsigned magic, unsigned shift) {
  return (__umulhi(n, magic) + n) >> shift;
}`,
  // n / d for n and d >= 0, in 32 bits where both fit.
  long_div: `${head} long long long_div(long long n, long long d) {
  return ((n | d) >> 32) == 0 ? (long long)((unsigned)n / (unsigned)d) : n / d;
}`,
  clamp: `${head} int clamp(int at, int last) {
  return at < 0 ? 0 : at > last ? last : at;
}`,
};

/** Sources by name; a function may use those before it. */
const sources: Readonly<Record<string, string>> = {
  ...integer("i32"),
  ...integer("i64"),
  ...extrema("min"),
  ...extrema("max"),
  ...conversion("f32", "i32"),
  ...conversion("f32", "i64"),
  ...conversion("f64", "i32"),
  ...conversion("f64", "i64"),
  ...halves,
  ...indexing,
  ...specialSources,
};

const names = Object.keys(sources);

/** The functions that `body` uses, and those that they use, as source to put before it. */
export function preludeFor(body: string): string {
  const used = new Set<string>();
  const open = [body];
  for (let text = open.pop(); text !== undefined; text = open.pop()) {
    for (const word of text.match(/\b[a-z]\w*(?=\()/g) ?? []) {
      if (used.has(word) || !Object.hasOwn(sources, word)) continue;
      used.add(word);
      open.push(sources[word]);
    }
  }
  return names.filter((name) => used.has(name))
    .map((name) => `${sources[name]}\n`).join("");
}

/**
 * The magic number and shift with which `fast_div` divides by `d`
 * (1 ≤ d < 2³¹): shift = ⌈log₂ d⌉, magic = ⌊2³²·(2^shift − d)/d⌋ + 1
 * (Granlund and Montgomery, 1994).
 */
export function divider(d: number): readonly [magic: number, shift: number] {
  const shift = d === 1 ? 0 : 32 - Math.clz32(d - 1);
  // In two steps of 16 bits, each of them exact.
  const rest = 2 ** shift - d;
  const high = Math.floor(rest * 65536 / d);
  const low = Math.floor((rest * 65536 - high * d) * 65536 / d);
  return [high * 65536 + low + 1, shift];
}
