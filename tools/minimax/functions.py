"""Prints the coefficients that the vector math functions use."""

from mpmath import atan, erf, exp, expm1, log, log1p, mp, mpf, pi, sin, sqrt, tan, tanh

from minimax import f32, fit, rational, report, shown

ln2 = log(2)
slack = mpf("1.001")  # The reduced argument may pass its bound by a rounding error.


def ratio(f, at_zero=1):
    """z ↦ f(√z)/√z for an odd function f."""
    return lambda z: f(sqrt(z)) / sqrt(z) if z else mpf(at_zero)


def head(name, c, bits, count=2):
    """Splits c into `count` − 1 parts of at most `bits` bits and a float32 rest."""
    print(name)
    for _ in range(count - 1):
        scale = mpf(2)**(bits - 1 - mp.floor(mp.log(abs(c), 2)))
        part = mp.floor(c * scale) / scale
        print("  part:", shown(part))
        c -= part
    print("  rest:", shown(c), "beyond:", mp.nstr(c - f32(c), 3))


def main():
    # eʳ, |r| ≤ ln 2
    report("exp", *fit(exp, range(8), lambda x: exp(-x), (-ln2 * slack, ln2 * slack), {0: 1, 1: 1}))
    # eʳ = 1 + r + r²·Q, |r| ≤ ln2 / 2
    near = ln2 / 2 * slack
    q = lambda x: (expm1(x) - x) / x**2
    for d in (3, 4):
        report(f"expm1 {d}", *fit(q, range(d + 1), lambda x: x**2 / expm1(x), (-near, near), {0: f32(0.5)}))
    report("exp2", *fit(lambda x: mpf(2)**x, range(7), lambda x: mpf(2)**-x, (-slack / 2, slack / 2), {0: 1}))
    # log(1 + f) = f + f²·Q, f in [−1/3, 1/3]
    third = mpf(1) / 3
    for name, base in (("log", mpf(1)), ("log2", ln2), ("log10", log(10))):
        c = f32(1 / base)
        q = lambda x: (log1p(x) / base - c * x) / x**2
        for d in (7,8):
            report(f"{name} {d}, factor {shown(c)}", *fit(q, range(d + 1), lambda x: base * x**2 / log1p(x), (-third, third)))
    z = (pi / 2 * slack)**2
    report("sin", *fit(ratio(sin), range(5), lambda z: 1 / ratio(sin)(z), (0, z), {0: 1}))
    report("tan", *rational(ratio(tan), 1, 2, pi / 4 * slack))
    report("tanh", *rational(ratio(tanh), 4, 4, mpf("9.02")))
    report("erf", *rational(ratio(erf, 2 / sqrt(pi)), 5, 5, mpf("3.93")))
    # Two-part constants whose first part times a small integer is exact.
    head("2 ln 2", 2 * ln2, 17)
    head("ln 2", ln2, 16)
    head("log10 2", log(2) / log(10), 16)
    head("pi", pi, 12, 4)
    head("pi/2", pi / 2, 12, 4)


if __name__ == "__main__":
    main()
