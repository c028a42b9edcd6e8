"""Golden values: evaluates the operators' samples with PyTorch.

    python make.py SAMPLES.json FOLDER            write FOLDER/<family>.json
    python make.py SAMPLES.json FOLDER --compare  compare with what lies there
    python make.py --self-test

SAMPLES.json comes from tools/golden.ts. Each sample's expression is
evaluated with the operator's inputs and attributes as variables, torch, F
(torch.nn.functional), math, dtypes (PyTorch's by our names) and helpers.py, once in the
sample's own types ("own") and, where floats are involved, once with all of
them in double precision ("f64"). A result holds the outputs, and the gradients
of sum(output * weights) for each input whose gradient is wanted; see `weights` for the
numbers, which are exact in every float type.
"""

import argparse
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F

import helpers
from codec import DTYPES, decode_attribute, decode_input, decode_tensor, encode_tensor

# Relative to 1 + |value|: how far another version or machine may be away.
TOLERANCE = {
    "f64": 1e-10,
    "f32": 1e-4,
    "f16": 2e-2,
    "bf16": 2e-1,
}


def weights(output, index):
    """Fixed numbers in (-1, 1) by which output `index` is weighted before it is summed."""
    k = torch.arange(output.numel(), dtype=torch.int64) + 17 * index
    return (((k * 37 + 11) % 127 - 63).double() / 64).reshape(output.shape)


def evaluate(expression, inputs, attributes):
    """The outputs of the expression, always as a list of tensors."""
    scope = {name: getattr(helpers, name) for name in helpers.__all__}
    scope.update(torch=torch, F=F, math=math, dtypes=DTYPES)
    # Operands xs__0, xs__1, ... are the list xs.
    for name in inputs:
        if "__" in name:
            scope.setdefault(name.split("__")[0], []).append(inputs[name])
    result = eval(expression, {**scope, **attributes, **inputs})
    outputs = result if isinstance(result, (tuple, list)) else [result]
    return [torch.as_tensor(output) for output in outputs]


def prepare(records, double):
    """The operands, and by name those whose gradient is wanted."""
    leaves = {}

    def one(name, record):
        tensor = decode_input(record)
        if not isinstance(record, dict) or not tensor.is_floating_point():
            return tensor
        tensor = tensor.double() if double else tensor
        if record.get("grad"):
            leaves[name] = tensor.requires_grad_(True)
        return tensor

    operands = {
        name: [one(f"{name}.{i}", item) for i, item in enumerate(record)]
        if isinstance(record, list)
        else one(name, record)
        for name, record in records.items()
    }
    return operands, leaves


def run(operator, sample, double):
    """One sample's outputs and gradients, in its own types or in double precision."""
    inputs, leaves = prepare(sample["inputs"], double)
    attributes = {
        name: decode_attribute(value) for name, value in sample["attributes"].items()
    }
    torch.manual_seed(0)
    outputs = evaluate(operator["torch"], inputs, attributes)
    result = {"outputs": [encode_tensor(output) for output in outputs]}
    seen = [
        (output * weights(output, i).to(output.dtype)).sum()
        for i, output in enumerate(outputs)
        if output.is_floating_point() and output.requires_grad
    ]
    if seen and leaves:
        grads = torch.autograd.grad(
            sum(seen), list(leaves.values()), allow_unused=True
        )
        result["gradients"] = {
            name: encode_tensor(torch.zeros_like(leaf) if grad is None else grad)
            for (name, leaf), grad in zip(leaves.items(), grads)
        }
    return result


def involves(sample, dtypes):
    """Whether an operand, or one in a list of operands, has one of the types."""
    records = [
        item
        for record in sample["inputs"].values()
        for item in (record if isinstance(record, list) else [record])
    ]
    return any(isinstance(r, dict) and r["dtype"] in dtypes for r in records)


def make(samples):
    """All results by family and operator, and the sentences of those that failed."""
    families, failures = {}, []
    for operator in samples["operators"]:
        rows = families.setdefault(operator["family"], {})
        rows[operator["name"]] = results = []
        for index, sample in enumerate(operator["samples"]):
            row = {"key": sample["key"]}
            try:
                row["own"] = run(operator, sample, double=False)
                if involves(sample, ("f32", "f16", "bf16")):
                    row["f64"] = run(operator, sample, double=True)
            except Exception as error:
                failures.append(
                    f"{operator['name']}, sample {index}: {operator['torch']}: "
                    f"{type(error).__name__}: {str(error).splitlines()[0]}"
                )
                continue
            results.append(row)
    return families, failures


def text(operators):
    """A family's file: one sample on a line, so that a change shows where it is."""
    blocks = []
    for name in sorted(operators):
        rows = ",\n".join(
            json.dumps(row, separators=(",", ":")) for row in operators[name]
        )
        blocks.append(f"{json.dumps(name)}:[\n{rows}\n]")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def write(families, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    total = 0
    for family, operators in families.items():
        path = folder / f"{family}.json"
        path.write_text(text(operators))
        total += path.stat().st_size
    count = sum(len(rows) for ops in families.values() for rows in ops.values())
    names = sum(len(ops) for ops in families.values())
    print(f"{count} samples of {names} operators, {total / 1e6:.2f} MB")


def distance(a, b):
    """Why two encoded tensors differ, or None."""
    if (a["shape"], a["dtype"]) != (b["shape"], b["dtype"]):
        return f"{a['dtype']} {a['shape']} against {b['dtype']} {b['shape']}"
    x, y = decode_tensor(a).double(), decode_tensor(b).double()
    bound = TOLERANCE.get(a["dtype"], 0)
    near = torch.isclose(x, y, rtol=bound, atol=bound, equal_nan=True)
    return None if bool(near.all()) else f"values differ by {(x - y).abs().max():.3g}"


def compare(families, folder):
    """Sentences for each result that is missing in the files or differs from them."""
    wrong = []
    for family, operators in families.items():
        path = folder / f"{family}.json"
        stored = json.loads(path.read_text()) if path.exists() else {}
        for name, rows in operators.items():
            old = {row["key"]: row for row in stored.get(name, [])}
            for index, row in enumerate(rows):
                if row["key"] not in old:
                    wrong.append(f"{name}, sample {index}: not in {path.name}")
                    continue
                for place, new, then in pairs(row, old[row["key"]]):
                    why = distance(new, then) if then else "missing"
                    if why:
                        wrong.append(f"{name}, sample {index}, {place}: {why}")
    return wrong


def pairs(row, old):
    """Each encoded tensor of a row, with its place and its counterpart."""
    for kind in ("own", "f64"):
        for i, new in enumerate(row.get(kind, {}).get("outputs", [])):
            then = old.get(kind, {}).get("outputs", [])
            yield f"{kind} output {i}", new, then[i] if i < len(then) else None
        for name, new in row.get(kind, {}).get("gradients", {}).items():
            then = old.get(kind, {}).get("gradients", {})
            yield f"{kind} gradient of {name}", new, then.get(name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("samples", nargs="?", type=pathlib.Path)
    parser.add_argument("folder", nargs="?", type=pathlib.Path)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.self_test:
        import self_test

        return self_test.main()
    if not options.samples or not options.folder:
        parser.error("SAMPLES.json and FOLDER are needed")

    families, failures = make(json.loads(options.samples.read_text()))
    if options.compare:
        failures += compare(families, options.folder)
    else:
        write(families, options.folder)
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    if options.compare and not failures:
        print(f"PyTorch {torch.__version__} agrees with the golden values")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
