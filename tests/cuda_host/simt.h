// CUDA C as far as Decaf's kernels use it, for g++. No system header, and of
// what is here only the parts that a kernel uses (nvrtc_needs.cc names them in
// macros before it includes this), so that one kernel compiles in some 20 ms.
#pragma once
#include "simt_state.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static __attribute__((section("decaf_shared")))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define CUDART_VERSION 13020

typedef decltype(sizeof(0)) size_t;
typedef decltype((char *)0 - (char *)0) ptrdiff_t;
extern "C" int printf(const char *format, ...);

typedef DecafIndex uint3;
struct dim3 {
  unsigned x, y, z;
};
#define threadIdx (decaf_simt.thread)
#define blockIdx (decaf_simt.block)
#define blockDim (decaf_simt.block_dim)
#define gridDim (decaf_simt.grid_dim)
#define warpSize 32

// ---- vectors
#define DECAF_VECTORS(T, name, align2, align4)                                 \
  struct name##1 {                                                             \
    T x;                                                                       \
  };                                                                           \
  struct alignas(align2) name##2 {                                             \
    T x, y;                                                                    \
  };                                                                           \
  struct name##3 {                                                             \
    T x, y, z;                                                                 \
  };                                                                           \
  struct alignas(align4) name##4 {                                             \
    T x, y, z, w;                                                              \
  };                                                                           \
  static inline name##1 make_##name##1(T x) { return {x}; }                    \
  static inline name##2 make_##name##2(T x, T y) { return {x, y}; }            \
  static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }    \
  static inline name##4 make_##name##4(T x, T y, T z, T w) {                   \
    return {x, y, z, w};                                                       \
  }
typedef unsigned char decaf_uchar;
typedef unsigned short decaf_ushort;
typedef unsigned long decaf_ulong;
typedef long long decaf_longlong;
typedef unsigned long long decaf_ulonglong;
#ifdef DECAF_NEEDS_char
DECAF_VECTORS(signed char, char, 2, 4)
#endif
#ifdef DECAF_NEEDS_uchar
DECAF_VECTORS(decaf_uchar, uchar, 2, 4)
#endif
#ifdef DECAF_NEEDS_short
DECAF_VECTORS(short, short, 4, 8)
#endif
#ifdef DECAF_NEEDS_ushort
DECAF_VECTORS(decaf_ushort, ushort, 4, 8)
#endif
#ifdef DECAF_NEEDS_int
DECAF_VECTORS(int, int, 8, 16)
#endif
#ifdef DECAF_NEEDS_long
DECAF_VECTORS(long, long, 16, 16)
#endif
#ifdef DECAF_NEEDS_ulong
DECAF_VECTORS(decaf_ulong, ulong, 16, 16)
#endif
#ifdef DECAF_NEEDS_longlong
DECAF_VECTORS(decaf_longlong, longlong, 16, 16)
#endif
#ifdef DECAF_NEEDS_ulonglong
DECAF_VECTORS(decaf_ulonglong, ulonglong, 16, 16)
#endif
#ifdef DECAF_NEEDS_float
DECAF_VECTORS(float, float, 8, 16)
#endif
#ifdef DECAF_NEEDS_double
DECAF_VECTORS(double, double, 16, 16)
#endif
#ifdef DECAF_NEEDS_uint
struct uint1 {
  unsigned x;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
static inline uint1 make_uint1(unsigned x) { return {x}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) {
  return {x, y, z};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
#endif

// ---- bits
#ifdef DECAF_NEEDS_bits
template <class To, class From> static inline To decaf_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
static inline int __float_as_int(float x) { return decaf_bits<int>(x); }
static inline unsigned __float_as_uint(float x) {
  return decaf_bits<unsigned>(x);
}
static inline float __int_as_float(int x) { return decaf_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return decaf_bits<float>(x); }
static inline long long __double_as_longlong(double x) {
  return decaf_bits<long long>(x);
}
static inline double __longlong_as_double(long long x) {
  return decaf_bits<double>(x);
}
static inline int __double2hiint(double x) {
  return int(decaf_bits<unsigned long long>(x) >> 32);
}
static inline int __double2loint(double x) {
  return int(decaf_bits<unsigned long long>(x));
}
static inline double __hiloint2double(int hi, int lo) {
  return decaf_bits<double>((unsigned long long)(unsigned)hi << 32 |
                            (unsigned)lo);
}
#endif
#ifdef DECAF_NEEDS_count
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
static inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz((unsigned)x);
}
static inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll((unsigned long long)x);
}
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
  return r;
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  unsigned long long both = (unsigned long long)b << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; i++)
    r |= (unsigned)(both >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
  return r;
}
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) {
  return (s & 31) == 0 ? hi : hi << (s & 31) | lo >> (32 - (s & 31));
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) {
  return (s & 31) == 0 ? lo : lo >> (s & 31) | hi << (32 - (s & 31));
}
static inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
static inline unsigned __umulhi(unsigned a, unsigned b) {
  return unsigned((unsigned long long)a * b >> 32);
}
static inline long long __mul64hi(long long a, long long b) {
  return (long long)((__int128)a * b >> 64);
}
static inline unsigned long long __umul64hi(unsigned long long a,
                                            unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#endif

// ---- memory
#ifdef DECAF_NEEDS_load
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline T __ldca(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T v) { *p = v; }
template <class T> static inline void __stcg(T *p, T v) { *p = v; }
#endif
static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block() { __threadfence(); }
static inline void __threadfence_system() { __threadfence(); }

// The combinations that the hardware has.
#ifdef DECAF_NEEDS_atomic
#define DECAF_ATOMIC(T)                                                        \
  static inline T atomicExch(T *p, T v) {                                      \
    T old;                                                                     \
    __atomic_exchange(p, &v, &old, __ATOMIC_SEQ_CST);                          \
    return old;                                                                \
  }
#define DECAF_ATOMIC_CAS(T)                                                    \
  static inline T atomicCAS(T *p, T expected, T v) {                           \
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST,      \
                                __ATOMIC_SEQ_CST);                             \
    return expected;                                                           \
  }
