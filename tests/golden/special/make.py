"""Writes special.json: values of special functions at points of interest.

`values` come from mpmath at 50 digits, `edges` (zeros, poles, infinities, NaN)
from PyTorch in float64. Needs mpmath and torch; run in this folder.
"""

import json
import math

import mpmath as mp
import torch

mp.mp.dps = 50

small = [1e-300, 1e-17, 3e-9, 1e-5, 0.004, 0.1, 0.25]
middle = [0.4769, 0.5, 0.75, 0.999, 1.001, 1.25, 1.4616, 1.5, 1.97, 1.999, 2.001, 2.5, 3.3]
large = [4.75, 5.9, 8.3, 9.99, 10.01, 14.99, 15.01, 37.5, 1234.5, 1e9, 1e100]
negative = [-1e-200, -1e-9, -0.01, -0.3, -0.49, -0.51, -0.99, -1.3, -2.457, -2.75, -7.25, -19.6, -101.5]
near_one = [1 - 2.0**-k for k in (3, 5, 9, 14, 20, 30, 40, 52)]


def signs(points):
    return points + [-p for p in points]


functions = {
    "erf": (mp.erf, signs(small + middle + [4.75, 5.5, 5.9, 6.5, 40.0])),
    "erfc": (mp.erfc, signs(small + middle + [4.75, 5.5, 5.9, 6.5]) + [12.3, 20.25, 26.5]),
    "erfinv": (mp.erfinv, signs(small + [0.4769, 0.5, 0.6, 0.75, 0.84, 0.8427] + near_one)),
    "lgamma": (lambda x: mp.log(abs(mp.gamma(x))), small + middle + large + negative + [1e300]),
    "digamma": (mp.digamma, small + middle + large + negative),
    "trigamma": (lambda x: mp.psi(1, x), [p for p in small + middle + large + negative if abs(p) > 1e-150]),
}

edges = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, -1e20, math.inf, -math.inf, math.nan]


def text(x):
    """x as JSON that JavaScript's Number() reads."""
    x = float(x)
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    return "NaN" if math.isnan(x) else "-0" if x == 0 and math.copysign(1, x) < 0 else x


def torch_value(name, x):
    x = torch.tensor(x, dtype=torch.float64)
    return text(torch.polygamma(1, x) if name == "trigamma" else getattr(torch, name)(x))


result = {
    name: {
        "values": [[x, float(f(mp.mpf(x)))] for x in points],
        # PyTorch's trigamma is good to nine digits only, and noise at the negative poles.
        "edges": [[text(x), torch_value(name, x)] for x in edges
                  if name != "trigamma" or x == 0 or not math.isfinite(x)],
    }
    for name, (f, points) in functions.items()
}
lines = [f'"{name}": {json.dumps(table)}' for name, table in result.items()]
with open("special.json", "w") as file:
    file.write("{\n" + ",\n".join(lines) + "\n}\n")
