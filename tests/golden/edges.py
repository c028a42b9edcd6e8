"""What PyTorch makes of the calls that tools/edges.ts writes: results, or the error that it raises.

    python edges.py CALLS.json ANSWERS.json own|plain|double|reals

own: in the call's types. plain: the same without oneDNN; ATEN_CPU_CAPABILITY=default turns
vector instructions off. double: floats in f64. reals: floats and integers in f64.
"""

import json
import os
import pathlib
import sys
import warnings

import torch

import make
from codec import decode_input, encode_tensor

INTEGERS = ("i64", "i32", "i8", "u8")


def real(record):
    """An encoded operand with integers made f64."""
    if isinstance(record, list):
        return [real(item) for item in record]
    if not isinstance(record, dict) or record["dtype"] not in INTEGERS:
        return record
    return {**encode_tensor(decode_input(record).double()), "grad": False}


def answer(operator, sample, way):
    """Outputs and gradients of one call, or the first line of an error."""
    try:
        if way == "reals":
            inputs = {name: real(x) for name, x in sample["inputs"].items()}
            sample = {**sample, "inputs": inputs}
        return make.run(operator, sample, double=way in ("double", "reals"))
    except Exception as error:  # every refusal is an answer
        lines = str(error).splitlines() or [type(error).__name__]
        return {"error": lines[0]}


def answers_of(operator, way):
    """Answers to an operator's calls; a call that kills the process is answered with an error."""
    found = []
    while len(found) < len(operator["samples"]):
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            with os.fdopen(sink, "w") as out:
                for sample in operator["samples"][len(found) :]:
                    out.write(json.dumps(answer(operator, sample, way)) + "\n")
                    out.flush()
            os._exit(0)
        os.close(sink)
        with os.fdopen(source) as lines:
            found += [json.loads(line) for line in lines if line.endswith("\n")]
        if os.waitpid(child, 0)[1] != 0:
            found.append({"error": "the process died"})
    return found


def main():
    calls, answers = map(pathlib.Path, sys.argv[1:3])
    way = sys.argv[3]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.backends.mkldnn.enabled = way != "plain"
    operators = json.loads(calls.read_text())["operators"]
    answers.write_text(json.dumps([answers_of(operator, way) for operator in operators]))


if __name__ == "__main__":
    main()
