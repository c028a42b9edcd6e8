/**
 * Special functions that CUDA lacks, or has with too few right digits in
 * float: written in double, with the methods of `kernel/special.ts`.
 *
 * @module
 */

// (−1)ᵏ (ζ(k) − 1), k = 2, 3, …
const zeta = [
  0.6449340668482264,
  -0.2020569031595943,
  0.08232323371113819,
  -0.03692775514336993,
  0.01734306198444914,
  -0.008349277381922827,
  0.00407735619794434,
  -0.0020083928260822143,
  0.0009945751278180853,
  -0.0004941886041194645,
  0.0002460865533080483,
  -0.00012271334757848915,
  6.124813505870483e-05,
  -3.058823630702049e-05,
  1.528225940865187e-05,
  -7.637197637899763e-06,
  3.81729326499984e-06,
  -1.908212716553939e-06,
  9.539620338727962e-07,
  -4.769329867878064e-07,
  2.38450502727733e-07,
  -1.1921992596531106e-07,
  5.960818905125948e-08,
  -2.980350351465228e-08,
  1.4901554828365043e-08,
];

const horner = [...zeta].reverse()
  .map((z) => `  sum = (sum + ${z}) * t;`).join("\n");

const infinity = "__longlong_as_double(0x7ff0000000000000LL)";
const nan = "__longlong_as_double(0x7ff8000000000000LL)";
const pi = "3.141592653589793";

const digamma = `__device__ double f64_digamma(double x) {
  if (x == 0.0) return -1.0 / x;
  if (x == ${infinity} || x != x) return x;
  double result = 0.0;
  if (x < -0.5) {
    const double whole = rint(x);
    if (x == whole) return ${nan};
    // Reflected to 1 - x, but written with psi(-x) - 1/x, which does not round it.
    result = -${pi} / tan(${pi} * (x - whole));
    result -= 1.0 / x;
    x = -x;
  }
  if (x >= 10.0) {
    const double r = 1.0 / x, q = r * r;
    const double series = q * (1.0 / 12 + q * (-1.0 / 120 + q * (1.0 / 252 +
      q * (-1.0 / 240 + q * (1.0 / 132 + q * (-691.0 / 32760 + q / 12))))));
    return result + (log(x) - r / 2 - series);
  }
  // psi(x) = psi(x + 1) - 1/x, to [3/2, 5/2) and the series about 2.
  double t = x - 2.0;
  if (x < 0.5) {
    result -= 1.0 / (x + 1.0) + 1.0 / x;
    t = x;
  } else if (x < 1.5) {
    result -= 1.0 / x;
    t = x - 1.0;
  }
  for (; t >= 0.5; t -= 1.0) result += 1.0 / (t + 1.0);
  double sum = 0.0;
${horner}
  return result + (0.42278433509846713 + sum);
}`;

const trigamma = `__device__ double f64_trigamma(double x) {
  if (x != x || x == -${infinity}) return ${nan};
  if (x == ${infinity}) return 0.0;
  if (x == 0.0) return ${infinity};
  double result = 0.0, sign = 1.0;
  if (x < -0.5) {
    const double whole = rint(x);
    if (x == whole) return ${infinity};
    const double ratio = ${pi} / sin(${pi} * (x - whole));
    result = -ratio * ratio - 1.0 / (x * x);
    sign = -1.0;
    x = -x;
  }
  while (x < 15.0) {
    result += 1.0 / (x * x);
    x += 1.0;
  }
  const double r = 1.0 / x, q = r * r;
  const double series = q * (1.0 / 6 + q * (-1.0 / 30 + q * (1.0 / 42 +
    q * (-1.0 / 30 + q * (5.0 / 66 - q * 691.0 / 2730)))));
  return sign * (result + r * (1.0 + r / 2 + series));
}`;

// Giles' approximation, which is right to about 7 digits, polished by Halley's
// method on erf near 0 and on erfc near 1, where 1 - |y| is exact.
const erfinv = `__device__ double f64_erfinv(double y) {
  const double a = fabs(y);
  if (!(a < 1.0)) return a == 1.0 ? y * ${infinity} : ${nan};
  const double gap = 1.0 - a;
  double w = -log(gap * (1.0 + a)), x;
  if (w < 5.0) {
    w -= 2.5;
    x = 2.81022636e-08;
    x = 3.43273939e-07 + x * w;
    x = -3.5233877e-06 + x * w;
    x = -4.39150654e-06 + x * w;
    x = 0.00021858087 + x * w;
    x = -0.00125372503 + x * w;
    x = -0.00417768164 + x * w;
    x = 0.246640727 + x * w;
    x = 1.50140941 + x * w;
  } else {
    w = sqrt(w) - 3.0;
    x = -0.000200214257;
    x = 0.000100950558 + x * w;
    x = 0.00134934322 + x * w;
    x = -0.00367342844 + x * w;
    x = 0.00573950773 + x * w;
    x = -0.0076224613 + x * w;
    x = 0.00943887047 + x * w;
    x = 1.00167406 + x * w;
    x = 2.83297682 + x * w;
  }
  x *= a;
  for (int i = 0; i < 3; i++) {
    const double residual = a < 0.5 ? erf(x) - a : gap - erfc(x);
    const double step = residual / (1.1283791670955126 * exp(-x * x));
    x -= step / (1.0 + x * step);
  }
  return y < 0.0 ? -x : x;
}`;

function single(name: string): string {
  return `__device__ __forceinline__ float f32_${name}(float x) {
  return (float)f64_${name}((double)x);
}`;
}

/** Sources by name; a function may use those before it. */
export const specialSources: Readonly<Record<string, string>> = {
  f64_lgamma: `__device__ __forceinline__ double f64_lgamma(double x) {
  return lgamma(x);
}`,
  f32_lgamma: single("lgamma"),
  f64_erfinv: erfinv,
  f32_erfinv: single("erfinv"),
  f64_digamma: digamma,
  f32_digamma: single("digamma"),
  f64_trigamma: trigamma,
  f32_trigamma: single("trigamma"),
};
