// CUDA's mathematical functions, from the C library and the compiler. Those of
// one or two arguments are declared one by one, as a kernel uses them.
#pragma once

#define DECAF_MATH1(name)                                                      \
  extern "C" double name(double) noexcept;                                     \
  extern "C" float name##f(float) noexcept;                                    \
  static inline float name(float x) { return name##f(x); }
#define DECAF_MATH2(name)                                                      \
  extern "C" double name(double, double) noexcept;                             \
  extern "C" float name##f(float, float) noexcept;                             \
  static inline float name(float x, float y) { return name##f(x, y); }
#ifdef DECAF_FUNCTIONS
DECAF_FUNCTIONS
#endif

#ifdef DECAF_NEEDS_math
extern "C" double exp10(double) noexcept;
extern "C" float exp10f(float) noexcept;
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;
extern "C" double frexp(double, int *) noexcept;
extern "C" float frexpf(float, int *) noexcept;
extern "C" double modf(double, double *) noexcept;
extern "C" float modff(float, float *) noexcept;
extern "C" double j0(double) noexcept;
extern "C" double j1(double) noexcept;
extern "C" void sincos(double, double *, double *) noexcept;
extern "C" void sincosf(float, float *, float *) noexcept;
extern "C" long lrintf(float) noexcept;
extern "C" long lrint(double) noexcept;
extern "C" long long llrintf(float) noexcept;
extern "C" long long llrint(double) noexcept;
extern "C" int abs(int) noexcept;
extern "C" long labs(long) noexcept;
extern "C" long long llabs(long long) noexcept;
static inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
static inline float ldexp(float x, int e) { return __builtin_ldexpf(x, e); }
static inline long long abs(long long x) { return __builtin_llabs(x); }
static inline float abs(float x) { return __builtin_fabsf(x); }
static inline double abs(double x) { return __builtin_fabs(x); }

// Functions that CUDA has and C has not.
static inline float rsqrtf(float x) { return 1 / __builtin_sqrtf(x); }
static inline double rsqrt(double x) { return 1 / __builtin_sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline float rcbrtf(float x) { return 1 / __builtin_cbrtf(x); }
static inline double rcbrt(double x) { return 1 / __builtin_cbrt(x); }
static inline double decaf_pi() { return 3.14159265358979323846; }
static inline float sinpif(float x) { return (float)__builtin_sin(decaf_pi() * x); }
static inline float cospif(float x) { return (float)__builtin_cos(decaf_pi() * x); }
static inline double sinpi(double x) { return __builtin_sin(decaf_pi() * x); }
static inline double cospi(double x) { return __builtin_cos(decaf_pi() * x); }
static inline float fdividef(float x, float y) { return x / y; }
static inline double normcdf(double x) {
  return 0.5 * __builtin_erfc(-x * 0.70710678118654752440);
}
static inline float normcdff(float x) { return (float)normcdf((double)x); }
static inline double erfcx(double x) { return __builtin_exp(x * x) * __builtin_erfc(x); }
static inline float erfcxf(float x) { return (float)erfcx((double)x); }
#endif

#ifdef DECAF_NEEDS_fast
static inline float __expf(float x) { return __builtin_expf(x); }
static inline float __exp10f(float x) { return __builtin_exp10f(x); }
static inline float __logf(float x) { return __builtin_logf(x); }
static inline float __log2f(float x) { return __builtin_log2f(x); }
static inline float __log10f(float x) { return __builtin_log10f(x); }
static inline float __sinf(float x) { return __builtin_sinf(x); }
static inline float __cosf(float x) { return __builtin_cosf(x); }
static inline float __tanf(float x) { return __builtin_tanf(x); }
static inline float __powf(float x, float y) { return __builtin_powf(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) {
  return x > 0 ? (x < 1 ? x : 1) : 0;
}
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
static inline float __frsqrt_rn(float x) { return 1 / __builtin_sqrtf(x); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fmaf_rn(float x, float y, float z) {
  return __builtin_fmaf(x, y, z);
}
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dsub_rn(double x, double y) { return x - y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __ddiv_rn(double x, double y) { return x / y; }
static inline double __fma_rn(double x, double y, double z) {
  return __builtin_fma(x, y, z);
}
#endif

#ifdef DECAF_NEEDS_convert
// Conversions saturate, and NaN becomes 0, as in hardware (64 bits: the lowest
// number).
template <class I, class F> static inline I decaf_convert(F x, I low, I high) {
  if (x != x) return 0;
  if (x <= (F)low) return low;
  if (x >= (F)high) return high;
  return (I)x;
}
static inline int __float2int_rz(float x) {
  return decaf_convert<int>(x, -2147483647 - 1, 2147483647);
}
static inline int __float2int_rn(float x) { return __float2int_rz(__builtin_rintf(x)); }
static inline int __float2int_rd(float x) { return __float2int_rz(__builtin_floorf(x)); }
static inline int __float2int_ru(float x) { return __float2int_rz(__builtin_ceilf(x)); }
static inline unsigned __float2uint_rz(float x) {
  return decaf_convert<unsigned>(x, 0u, 0xffffffffu);
}
static inline unsigned __float2uint_rn(float x) {
  return __float2uint_rz(__builtin_rintf(x));
}
static inline int __double2int_rz(double x) {
  return decaf_convert<int>(x, -2147483647 - 1, 2147483647);
}
static inline int __double2int_rn(double x) { return __double2int_rz(__builtin_rint(x)); }
static inline long long decaf_limit64(double x, long long fallback) {
  if (x != x) return -9223372036854775807ll - 1;
  if (x >= 9223372036854775808.0) return 9223372036854775807ll;
  if (x <= -9223372036854775808.0) return -9223372036854775807ll - 1;
  return fallback;
}
static inline long long __double2ll_rz(double x) {
  bool inside = x > -9223372036854775808.0 && x < 9223372036854775808.0;
  return inside ? (long long)x : decaf_limit64(x, 0);
}
static inline long long __double2ll_rn(double x) {
  return __double2ll_rz(__builtin_rint(x));
}
static inline long long __float2ll_rz(float x) { return __double2ll_rz(x); }
static inline long long __float2ll_rn(float x) { return __double2ll_rn(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline float __ll2float_rn(long long x) { return (float)x; }
static inline float __ull2float_rn(unsigned long long x) { return (float)x; }
static inline double __int2double_rn(int x) { return x; }
static inline double __ll2double_rn(long long x) { return (double)x; }
static inline float __double2float_rn(double x) { return (float)x; }
#endif

#define isnan(x) __builtin_isnan(x)
#define isinf(x) (__builtin_isinf(x) != 0)
#define isfinite(x) __builtin_isfinite(x)
#define signbit(x) __builtin_signbit(x)

#ifdef DECAF_NEEDS_order
#define DECAF_ORDER(T)                                                         \
  static inline T min(T a, T b) { return b < a ? b : a; }                      \
  static inline T max(T a, T b) { return a < b ? b : a; }
DECAF_ORDER(int)
DECAF_ORDER(unsigned)
DECAF_ORDER(long)
DECAF_ORDER(unsigned long)
DECAF_ORDER(long long)
DECAF_ORDER(unsigned long long)
static inline float min(float a, float b) { return __builtin_fminf(a, b); }
static inline float max(float a, float b) { return __builtin_fmaxf(a, b); }
static inline double min(double a, double b) { return __builtin_fmin(a, b); }
static inline double max(double a, double b) { return __builtin_fmax(a, b); }
static inline unsigned umin(unsigned a, unsigned b) { return min(a, b); }
static inline unsigned umax(unsigned a, unsigned b) { return max(a, b); }
static inline int __sad(int a, int b, unsigned c) {
  return int(c + (unsigned)(a > b ? a - b : b - a));
}
#endif
