"""What PyTorch makes of the calls that tools/edges.ts writes: results, or the error that it raises.

    python edges.py CALLS.json ANSWERS.json
"""

import json
import os
import pathlib
import sys
import warnings

import torch

import make


def answer(operator, sample):
    """Outputs and gradients of one call in its own types, or the first line of an error."""
    try:
        return make.run(operator, sample, double=False)
    except Exception as error:  # every refusal is an answer
        lines = str(error).splitlines() or [type(error).__name__]
        return {"error": lines[0]}


def answers_of(operator):
    """Answers to an operator's calls; a call that kills the process is answered with an error."""
    found = []
    while len(found) < len(operator["samples"]):
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            with os.fdopen(sink, "w") as out:
                for sample in operator["samples"][len(found) :]:
                    out.write(json.dumps(answer(operator, sample)) + "\n")
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
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    operators = json.loads(calls.read_text())["operators"]
    answers.write_text(json.dumps([answers_of(operator) for operator in operators]))


if __name__ == "__main__":
    main()
