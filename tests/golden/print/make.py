"""Golden texts: how PyTorch prints tensors.

    python make.py            writes values.jsonl beside this file

Each line has shape, dtype, the elements (written out, or as the name of a
formula that the test computes too) and the text.
"""

import json
import math
import pathlib

import torch

NAMES = {
    "f32": torch.float32,
    "f64": torch.float64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "i8": torch.int8,
    "u8": torch.uint8,
    "bool": torch.bool,
}

FORMULAS = {
    "count": lambda i: i,
    "eighths": lambda i: ((i * 37) % 101 - 50) / 8,
    "wide": lambda i: ((i * 37) % 101 - 50) * 10.0 ** ((i * 7) % 9 - 4),
    "flags": lambda i: (i * i) % 3 == 1,
}

nan, inf = math.nan, math.inf
ROWS = []


def row(shape, data, dtype="f32", grad=False):
    size = torch.Size(shape).numel()
    formula = FORMULAS.get(data) if isinstance(data, str) else None
    values = [formula(i) for i in range(size)] if formula else data
    tensor = torch.tensor(values, dtype=NAMES[dtype]).reshape(shape)
    tensor.requires_grad = grad
    if not formula:
        data = [
            str(v) if not math.isfinite(v) or str(v) == "-0.0" else v for v in values
        ]
    ROWS.append(
        {"shape": shape, "dtype": dtype, "data": data, "grad": grad, "text": repr(tensor)}
    )


# Single numbers, and nothing at all.
for value in [0.0, -0.0, 1.0, -2.5, 0.1, 1 / 3, 1e-5, 123456789.0, 1e10, nan, inf, -inf]:
    row([], [value])
for dtype in NAMES:
    row([], [1], dtype)
    row([0], [], dtype)
    row([2, 0], [], dtype)
for shape in [[0, 3], [1, 0, 2]]:
    row(shape, [])
row([0], [], grad=True)
row([2, 0], [], "f64", grad=True)

# Which style the values ask for.
STYLES = [
    [0.0],
    [-0.0, 0.0, 1.0],
    [1.0, 2.0, 3.0],
    [1.0, -20.0, 300.0],
    [1.0, 2000.0],
    [1.0, 1001.0],
    [1.0, 1000.0],
    [0.0, 1e8],
    [0.0, 2e8],
    [1.5, 2.0, -3.25],
    [0.001, 1.0],
    [0.0011, 1.0],
    [0.0009, 1.0],
    [1e-4, 1e-4],
    [9e-5, 9e-5],
    [1e-3, 2e-3, 0.0],
    [1e-10, 1e10],
    [0.5, 100000.0],
    [0.5, 500.5],
    [0.5, 500.6],
    [0.0001, 0.1],
    [12345.678, 12345.5],
    [1e38, -1e38],
    [nan, nan],
    [nan, 1.0],
    [nan, 0.5],
    [inf, -inf, 1.0],
    [inf, -inf, 1.25],
    [inf, 2000.5, 1.0],
    [-inf, 1e-6],
    [nan, -0.0, 0.0],
    [-0.5, nan, 10.25, inf],
    [0.99999, 1.0],
    [0.00005, 0.5],
    [-0.00001, 1.0],
    [2.00005, 0.12345],
    [0.65625, 0.15625, -0.09375, 2.03125],
    [37.5625, -135.625, 13400.0, 1.00004],
]
for values in STYLES:
    for dtype in ["f32", "f64"]:
        row([len(values)], values, dtype)
for values in [[1.0, 2.0], [0.1, 65504.0], [0.333, -2.0], [nan, inf]]:
    for dtype in ["f16", "bf16"]:
        row([2], values, dtype)
row([3], [1, -20, 300], "i64")
row([3], [1, -20, 300], "i32")
row([2], [9007199254740991, -9007199254740991], "i64")
row([4], [0, 7, 128, 255], "u8")
row([4], [-128, 0, 7, 127], "i8")
row([3], [1, 0, 1], "bool")
row([2, 2], [1, 0, 0, 0], "bool")

# Layout.
for shape in [[1], [1, 1], [5], [2, 3], [3, 1], [1, 5], [2, 2, 2], [1, 2, 3], [2, 1, 2, 2], [2, 2, 1, 1, 3]]:
    row(shape, "eighths")
    row(shape, "count", "i64")
    row(shape, "flags", "bool")
row([2, 3], "wide")
row([2, 3], "eighths", "f64", grad=True)
row([3], "eighths", grad=True)

# Lines that must be broken, and values left out.
for size in [8, 10, 13, 30, 100, 1000, 1001, 5000]:
    row([size], "eighths")
    row([size], "count", "i64")
row([100], "wide")
row([60], "flags", "bool")
row([2, 30], "eighths")
row([2, 40], "count", "i32")
row([3, 25], "wide", "f64")
for shape in [[40, 40], [2, 600], [600, 2], [10, 10, 11], [7, 7, 30], [1001, 1], [1, 1001], [4, 6, 7, 8], [6, 2000]]:
    row(shape, "eighths")
row([40, 40], "wide", "f64", grad=True)
row([40, 40], "count", "i32")
row([40, 40], "flags", "bool")
row([1200], "eighths", "f16")

folder = pathlib.Path(__file__).parent
with open(folder / "values.jsonl", "w", encoding="utf-8") as file:
    print(json.dumps({"torch": torch.__version__}), file=file)
    for each in ROWS:
        print(json.dumps(each), file=file)
