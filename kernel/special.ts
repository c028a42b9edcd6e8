/**
 * Special functions of one float64 argument that `Math` lacks.
 *
 * Each function is self-contained: its source, as given by `toString()`, can be
 * sent to a worker and compiled there. So helpers and coefficients live inside
 * the bodies, and nothing but `Math` is referred to.
 *
 * @module
 */

/**
 * The error function, `2/√π · ∫₀ˣ exp(−t²) dt`.
 *
 * Below 1.5 by the all-positive series `2/√π · exp(−x²) · Σ 2ⁿx²ⁿ⁺¹/(2n+1)!!`
 * (NIST DLMF 7.6.2), above by the continued fraction of its complement
 * (DLMF 7.9.1).
 */
function erf(x: number): number {
  const a = Math.abs(x), square = x * x;
  // exp(−x²) without the rounding error of x²: h² is exact.
  const h = Math.fround(x);
  const decay = Math.exp(-h * h) * Math.exp((h - x) * (h + x));
  if (a < 1.5) {
    let term = 1, sum = 0;
    for (let n = 1; term > sum * 1e-17; n++) {
      sum += term;
      term *= 2 * square / (2 * n + 1);
    }
    // 2/√π − 1 kept apart: small x then round once.
    const scaled = sum * decay * x;
    return scaled + scaled * 0.12837916709551258;
  }
  if (a > 6) return Math.sign(x);
  if (x !== x) return x;
  let fraction = 0;
  for (let n = Math.ceil(20 + 220 / square); n >= 1; n--) {
    fraction = n / 2 / (a + fraction);
  }
  const complement = decay / 1.772453850905516 / (a + fraction);
  return x > 0 ? 1 - complement : complement - 1;
}

/**
 * The complement of the error function, 1 − erf(x), without cancellation.
 *
 * Below 1 from the series of `erf`, above by the continued fraction
 * (DLMF 7.9.1), as deep as the smallest argument needs.
 */
function erfc(x: number): number {
  if (x < -6) return 2;
  if (x > 28) return 0;
  const square = x * x;
  const h = Math.fround(x);
  const decay = Math.exp(-h * h) * Math.exp((h - x) * (h + x));
  if (x < 1) {
    if (x < -2) return 2 - erfc(-x);
    let term = 1, sum = 0;
    for (let n = 1; term > sum * 1e-17; n++) {
      sum += term;
      term *= 2 * square / (2 * n + 1);
    }
    return 1 - sum * decay * x * 1.1283791670955126;
  }
  let fraction = 0;
  for (let n = Math.ceil(20 + 220 / square); n >= 1; n--) {
    fraction = n / 2 / (x + fraction);
  }
  return decay / 1.772453850905516 / (x + fraction);
}

/**
 * The inverse of the error function; ±∞ at ±1 and NaN beyond.
 *
 * Starts from Winitzki's closed-form approximation and polishes with Halley's
 * method on `erf` near 0 and on its complement near ±1, where `1 − |y|` is exact.
 */
function erfinv(y: number): number {
  const a = Math.abs(y);
  if (!(a < 1)) return a === 1 ? y * Infinity : NaN;
  const slope = 1.1283791670955126; // 2/√π, erf′(0)
  if (a < 1e-8) return y / slope;
  const gap = 1 - a;
  function residual(x: number): number {
    const square = x * x;
    if (x < 1) {
      let term = x, sum = 0;
      for (let n = 1; term > sum * 1e-17; n++) {
        sum += term;
        term *= 2 * square / (2 * n + 1);
      }
      const value = sum * Math.exp(-square) * slope;
      return value - a;
    }
    let fraction = 0;
    for (let n = Math.ceil(20 + 220 / square); n >= 1; n--) {
      fraction = n / 2 / (x + fraction);
    }
    return gap - Math.exp(-square) / 1.772453850905516 / (x + fraction);
  }
  const logarithm = a < 0.5 ? Math.log1p(-a * a) : Math.log(gap * (1 + a));
  const p = 4.330746750799873 + logarithm / 2; // 2/(0.147π) + …
  let x = Math.sqrt(Math.sqrt(p * p - logarithm / 0.147) - p);
  for (let i = 0; i < 3; i++) {
    const step = residual(x) / (slope * Math.exp(-x * x));
    x -= step / (1 + x * step);
  }
  return y < 0 ? -x : x;
}

/**
 * `log |Γ(x)|`; +∞ at 0 and the negative integers.
 *
 * Taylor series about 2 (DLMF 5.7.3), the recurrence up to 10, Stirling's
 * series beyond, reflection for negative arguments. Close to its zeros on the
 * negative axis the error is bounded absolutely, not relatively.
 */
