"""PyTorch's lists of operators for autocast on CUDA.

    python autocast_names.py  writes autocast.txt beside this file

From ATen/autocast_mode.h, which lies in PyTorch's package: after the list's
name, its operators, each once.
"""

import pathlib
import re

import torch

LISTS = {
    "LOWER_PRECISION_FP": "low",
    "FP32": "f32",
    "FP32_SET_OPT_DTYPE": "f32",
    "PROMOTE": "widest",
}

header = pathlib.Path(torch.__file__).parent / "include/ATen/autocast_mode.h"
text = header.read_text(encoding="utf-8")
found = {rule: set() for rule in LISTS.values()}
for name, rule in LISTS.items():
    macro = re.search(rf"#define AT_FORALL_{name}\(_\)((?:.*\\\n)*.*\n)", text)
    found[rule].update(re.findall(r"_\((\w+)", macro[1]))
lines = [f"# {header.name} of PyTorch {torch.__version__}, written by autocast_names.py"]
lines += [" ".join([rule, *sorted(names)]) for rule, names in found.items()]
(pathlib.Path(__file__).parent / "autocast.txt").write_text("\n".join(lines) + "\n")
