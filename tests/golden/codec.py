"""Tensors and attributes as JSON, the way tools/golden_samples.ts writes them."""

import base64

import torch

DTYPES = {
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
NAMES = {dtype: name for name, dtype in DTYPES.items()}

# Types that this project has no name for, and the ones that hold their values.
WIDER = {torch.int16: torch.int32}


def decode_tensor(record):
    """A tensor from {shape, dtype, data}, data being little-endian bytes in base64."""
    raw = bytearray(base64.b64decode(record["data"]))
    dtype = DTYPES[record["dtype"]]
    if not raw:
        return torch.zeros(record["shape"], dtype=dtype)
    return torch.frombuffer(raw, dtype=dtype).clone().reshape(record["shape"])


def encode_tensor(tensor):
    """The reverse of decode_tensor; exact for every value, NaN and infinities included."""
    tensor = tensor.detach().contiguous()
    tensor = tensor.to(WIDER.get(tensor.dtype, tensor.dtype))
    raw = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else None
    data = "" if raw is None else base64.b64encode(raw.numpy().tobytes()).decode()
    return {
        "shape": list(tensor.shape),
        "dtype": NAMES[tensor.dtype],
        "data": data,
    }


def decode_input(value):
    """An operand: a tensor, a list of them, a number, or None."""
    if isinstance(value, list):
        return [decode_input(item) for item in value]
    return decode_tensor(value) if isinstance(value, dict) else value


def decode_attribute(value):
    """An attribute; numbers that JSON lacks come as {"number": "Infinity"} and the like."""
    if isinstance(value, dict):
        if set(value) == {"number"}:
            return float(value["number"].replace("Infinity", "inf"))
        return {key: decode_attribute(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode_attribute(item) for item in value]
    return value