function lgamma(x: number): number {
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
  // log Γ(2 + t) for |t| ≤ 1/2.
  function nearTwo(t: number): number {
    let sum = 0;
    for (let i = zeta.length - 1; i >= 0; i--) {
      sum = sum * t + zeta[i] / (i + 2);
    }
    return t * (0.42278433509846713 + t * sum);
  }
  function positive(v: number): number {
    if (v < 1.5) return nearTwo(v - 1) - Math.log(v);
    if (v < 10) {
      let product = 1;
      while (v >= 2.5) product *= --v;
      return nearTwo(v - 2) + Math.log(product);
    }
    const r = 1 / v, q = r * r;
    const series = 1 / 12 + q * (-1 / 360 + q * (1 / 1260 +
              q *
                (-1 / 1680 + q * (1 / 1188 + q * (-691 / 360360 + q / 156)))));
    return (v - 0.5) * (Math.log(v) - 1) + 0.4189385332046727 + r * series;
  }
  if (x !== x) return x;
  if (x === 0) return Infinity;
  // Γ(x) = Γ(x + 2) / (x (x + 1))
  if (Math.abs(x) < 0.5) {
    return nearTwo(x) - Math.log1p(x) - Math.log(Math.abs(x));
  }
  if (x > 0) return positive(x);
  const whole = Math.round(x);
  if (x === whole) return Infinity;
  const sine = Math.abs(Math.sin(Math.PI * (x - whole)));
  return Math.log(Math.PI / (sine * -x)) - positive(-x);
}

/**
 * The logarithmic derivative of Γ. As in PyTorch, −∞ at 0, +∞ at −0, NaN at the
 * negative integers and −∞.
 */
function digamma(x: number): number {
  if (x === 0) return -1 / x;
  if (x === Infinity || x !== x) return x;
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
  let result = 0;
  if (x < -0.5) {
    const whole = Math.round(x);
    if (x === whole) return NaN;
    result = -Math.PI / Math.tan(Math.PI * (x - whole));
    // Reflected to 1 − x, but written with ψ(−x) − 1/x, which does not round it.
    result -= 1 / x;
    x = -x;
  }
  if (x >= 10) {
    const r = 1 / x, q = r * r;
    const series = q * (1 / 12 + q * (-1 / 120 + q * (1 / 252 +
              q * (-1 / 240 + q * (1 / 132 + q * (-691 / 32760 + q / 12))))));
    return result + (Math.log(x) - r / 2 - series);
  }
  // ψ(x) = ψ(x + 1) − 1/x, to [3/2, 5/2) and the series about 2 (DLMF 5.7.4)
  let t = x - 2;
  if (x < 0.5) {
    result -= 1 / (x + 1) + 1 / x;
    t = x;
  } else if (x < 1.5) {
    result -= 1 / x;
    t = x - 1;
  }
  for (; t >= 0.5; t--) result += 1 / (t + 1);
  let sum = 0;
  for (let i = zeta.length - 1; i >= 0; i--) sum = (sum + zeta[i]) * t;
  return result + (0.42278433509846713 + sum);
}

/** The derivative of `digamma`; +∞ at 0 and the negative integers. */
function trigamma(x: number): number {
  if (x !== x || x === -Infinity) return NaN;
  if (x === Infinity) return 0;
  let result = 0, sign = 1;
  if (x === 0) return Infinity;
  if (x < -0.5) {
    const whole = Math.round(x);
    if (x === whole) return Infinity;
    // ψ′(x) = π²/sin²(πx) − ψ′(1 − x), and ψ′(1 − x) = ψ′(−x) − 1/x²
    const ratio = Math.PI / Math.sin(Math.PI * (x - whole));
    result = -ratio * ratio - 1 / (x * x);
    sign = -1;
    x = -x;
  }
  while (x < 15) {
    result += 1 / (x * x);
    x += 1;
  }
  const r = 1 / x, q = r * r;
  const series = q * (1 / 6 + q * (-1 / 30 + q * (1 / 42 +
            q * (-1 / 30 + q * (5 / 66 - q * 691 / 2730)))));
  return sign * (result + r * (1 + r / 2 + series));
}

/** Special functions of one float64 argument, each of them self-contained. */
export const specialFunctions: {
  readonly erf: (x: number) => number;
  readonly erfc: (x: number) => number;
  readonly erfinv: (x: number) => number;
  readonly lgamma: (x: number) => number;
  readonly digamma: (x: number) => number;
  readonly trigamma: (x: number) => number;
} = { erf, erfc, erfinv, lgamma, digamma, trigamma };