template <class T, class F> static inline T decaf_update(T *p, F next) {
  T old, fresh;
  __atomic_load(p, &old, __ATOMIC_SEQ_CST);
  do
    fresh = next(old);
  while (!__atomic_compare_exchange(p, &old, &fresh, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST));
  return old;
}
#define DECAF_ATOMIC_OP(name, T, expression)                                   \
  static inline T name(T *p, T v) {                                            \
    return decaf_update(p, [v](T old) -> T { return expression; });            \
  }
#define DECAF_ATOMIC_BITS(T)                                                   \
  DECAF_ATOMIC_OP(atomicMin, T, v < old ? v : old)                             \
  DECAF_ATOMIC_OP(atomicMax, T, v > old ? v : old)                             \
  DECAF_ATOMIC_OP(atomicAnd, T, old & v)                                       \
  DECAF_ATOMIC_OP(atomicOr, T, old | v)                                        \
  DECAF_ATOMIC_OP(atomicXor, T, old ^ v)
DECAF_ATOMIC(int)
DECAF_ATOMIC(unsigned)
DECAF_ATOMIC(unsigned long long)
DECAF_ATOMIC(float)
DECAF_ATOMIC_CAS(int)
DECAF_ATOMIC_CAS(unsigned)
DECAF_ATOMIC_CAS(unsigned long long)
DECAF_ATOMIC_CAS(unsigned short)
DECAF_ATOMIC_OP(atomicAdd, int, old + v)
DECAF_ATOMIC_OP(atomicAdd, unsigned, old + v)
DECAF_ATOMIC_OP(atomicAdd, unsigned long long, old + v)
DECAF_ATOMIC_OP(atomicAdd, float, old + v)
DECAF_ATOMIC_OP(atomicAdd, double, old + v)
DECAF_ATOMIC_OP(atomicSub, int, old - v)
DECAF_ATOMIC_OP(atomicSub, unsigned, old - v)
DECAF_ATOMIC_OP(atomicInc, unsigned, old >= v ? 0 : old + 1)
DECAF_ATOMIC_OP(atomicDec, unsigned, old == 0 || old > v ? v : old - 1)
DECAF_ATOMIC_BITS(int)
DECAF_ATOMIC_BITS(unsigned)
DECAF_ATOMIC_BITS(long long)
DECAF_ATOMIC_BITS(unsigned long long)
#endif

