"""Makes the golden files of this folder with the Python originals.

    pip install numpy safetensors && python tests/golden/formats/make.py

NumPy 2.4, safetensors 0.8.
"""

import json
import os
import struct

import numpy as np
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
ARRAYS = {
    "f32": np.array([[1.5, -2.25, 0.0], [3e38, -0.0, 1e-45]], np.float32),
    "f64": np.array([np.pi, -1e300, np.inf], np.float64),
    "f16": np.array([[1.0, -0.5], [65504.0, 6e-8]], np.float16),
    "i64": np.array([2**62, -1], np.int64),
    "i32": np.arange(24, dtype=np.int32).reshape(2, 3, 4) - 12,
    "i8": np.array([-128, 127], np.int8),
    "u8": np.array([[[0], [255]]], np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.array(7.0, np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


def path(name):
    return os.path.join(HERE, name)


for name, array in ARRAYS.items():
    np.save(path(f"{name}.npy"), array)
np.save(path("fortran.npy"), np.asfortranarray(ARRAYS["i32"]))
np.save(path("big_endian.npy"), ARRAYS["i32"].astype(">i4"))
np.save(path("u16.npy"), np.array([0, 65535], np.uint16))
np.save(path("i16.npy"), np.array([-32768, 32767], ">i2"))
np.save(path("u32.npy"), np.array([0, 2**32 - 1], np.uint32))
np.save(path("records.npy"), np.zeros(2, [("a", "<f4"), ("b", "<i4")]))
np.save(path("complex.npy"), np.zeros(2, np.complex64))
with open(path("version2.npy"), "wb") as file:
    np.lib.format.write_array(file, ARRAYS["f32"], version=(2, 0))
with open(path("version3.npy"), "wb") as file:
    np.lib.format.write_array(file, ARRAYS["f32"], version=(3, 0))

np.savez(path("plain.npz"), **ARRAYS)
np.savez_compressed(path("compressed.npz"), **ARRAYS)
save_file(ARRAYS, path("arrays.safetensors"), metadata={"format": "np"})

# bfloat16 is not a NumPy type: its file is put together by hand.
bits = np.array([1.0, -2.5, 1e30], np.float32).view(np.uint32) >> 16
header = json.dumps(
    {"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
).encode()
with open(path("bf16.safetensors"), "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header)
    file.write(bits.astype("<u2").tobytes())
