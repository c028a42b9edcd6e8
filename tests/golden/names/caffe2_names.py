"""The names of Caffe2's operators.

    git clone https://github.com/facebookarchive/caffe2
    pip download torch==1.9.0 --no-deps --only-binary=:all: \
        --platform macosx_10_9_x86_64 --python-version 3.9 --abi none
    unzip torch-1.9.0-*.whl -d torch
    python caffe2_names.py caffe2 torch/torch/lib     writes caffe2.txt beside this file

Two sources, since neither has them all: the macros that register operators in
Caffe2's own repository (0.8.2, its last commit with code), and the symbols of
operator schemas in the libraries of PyTorch 1.9.0, among the last to be built
with Caffe2's operators. Schemas in anonymous namespaces have no symbols. Needs
git and llvm-nm. Each line is a name and where it was found.
"""

import pathlib
import re
import subprocess
import sys

COMMIT = "157ff81a1"
MACRO = re.compile(
    r"(?:OPERATOR_SCHEMA(?:_NOEXPORT)?|CAFFE2_SCHEMA_FOR_\w+"
    r"|REGISTER_(?:CPU|CUDA|CUDNN)_OPERATOR(?:_\w+)?)\(\s*([A-Z]\w*)"
)
SYMBOL = re.compile(r"OPERATOR_SCHEMA_FOR_(\w+?)(?:Ev|v)$")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def of_sources(repository):
    git = ["git", "-C", repository]
    files = output(*git, "ls-tree", "-r", "--name-only", COMMIT, "caffe2", "modules").split()
    code = [f for f in files if re.search(r"(?<!_test)\.(cc|cpp|cu|h)$", f)]
    macros = output(*git, "grep", "-hE", "-A2", "_(SCHEMA|OPERATOR)[A-Z_]*[(]", COMMIT, "--", *code)
    return set(MACRO.findall(macros))


def of_libraries(folder):
    names = set()
    for library in ("libtorch_cpu.dylib", "libcaffe2_detectron_ops.dylib"):
        for line in output("llvm-nm", f"{folder}/{library}").splitlines():
            names.update(SYMBOL.findall(line))
    return {name for name in names if name[0].isupper()}


def main(repository, folder):
    old, new = of_sources(repository), of_libraries(folder)
    lines = ["# name, and the versions that have it: Caffe2 0.8.2, PyTorch 1.9.0; written by caffe2_names.py"]
    for name in sorted(old | new):
        where = ["0.8.2"] * (name in old) + ["1.9.0"] * (name in new)
        lines.append(f"{name} {' '.join(where)}")
    (pathlib.Path(__file__).parent / "caffe2.txt").write_text("\n".join(lines) + "\n")


main(*sys.argv[1:])
