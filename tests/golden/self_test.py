"""Checks make.py on a few samples whose results are known in closed form."""

import math
import pathlib
import tempfile

import torch

import make
from codec import decode_tensor, encode_tensor


def record(values, dtype, grad=False):
    encoded = encode_tensor(torch.tensor(values, dtype=dtype))
    return {**encoded, "grad": True} if grad else encoded


def operator(name, expression, inputs, attributes):
    return {
        "family": "self",
        "name": name,
        "torch": expression,
        "samples": [{"key": name, "inputs": inputs, "attributes": attributes}],
    }


def values(encoded):
    return decode_tensor(encoded).double().reshape(-1).tolist()


def check(condition, sentence):
    if not condition:
        raise SystemExit(f"self-test failed: {sentence}")


def main():
    x = [0.5, -1.0, 2.0]
    tricky = [math.nan, math.inf, -math.inf, -0.0]
    samples = {
        "operators": [
            operator("square", "x * x", {"x": record(x, torch.float32, True)}, {}),
            operator(
                "scaled",
                "x * factor",
                {"x": record(x, torch.bfloat16, True)},
                {"factor": {"number": "-Infinity"}},
            ),
            operator("same", "x", {"x": record(tricky, torch.float16)}, {}),
            operator(
                "plus",
                "x + y",
                {"x": record([2**62 + 1], torch.int64, True), "y": 1},
                {},
            ),
            operator(
                "split",
                "torch.split(x, 1)",
                {"x": record(x, torch.float64, True)},
                {},
            ),
            operator(
                "join",
                "torch.cat(xs)",
                {
                    "xs": [
                        record([1.0], torch.float32),
                        record([2.0], torch.float32, True),
                    ]
                },
                {},
            ),
            operator(
                "empty",
                "x.sum(0)",
                {"x": {**encode_tensor(torch.zeros(0, 2)), "grad": True}},
                {},
            ),
            operator(
                "cast",
                "x.to(dtypes[dtype])",
                {"x": record([0.0, 2.5], torch.float32)},
                {"dtype": "bool"},
            ),
            operator("not", "~x", {"x": record([True, False], torch.bool)}, {}),
        ]
    }
    families, failures = make.make(samples)
    check(failures == [], failures)
    rows = {name: row[0] for name, row in families["self"].items()}

    w = [(((k * 37 + 11) % 127) - 63) / 64 for k in range(3)]
    check(values(rows["square"]["own"]["outputs"][0]) == [0.25, 1, 4], "x * x")
    check(
        values(rows["square"]["f64"]["gradients"]["x"])
        == [2 * a * b for a, b in zip(x, w)],
        "the gradient of x * x is 2 x w",
    )
    check(
        values(rows["scaled"]["own"]["outputs"][0]) == [-math.inf, math.inf, -math.inf],
        "an infinite attribute",
    )
    check(rows["scaled"]["own"]["outputs"][0]["dtype"] == "bf16", "own type")
    check(rows["scaled"]["f64"]["outputs"][0]["dtype"] == "f64", "double precision")
    same = rows["same"]["own"]["outputs"][0]
    check(same == samples["operators"][2]["samples"][0]["inputs"]["x"], "NaN and -0")
    plus = decode_tensor(rows["plus"]["own"]["outputs"][0])
    check(plus.tolist() == [2**62 + 2], "64-bit integers stay exact")
    check("gradients" not in rows["plus"]["own"], "integers have no gradient")
    check("f64" not in rows["split"], "f64 samples are evaluated once")
    check(
        values(rows["split"]["own"]["gradients"]["x"])
        == [(((17 * i * 37 + 11) % 127) - 63) / 64 for i in range(3)],
        "each output has its own weights",
    )
    check(
        list(rows["join"]["own"]["gradients"]) == ["xs.1"]
        and values(rows["join"]["own"]["gradients"]["xs.1"]) == [w[1]],
        "only the wanted gradients of a list",
    )
    check(values(rows["cast"]["own"]["outputs"][0]) == [0, 1], "a dtype attribute")
    check(rows["empty"]["own"]["gradients"]["x"]["shape"] == [0, 2], "empty tensors")
    check(values(rows["not"]["own"]["outputs"][0]) == [0, 1], "booleans")

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make.write(families, folder)
        check(make.compare(families, folder) == [], "a file agrees with itself")
        rows["square"]["own"]["outputs"][0] = record([0.25, 1, 4.1], torch.float32)
        wrong = make.compare(families, folder)
        check(len(wrong) == 1 and "square" in wrong[0], "a changed value is found")

    samples["operators"][0]["torch"] = "no_such_function(x)"
    _, failures = make.make(samples)
    check(len(failures) == 1 and "square" in failures[0], "a bad expression is named")
    print("self-test passed")
    return 0
