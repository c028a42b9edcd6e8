"""Writes edges.json: float32 functions of PyTorch at zeros, infinities, NaN,
domain bounds and overflow thresholds. Needs torch; run in this folder.
"""

import json
import math

import torch

inf = math.inf
points = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 1e-30, -1e-30, inf, -inf, math.nan]
large = [1e30, -1e30, 3.4028235e38, -3.4028235e38]
# The last finite and the first overflowing result, the last and first that underflow.
thresholds = [88.72283, 88.72284, -103.97208, -103.97209, 89.41598, 89.415985, -89.41598, -89.415985,
              127.99999, 128.0, -149.0, -150.0, 9.0, 9.02, -9.02, 4.0, -4.0]
periodic = ["sin", "cos", "tan"]
functions = ["exp", "exp2", "expm1", "log", "log2", "log10", "log1p", *periodic, "asin", "acos", "atan",
             "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc"]
bases = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, inf, -inf, math.nan, 1e-40, -1e-40, 1e38, -1e38,
         16777216.0, -16777215.0, 1.0000001, 0.99999994]
exponents = bases + [2.5, -2.5, 4.0, 1e30, 33554432.0]


def text(x):
    """x as text that JavaScript's Number() reads."""
    x = float(x)
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    return "NaN" if math.isnan(x) else f"{x:.9g}"


def single(x):
    return torch.tensor(x, dtype=torch.float32)


def rows(f, arguments):
    """"x,f(x);…"; a lone element takes PyTorch's scalar path, which is the more exact one."""
    entries = []
    for xs in arguments:
        xs = [single(x) for x in xs]
        entries.append(",".join(text(x) for x in [*xs, f(*xs)]))
    return ";".join(entries)


result = {name: rows(getattr(torch, name), [[x] for x in points + ([] if name in periodic else large + thresholds)])
          for name in functions}
for name, second in (("pow", exponents), ("atan2", bases)):
    result[name] = rows(getattr(torch, name), [[x, y] for x in bases for y in second])
with open("edges.json", "w") as file:
    json.dump(result, file, indent=2)
    file.write("\n")
