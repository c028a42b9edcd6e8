"""The names of ONNX's operators.

    pip install onnx==1.23.2
    python onnx_names.py      writes onnx.txt beside this file

Those of the default domain, without the ones that their newest version
deprecates.
"""

import importlib.metadata
import pathlib

from onnx import defs

names = sorted(s.name for s in defs.get_all_schemas() if s.domain == "" and not s.deprecated)
version = importlib.metadata.version("onnx")
lines = [f"# {len(names)} operators of onnx {version}, written by onnx_names.py", *names]
(pathlib.Path(__file__).parent / "onnx.txt").write_text("\n".join(lines) + "\n")