// ---- barriers and warps; the line tells apart who waits where
#define __syncthreads() decaf_sync(__LINE__)
#define __syncthreads_count(p) decaf_sync_count(__LINE__, (p) != 0)
#define __syncthreads_or(p) (decaf_sync_count(__LINE__, (p) != 0) > 0)
#define __syncthreads_and(p)                                                   \
  (decaf_sync_count(__LINE__, (p) == 0) == 0)
#ifdef DECAF_NEEDS_warp
template <class T>
static inline T decaf_lane(unsigned mask, T v, int kind, int lane, int width,
                           int line) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2,
                "shuffles take 2, 4 or 8 bytes");
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &v, sizeof v);
  bits = decaf_warp(mask, bits, kind, lane, width, line);
  __builtin_memcpy(&v, &bits, sizeof v);
  return v;
}
template <class T>
static inline T decaf_shuffle(int line, int kind, unsigned mask, T v, int lane,
                              int width = 32) {
  return decaf_lane(mask, v, kind, lane, width, line);
}
#define __shfl_sync(...) decaf_shuffle(__LINE__, DECAF_SHUFFLE, __VA_ARGS__)
#define __shfl_xor_sync(...)                                                   \
  decaf_shuffle(__LINE__, DECAF_SHUFFLE_XOR, __VA_ARGS__)
#define __shfl_up_sync(...)                                                    \
  decaf_shuffle(__LINE__, DECAF_SHUFFLE_UP, __VA_ARGS__)
#define __shfl_down_sync(...)                                                  \
  decaf_shuffle(__LINE__, DECAF_SHUFFLE_DOWN, __VA_ARGS__)
static inline void decaf_warp_barrier(int line, unsigned mask = 0xffffffffu) {
  decaf_warp(mask, 0, DECAF_SYNC, 0, 32, line);
}
#define __syncwarp(...)                                                        \
  decaf_warp_barrier(__LINE__ __VA_OPT__(, ) __VA_ARGS__)
static inline unsigned decaf_vote(int line, int kind, unsigned mask, int p) {
  return (unsigned)decaf_warp(mask, p != 0, kind, 0, 32, line);
}
#define __ballot_sync(mask, p) decaf_vote(__LINE__, DECAF_BALLOT, mask, p)
#define __any_sync(mask, p) ((int)decaf_vote(__LINE__, DECAF_ANY, mask, p))
#define __all_sync(mask, p) ((int)decaf_vote(__LINE__, DECAF_ALL, mask, p))
template <class T>
static inline T decaf_reduce(int line, int kind, unsigned mask, T v) {
  return (T)decaf_warp(mask, (unsigned long long)(long long)v, kind, 0, 32,
                       line);
}
#define __reduce_add_sync(m, v) decaf_reduce(__LINE__, DECAF_SUM, m, v)
#define __reduce_min_sync(m, v) decaf_reduce(__LINE__, DECAF_MIN, m, v)
#define __reduce_max_sync(m, v) decaf_reduce(__LINE__, DECAF_MAX, m, v)
#define __reduce_and_sync(m, v) decaf_reduce(__LINE__, DECAF_AND, m, v)
#define __reduce_or_sync(m, v) decaf_reduce(__LINE__, DECAF_OR, m, v)
#define __reduce_xor_sync(m, v) decaf_reduce(__LINE__, DECAF_XOR, m, v)
template <class T>
static inline unsigned decaf_match(int line, unsigned mask, T v) {
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &v, sizeof v);
  return (unsigned)decaf_warp(mask, bits, DECAF_MATCH, 0, 32, line);
}
#define __match_any_sync(m, v) decaf_match(__LINE__, m, v)
static inline unsigned __activemask() { return 0xffffffffu; }
#endif

#include "simt_math.h"

// ---- what the runner calls
struct DecafKernel {
  const char *name;
  void (*run_block)(void **);
  void (*run_thread)(void **);
  int count;
  const unsigned *sizes;
  const unsigned *alignments;
  const unsigned *pointers; // triples: parameter, offset in it, how many
  int pointer_count;
  int max_threads;
  int barriers;
};
