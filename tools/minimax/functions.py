"""Prints the coefficients of kernel/wasm/vector_math_*.ts.

Needs mpmath, NumPy and SciPy: `pip install mpmath numpy scipy`.
"""

from mpmath import (asin, atan, cos, erf, erfc, exp, expm1, floor, log, log1p, mp, mpf, nstr, pi,
                    sin, sqrt, tan)

from minimax import f32, fit, rational, report, shown

ln2 = log(2)
slack = mpf("1.001")  # A reduced argument may pass its bound by a rounding error.


def ratio(f):
    """z ↦ f(√z)/√z for an odd function f with f′(0) = 1."""
    return lambda z: f(sqrt(z)) / sqrt(z) if z else mpf(1)


def tail(f, at_zero):
    """z ↦ (f(√z)/√z − 1)/z for such a function, and the weight for its relative error."""
    g = lambda z: (ratio(f)(z) - 1) / z if z > mpf("1e-20") else mpf(at_zero)
    return g, lambda z: z / ratio(f)(z)


def parts(name, c, bits, count=2):
    """Splits c into `count` − 1 parts of at most `bits` bits and a float32 rest."""
    print(f"{name}:")
    for _ in range(count - 1):
        scale = mpf(2)**(bits - 1 - floor(log(abs(c), 2)))
        part = floor(c * scale) / scale
        print("  ", shown(part))
        c -= part
    print("  ", shown(c), "and beyond", nstr(c - f32(c), 3))


def exponentials():
    wide, near = ln2 * slack, ln2 / 2 * slack
    report("eʳ, |r| ≤ ln 2",
           *fit(exp, range(8), lambda x: exp(-x), (-wide, wide), {0: 1, 1: 1}))
    report("(eʳ − 1 − r)/r², |r| ≤ ln 2 / 2",
           *fit(lambda x: (expm1(x) - x) / x**2, range(5), lambda x: x**2 / expm1(x), (-near, near)))
    report("((e²ʳ − 1)/2 − r)/r², |r| ≤ ln 2 / 4",
           *fit(lambda x: (expm1(2 * x) / 2 - x) / x**2, range(5), lambda x: 2 * x**2 / expm1(2 * x),
                (-near / 2, near / 2)))
    report("2ʳ, |r| ≤ 1/2",
           *fit(lambda x: mpf(2)**x, range(7), lambda x: mpf(2)**-x, (-slack / 2, slack / 2), {0: 1}))


def error_functions():
    eighth = mpf(1) / 8
    report("8(1 − (1 − erf a)^⅛)/a − 1, a in [0, 3.95]",
           *fit(lambda a: 8 * (1 - erfc(a)**eighth) / a - 1, range(8),
                lambda a: erfc(a)**(1 - eighth) * a / erf(a), (0, mpf("3.95"))))
    report("e^(a²)·erfc a, a in [0, 10.1]",
           *rational(lambda a: exp(a * a) * erfc(a), 4, 5, sqrt(mpf("10.1")), 400))


def logarithms():
    third = mpf(1) / 3
    for name, base, degree in (("log", mpf(1), 7), ("log2", ln2, 7), ("log10", log(10), 8)):
        c = f32(1 / base)
        report(f"({name}(1 + f) − c·f)/f², c = {shown(c)}, f in [−1/3, 1/3]",
               *fit(lambda x: (log1p(x) / base - c * x) / x**2, range(degree + 1),
                    lambda x: base * x**2 / log1p(x), (-third, third)))
    end = (sqrt(2) - 1) / (sqrt(2) + 1) * slack
    atanh2 = lambda s: log((1 + s) / (1 - s)) / ln2
    cubic = lambda z: (atanh2(sqrt(z)) - 2 * sqrt(z) / ln2) / z**1.5 if z > mpf("1e-12") else 2 / ln2 / 3
    report("(log₂((1 + s)/(1 − s)) − 2s/ln 2)/s³ in s²",
           *fit(cubic, range(4), lambda z: z * ln2 / 2, (0, end**2)))


def trigonometric():
    quarter = (pi / 4 * mpf("1.005"))
    report("sin r / r in r²", *fit(ratio(sin), range(4), lambda z: 1 / ratio(sin)(z), (0, quarter**2), {0: 1}))
    report("cos r in r²",
           *fit(lambda z: cos(sqrt(z)), range(5), lambda z: 1 / cos(sqrt(z)), (0, quarter**2), {0: 1}))
    report("tan r / r in r²", *rational(ratio(tan), 1, 2, pi / 4 * slack))
    g, weight = tail(atan, -mpf(1) / 3)
    report("(atan t / t − 1)/t² in t²", *fit(g, range(8), weight, (0, 1)))
    g, weight = tail(asin, mpf(1) / 6)
    report("(asin t / t − 1)/t² in t²", *fit(g, range(5), weight, (0, mpf(1) / 4)))


def constants():
    parts("2 ln 2", 2 * ln2, 17)
    parts("ln 2", ln2, 16)
    parts("ln 2 / 2", ln2 / 2, 17)
    parts("log₁₀ 2", log(2) / log(10), 16)
    parts("2 / ln 2", 2 / ln2, 12)
    parts("π/2", pi / 2, 12, 4)


if __name__ == "__main__":
    mp.dps = 40
    for section in (exponentials, error_functions, logarithms, trigonometric, constants):
        section()
