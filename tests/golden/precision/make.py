"""What PyTorch's autocast and GradScaler do: writes precision.json beside this file.

    python tests/golden/precision/make.py

Two small nets run under bf16 autocast on the CPU; weights and inputs are
sin(1.7·i + s), which the test computes too. The scaler's scales follow a
given list of good and overflowing steps.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F


def numbers(shape, s, size=0.5):
    n = math.prod(shape)
    values = [size * math.sin(1.7 * i + s) for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).float().reshape(shape)


def mlp(x, w):
    h = F.relu(F.linear(x, w[0], w[1]))
    return F.linear(h, w[2], w[3])


def convnet(x, w):
    h = F.max_pool2d(F.relu(F.conv2d(x, w[0], w[1])), 2)
    return F.linear(h.flatten(1), w[2], w[3])


NETS = {
    "mlp": (mlp, [4, 6], [[8, 6], [8], [3, 8], [3]]),
    "convnet": (convnet, [2, 2, 8, 8], [[3, 2, 3, 3], [3], [4, 27], [4]]),
}


def run(net):
    function, shape, shapes = NETS[net]
    x = numbers(shape, 0.3, 1)
    weights = [numbers(s, i + 1.0).requires_grad_(True) for i, s in enumerate(shapes)]
    labels = torch.arange(shape[0]) % shapes[-1][0]
    with torch.autocast("cpu", torch.bfloat16):
        y = function(x, weights)
        loss = F.cross_entropy(y, labels)
    loss.backward()
    return {
        "dtype": str(y.dtype).removeprefix("torch."),
        "lossDtype": str(loss.dtype).removeprefix("torch."),
        "loss": loss.item(),
        "output": y.float().flatten().tolist(),
        "gradients": [w.grad.flatten().tolist() for w in weights],
        "gradientDtypes": [str(w.grad.dtype).removeprefix("torch.") for w in weights],
    }


def scales(options, good):
    """The scale after each step, and whether the weight moved."""
    scaler = torch.amp.GradScaler("cpu", **options)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    rows = []
    for fine in good:
        before = weight.item()
        optimizer.zero_grad()
        factor = torch.tensor(1.0 if fine else math.inf)
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        rows.append({"scale": scaler.get_scale(), "moved": weight.item() != before})
    return rows


def main():
    good = [True, True, True, False, True, True, True, True, False, False, True]
    cases = [
        {},
        {"init_scale": 1024.0, "growth_interval": 2},
        {"init_scale": 3.0, "growth_factor": 1.7, "backoff_factor": 0.3, "growth_interval": 1},
        {"init_scale": 2.0**126, "growth_interval": 1},
    ]
    found = {
        "nets": {name: run(name) for name in NETS},
        "scalers": [
            {"options": options, "good": good, "steps": scales(options, good)}
            for options in cases
        ],
    }
    path = pathlib.Path(__file__).with_name("precision.json")
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
