"""Minimax fits of polynomials and rational functions, with coefficients rounded
to float32 one after the other (the remaining ones are refitted each time).

Needs mpmath, NumPy and SciPy.
"""

import struct

import numpy
from mpmath import cos, inf, lu_solve, matrix, mp, mpf, pi
from scipy.optimize import linprog

mp.dps = 40


def f32(x):
    """x rounded to the nearest float32, as an mpf."""
    return mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def shown(c):
    """The shortest decimal that reads back as the same float32."""
    for digits in range(1, 18):
        text = f"{float(c):.{digits}g}"
        if f32(text) == f32(c):
            return repr(float(text))
    return repr(float(c))


def grid(a, b, n=1500):
    """Points of [a, b], dense at the ends."""
    a, b = mpf(a), mpf(b)
    return [(a + b) / 2 - (b - a) / 2 * cos(pi * i / n) for i in range(n + 1)]


def extrema(errors, count):
    """Indices of `count` alternating extrema of a sampled error function."""
    runs = []
    for i, e in enumerate(errors):
        if runs and (errors[runs[-1]] > 0) == (e > 0):
            if abs(e) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        if len(runs) - count >= 2:
            # Drop the pair of neighbours that costs least, to keep the signs alternating.
            k = min(range(len(runs) - 1),
                    key=lambda j: max(abs(errors[runs[j]]), abs(errors[runs[j + 1]])))
            ends = (abs(errors[runs[0]]), abs(errors[runs[-1]]))
            if min(ends) <= max(abs(errors[runs[k]]), abs(errors[runs[k + 1]])):
                runs.pop(0 if ends[0] <= ends[1] else -1)
            else:
                del runs[k:k + 2]
        else:
            runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
    return runs


def linear(f, powers, weight, points):
    """Coefficients c of sum c_i x^powers_i with least max |weight (sum − f)|, and that maximum.

    A least-squares solution in high precision, then one linear program for
    the correction, which float64 is precise enough for.
    """
    n = len(powers)
    ws = [abs(weight(x)) for x in points]
    rows = matrix([[w * x**p for p in powers] for w, x in zip(ws, points)])
    target = matrix([w * f(x) for w, x in zip(ws, points)])
    c = lu_solve(rows.T * rows, rows.T * target)
    errors = rows * c - target
    unit = max(abs(e) for e in errors)
    a = numpy.array((rows).tolist(), dtype=float)
    e = numpy.array([float(v / unit) for v in errors])
    ones = numpy.ones((len(e), 1))
    solved = linprog([0] * n + [1], bounds=[(None, None)] * (n + 1),
                     A_ub=numpy.block([[a, -ones], [-a, -ones]]),
                     b_ub=numpy.concatenate([-e, e]))
    c = [c[k] + unit * mpf(solved.x[k]) for k in range(n)]
    worst = max(abs(w * (sum(ck * x**p for ck, p in zip(c, powers)) - f(x)))
                for w, x in zip(ws, points))
    return c, worst


def fit(f, powers, weight, interval, fixed=None, n=400):
    """Fits with float32 coefficients: `fixed` maps powers to values given beforehand.

    Returns {power: value} and the maximum weighted error of the rounded polynomial.
    """
    points = [x for x in grid(*interval, n) if abs(x) > 1e-6]
    done = {p: mpf(v) for p, v in (fixed or {}).items()}
    rest = sorted(p for p in powers if p not in done)
    first = None
    while rest:
        residual = lambda x: f(x) - sum(c * x**p for p, c in done.items())
        c, worst = linear(residual, rest, weight, points)
        first = worst if first is None else first
        done[rest[0]] = f32(c[0])
        rest = rest[1:]
    worst = max(abs(weight(x) * (sum(c * x**p for p, c in done.items()) - f(x))) for x in points)
    return done, worst, first


def solve_reference(known, free, xs, fs, ws, start):
    """Coefficients for which P − (f ± e/w)·Q = 0 with alternating signs at the given points."""
    m = len(free)
    current, e = {**known, **start}, mpf(0)
    for _ in range(30):
        a = matrix(m + 1, m + 1)
        b = matrix(m + 1, 1)
        for r in range(m + 1):
            x, sign = xs[r], (-1)**r
            target = fs[r] + sign * e / ws[r]
            slope = sign / ws[r] * part(current, "q", x)
            for j, (kind, power) in enumerate(free):
                a[r, j] = x**power if kind == "p" else -target * x**power
            a[r, m] = -slope
            b[r] = target * part(known, "q", x) - part(known, "p", x) - slope * e
        c = lu_solve(a, b)
        previous, e = e, c[m]
        current = {**known, **{k: c[j] for j, k in enumerate(free)}}
        if abs(e - previous) <= abs(e) * mpf(10)**-15:
            break
    return current, e


def exchange(f, keys, known, hi, ref, start, n, rounds=25):
    """Remez exchange for P/Q in z = x², x in [0, hi], least relative error."""
    free = [k for k in keys if k not in known]
    m = len(free)
    xs = [x * x for x in grid(0, hi, n)]
    fs = [f(x) for x in xs]
    ws = [1 / y for y in fs]
    best = (inf, None, None)
    current = start
    for _ in range(rounds if m else 0):
        current, e = solve_reference(known, free, [xs[i] for i in ref],
                                     [fs[i] for i in ref], [ws[i] for i in ref], current)
        errors = [w * (value(current, x) - y) for w, x, y in zip(ws, xs, fs)]
        worst = max(abs(v) for v in errors)
        if worst < best[0]:
            best = (worst, current, ref)
        found = extrema(errors, m + 1)
        if len(found) < m + 1 or found == ref or worst <= abs(e) * (1 + mpf(10)**-6):
            break
        ref = found
    if best[1] is None:
        worst = max(abs(w * (value({**start, **known}, x) - y)) for w, x, y in zip(ws, xs, fs))
        return worst, {**start, **known}, ref
    return best


def rational(f, np, nq, hi, n=600):
    """Fits f(z) ≈ P(z)/Q(z), Q(0) = 1, on z in [0, hi²] with float32 coefficients.

    The interval grows step by step from [0, 1], each fit starting from the
    one before; then the coefficients are rounded in order of their power.
    """
    keys = sorted([("p", i) for i in range(np + 1)] + [("q", i) for i in range(1, nq + 1)],
                  key=lambda k: (k[1], k[0]))
    known = {("q", 0): mpf(1)}
    m = len(keys)
    ref, current, h = [round(i * n / m) for i in range(m + 1)], {}, mpf(1)
    while True:
        exact, current, ref = exchange(f, keys, known, h, ref, current, n)
        if h == hi:
            break
        h = min(h * mpf("1.12"), mpf(hi))
    worst = exact
    for key in keys:
        known[key] = f32(current[key])
        ref = ref[:-1]
        worst, current, ref = exchange(f, keys, known, hi, ref, current, n)
    return known, worst, exact


def part(c, kind, x):
    """Value at x of the numerator ("p") or denominator ("q")."""
    return sum(v * x**p for (k, p), v in c.items() if k == kind)


def value(c, x):
    return part(c, "p", x) / part(c, "q", x)


def report(name, coefficients, worst, exact):
    """Prints a fit: its error in units of 2^-24 before and after rounding."""
    unit = mpf(2)**-24
    print(f"{name}: {float(worst / unit):.3f} × 2^-24 (before rounding {float(exact / unit):.3f})")
    for key, c in coefficients.items():
        print(f"  {key}: {shown(c)}")
