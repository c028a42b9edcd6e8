"""Golden values for the modules.

    python make.py            writes values.jsonl beside this file

Each case is a PyTorch module in double precision whose parameters, buffers and
inputs are filled by formulas that the test has too. A row holds the names and
shapes of its state dict, the outputs, the gradients of sum(output * weights)
for the inputs and the parameters, and the buffers after the call.
"""

import json
import pathlib

import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)


def wave(shape, phase, low=-1.0, high=1.0):
    """Numbers in (low, high), spread evenly; none near another's place."""
    size = torch.Size(shape).numel()
    i = torch.arange(1, size + 1, dtype=torch.float64)
    unit = (i * 0.618033988749895 + phase * 0.1234567) % 1
    return (low + (high - low) * unit).reshape(shape)


def ints(*rows):
    return torch.tensor(rows)


def fill(module):
    for j, (name, tensor) in enumerate(module.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        low, high = (0.5, 1.5) if name.endswith("var") else (-0.6, 0.6)
        tensor.copy_(wave(tensor.shape, j + 1, low, high))


def numbers(tensor):
    data = [float(f"{v:.12g}") for v in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def flat(output):
    if isinstance(output, torch.Tensor):
        return [output]
    return [t for part in output if part is not None for t in flat(part)]


def run(module, *inputs, train=True, call=None, **options):
    module = module.double().train(train)
    fill(module)
    before = {name: list(t.shape) for name, t in module.state_dict().items()}
    inputs = [
        x.requires_grad_(True) if torch.is_tensor(x) and x.is_floating_point() else x
        for x in inputs
    ]
    outputs = flat(call(module, *inputs) if call else module(*inputs, **options))
    total = sum(
        (o * wave(o.shape, 31 + i)).sum() for i, o in enumerate(outputs) if o.requires_grad
    )
    leaves = {f"input {i}": x for i, x in enumerate(inputs) if torch.is_tensor(x) and x.requires_grad}
    leaves.update(module.named_parameters())
    grads = {}
    if leaves and torch.is_tensor(total):
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        grads = {
            name: numbers(g) for name, g in zip(leaves, found) if g is not None
        }
    return {
        "state": before,
        "outputs": [numbers(o) for o in outputs],
        "gradients": grads,
        "buffers": {name: numbers(b.double()) for name, b in module.named_buffers()},
    }


def x(*shape, phase=0.5):
    return wave(shape, phase, -2.0, 2.0)


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.Tanh(),
        nn.Linear(5, 3),
    )


def attention(module, q, k, v, mask=None, padding=None):
    return module(q, k, v, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]


hidden = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
padded = torch.tensor([[False, False, True, True], [False, False, False, True]])

CASES = {
    "linear": lambda: run(nn.Linear(3, 4), x(2, 5, 3)),
    "linear without bias": lambda: run(nn.Linear(3, 4, bias=False), x(2, 3)),
    "bilinear": lambda: run(nn.Bilinear(3, 2, 4), x(5, 3), x(5, 2, phase=7)),
    "conv1d": lambda: run(nn.Conv1d(2, 3, 3, stride=2, padding=1), x(2, 2, 7)),
    "conv1d reflect": lambda: run(
        nn.Conv1d(2, 3, 3, padding=2, padding_mode="reflect"), x(1, 2, 5)
    ),
    "conv2d": lambda: run(
        nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2),
        x(2, 4, 5, 6),
    ),
    "conv2d same": lambda: run(nn.Conv2d(2, 3, (2, 3), padding="same"), x(1, 2, 4, 4)),
    "conv2d circular": lambda: run(
        nn.Conv2d(1, 2, 3, padding=(1, 2), padding_mode="circular"), x(1, 1, 4, 5)
    ),
    "conv2d replicate same": lambda: run(
        nn.Conv2d(1, 2, (2, 3), padding="same", padding_mode="replicate"), x(1, 1, 4, 5)
    ),
    "conv3d": lambda: run(nn.Conv3d(2, 2, 2, bias=False), x(1, 2, 3, 3, 4)),
    "convTranspose1d": lambda: run(
        nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1), x(2, 2, 4)
    ),
    "convTranspose2d": lambda: run(
        nn.ConvTranspose2d(4, 2, (2, 3), stride=2, groups=2, dilation=2), x(1, 4, 3, 2)
    ),
    "convTranspose3d": lambda: run(nn.ConvTranspose3d(1, 2, 2), x(1, 1, 2, 3, 2)),
    "batchNorm1d": lambda: run(nn.BatchNorm1d(3), x(4, 3)),
    "batchNorm1d sequence": lambda: run(nn.BatchNorm1d(3, momentum=0.3), x(2, 3, 5)),
    "batchNorm2d": lambda: run(nn.BatchNorm2d(2, eps=1e-3), x(3, 2, 2, 3)),
    "batchNorm2d average": lambda: run(nn.BatchNorm2d(2, momentum=None), x(3, 2, 2, 3)),
    "batchNorm2d eval": lambda: run(nn.BatchNorm2d(2), x(3, 2, 2, 3), train=False),
    "batchNorm2d plain": lambda: run(
        nn.BatchNorm2d(2, affine=False, track_running_stats=False), x(3, 2, 2, 3)
    ),
    "batchNorm3d": lambda: run(nn.BatchNorm3d(2), x(2, 2, 2, 1, 2)),
    "layerNorm": lambda: run(nn.LayerNorm([3, 4], eps=1e-3), x(2, 3, 4)),
    "layerNorm without bias": lambda: run(nn.LayerNorm(4, bias=False), x(2, 3, 4)),
    "groupNorm": lambda: run(nn.GroupNorm(2, 4), x(2, 4, 3)),
    "instanceNorm2d": lambda: run(nn.InstanceNorm2d(2), x(2, 2, 3, 2)),
    "instanceNorm1d tracking": lambda: run(
        nn.InstanceNorm1d(2, affine=True, track_running_stats=True), x(3, 2, 4)
    ),
    "instanceNorm1d eval": lambda: run(
        nn.InstanceNorm1d(2, affine=True, track_running_stats=True),
        x(3, 2, 4),
        train=False,
    ),
    "rmsNorm": lambda: run(nn.RMSNorm(4, eps=1e-3), x(2, 3, 4)),
    "localResponseNorm": lambda: run(
        nn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=1.5), x(2, 5, 2)
    ),
    "embedding": lambda: run(nn.Embedding(5, 3, padding_idx=1), ints([0, 1, 4], [4, 2, 1])),
    "embeddingBag": lambda: run(
        nn.EmbeddingBag(5, 3, mode="sum"),
        ints([0, 1, 4], [4, 2, 1]),
        None,
        x(2, 3),
    ),
    "embeddingBag offsets": lambda: run(
        nn.EmbeddingBag(5, 3), torch.tensor([0, 1, 4, 4, 2]), torch.tensor([0, 2])
    ),
    "prelu": lambda: run(nn.PReLU(3), x(2, 3, 2)),
    "glu": lambda: run(nn.GLU(), x(2, 4)),
    "rnn": lambda: run(nn.RNN(3, 2), x(4, 2, 3)),
    "rnn relu": lambda: run(nn.RNN(3, 2, nonlinearity="relu", bias=False), x(4, 2, 3)),
    "lstm": lambda: run(
        nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True), x(2, 4, 3)
    ),
    "lstm states": lambda: run(
        nn.LSTM(3, 2),
        x(4, 2, 3),
        x(1, 2, 2, phase=3),
        x(1, 2, 2, phase=5),
        call=lambda m, x, h, c: m(x, (h, c)),
    ),
    "gru": lambda: run(
        nn.GRU(3, 2, num_layers=2), x(4, 2, 3), x(2, 2, 2, phase=3)
    ),
    "lstmCell": lambda: run(
        nn.LSTMCell(3, 2),
        x(4, 3),
        x(4, 2, phase=3),
        x(4, 2, phase=5),
        call=lambda m, x, h, c: m(x, (h, c)),
    ),
    "gruCell": lambda: run(nn.GRUCell(3, 2), x(4, 3), x(4, 2, phase=3)),
    "rnnCell": lambda: run(nn.RNNCell(3, 2, nonlinearity="relu"), x(4, 3)),
    "attention to itself": lambda: run(
        nn.MultiheadAttention(4, 2),
        x(3, 2, 4),
        call=lambda m, x: attention(m, x, x, x, mask=hidden),
    ),
    "attention to others": lambda: run(
        nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True),
        x(2, 3, 4),
        x(2, 4, 3, phase=3),
        x(2, 4, 5, phase=5),
        call=lambda m, q, k, v: attention(m, q, k, v, padding=padded),
    ),
    "attention without bias": lambda: run(
        nn.MultiheadAttention(4, 1, bias=False, batch_first=True),
        x(2, 3, 4),
        x(2, 4, 4, phase=3),
        call=lambda m, q, k: attention(m, q, k, k, padding=padded),
    ),
    "encoder layer": lambda: run(
        nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0), x(3, 2, 4)
    ),
    "encoder layer norm first": lambda: run(
        nn.TransformerEncoderLayer(
            4, 2, 5, dropout=0.0, activation="gelu", norm_first=True, batch_first=True
        ),
        x(2, 3, 4),
        src_mask=hidden,
    ),
    "decoder layer": lambda: run(
        nn.TransformerDecoderLayer(4, 2, 5, dropout=0.0, batch_first=True),
        x(2, 3, 4),
        x(2, 4, 4, phase=3),
        tgt_mask=hidden,
        memory_key_padding_mask=padded,
    ),
    "decoder layer norm first": lambda: run(
        nn.TransformerDecoderLayer(4, 2, 5, dropout=0.0, norm_first=True),
        x(3, 2, 4),
        x(4, 2, 4, phase=3),
    ),
    "encoder": lambda: run(
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=True),
            2,
            nn.LayerNorm(4),
        ),
        x(2, 3, 4),
    ),
    "decoder": lambda: run(
        nn.TransformerDecoder(
            nn.TransformerDecoderLayer(4, 2, 5, dropout=0.0, batch_first=True), 2
        ),
        x(2, 3, 4),
        x(2, 4, 4, phase=3),
    ),
    "lenet": lambda: run(lenet(), x(2, 1, 10, 10)),
    "maxPool1d": lambda: run(nn.MaxPool1d(3, 2, padding=1), x(1, 2, 7)),
    "maxPool3d": lambda: run(nn.MaxPool3d(2), x(1, 1, 4, 2, 5)),
    "avgPool2d": lambda: run(
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), x(1, 2, 5, 4)
    ),
    "lpPool2d": lambda: run(nn.LPPool2d(3, 2), x(1, 2, 4, 5).abs()),
    "adaptiveAvgPool2d": lambda: run(nn.AdaptiveAvgPool2d((2, 3)), x(1, 2, 5, 7)),
    "adaptiveMaxPool1d": lambda: run(nn.AdaptiveMaxPool1d(2), x(1, 2, 5)),
    "pixelShuffle": lambda: run(nn.PixelShuffle(2), x(1, 8, 2, 3)),
    "upsample": lambda: run(nn.Upsample(scale_factor=2, mode="bilinear"), x(1, 2, 2, 3)),
    "unflatten": lambda: run(nn.Unflatten(1, (2, 3)), x(2, 6)),
    "crossEntropyLoss": lambda: run(
        nn.CrossEntropyLoss(
            torch.tensor([0.5, 1.0, 2.0]), ignore_index=1, label_smoothing=0.1
        ),
        x(4, 3),
        torch.tensor([0, 2, 1, 2]),
    ),
    "nllLoss": lambda: run(nn.NLLLoss(reduction="sum"), x(4, 3), torch.tensor([0, 2, 1, 2])),
    "mseLoss": lambda: run(nn.MSELoss(), x(2, 3), x(2, 3, phase=3)),
    "bceWithLogitsLoss": lambda: run(
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 3.0])),
        x(2, 3),
        wave((2, 3), 3, 0.0, 1.0),
    ),
    "l1Loss": lambda: run(nn.L1Loss(reduction="sum"), x(2, 3), x(2, 3, phase=3)),
    "smoothL1Loss": lambda: run(nn.SmoothL1Loss(beta=0.7), x(2, 3), x(2, 3, phase=3)),
    "huberLoss": lambda: run(nn.HuberLoss(delta=0.7), x(2, 3), x(2, 3, phase=3)),
    "bceLoss": lambda: run(nn.BCELoss(), wave((2, 3), 1, 0.0, 1.0), wave((2, 3), 3, 0.0, 1.0)),
    "klDivLoss": lambda: run(
        nn.KLDivLoss(reduction="batchmean"), x(2, 3), wave((2, 3), 3, 0.0, 1.0)
    ),
    "hingeEmbeddingLoss": lambda: run(
        nn.HingeEmbeddingLoss(margin=0.5), x(4), torch.tensor([1, -1, 1, -1])
    ),
    "softMarginLoss": lambda: run(nn.SoftMarginLoss(), x(4), torch.tensor([1, -1, 1, -1])),
    "multiMarginLoss": lambda: run(
        nn.MultiMarginLoss(p=2, margin=0.7), x(2, 3), torch.tensor([0, 2])
    ),
    "poissonNllLoss": lambda: run(
        nn.PoissonNLLLoss(full=True), x(4), wave((4,), 3, 0.0, 5.0)
    ),
    "gaussianNllLoss": lambda: run(
        nn.GaussianNLLLoss(), x(4), x(4, phase=3), wave((4,), 3, 0.5, 2.0)
    ),
    "marginRankingLoss": lambda: run(
        nn.MarginRankingLoss(margin=0.3),
        x(4),
        x(4, phase=3),
        torch.tensor([1, -1, 1, -1]),
    ),
    "ctcLoss": lambda: run(
        nn.CTCLoss(blank=2),
        x(5, 2, 3),
        torch.tensor([[0, 1], [1, 0]]),
        (5, 4),
        (2, 1),
        call=lambda m, x, *rest: m(x.log_softmax(-1), *rest),
    ),
    "tripletMarginLoss": lambda: run(
        nn.TripletMarginLoss(margin=2.0), x(2, 3), x(2, 3, phase=3), x(2, 3, phase=5)
    ),
    "cosineEmbeddingLoss": lambda: run(
        nn.CosineEmbeddingLoss(margin=0.2),
        x(2, 3),
        x(2, 3, phase=3),
        torch.tensor([1, -1]),
    ),
}

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "leakyRelu": nn.LeakyReLU(0.2),
    "elu": nn.ELU(0.7),
    "selu": nn.SELU(),
    "celu": nn.CELU(0.7),
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "sigmoid": nn.Sigmoid(),
    "logSigmoid": nn.LogSigmoid(),
    "tanh": nn.Tanh(),
    "tanhShrink": nn.Tanhshrink(),
    "softplus": nn.Softplus(beta=2),
    "softsign": nn.Softsign(),
    "hardTanh": nn.Hardtanh(-0.5, 1.5),
    "hardSigmoid": nn.Hardsigmoid(),
    "hardSwish": nn.Hardswish(),
    "hardShrink": nn.Hardshrink(0.7),
    "softShrink": nn.Softshrink(0.7),
    "threshold": nn.Threshold(0.1, -2.0),
    "softmax": nn.Softmax(-1),
    "softmin": nn.Softmin(0),
    "logSoftmax": nn.LogSoftmax(-1),
}
for name, module in ACTIVATIONS.items():
    CASES[name] = lambda module=module: run(module, x(2, 4))


def main():
    """One line per case, so that a change shows where it is."""
    rows = [{"torch": torch.__version__}]
    for name, make in CASES.items():
        rows.append({"name": name, **make()})
    path = pathlib.Path(__file__).with_name("values.jsonl")
    lines = [json.dumps(row, separators=(",", ":")) + "\n" for row in rows]
    path.write_text("".join(lines))
    print(f"{path.name}: {path.stat().st_size} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
