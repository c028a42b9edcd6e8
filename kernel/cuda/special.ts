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
  f64_digamma: digamma,
  f32_digamma: single("digamma"),
  f64_trigamma: trigamma,
  f32_trigamma: single("trigamma"),
};
