"""Golden values for the model zoo.

    python make.py            writes values.jsonl beside this file

Needs torchvision for the residual networks. The parameters are filled by a
formula that the test has too; a row holds the names and shapes of the state
dict, the outputs and the loss in training and the outputs in evaluation, and
for each parameter the dot product of its gradient with the formula's numbers.
"""

import json
import math
import pathlib

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
torch.manual_seed(0)


def wave(shape, phase, low=-1.0, high=1.0):
    """Numbers in (low, high), spread evenly; none near another's place."""
    size = torch.Size(shape).numel()
    i = torch.arange(1, size + 1, dtype=torch.float64)
    unit = (i * 0.618033988749895 + phase * 0.1234567) % 1
    return (low + (high - low) * unit).reshape(shape)


def bounds(name, shape):
    """From where to where a parameter lies, so that no layer blows up."""
    if name.endswith("running_var"):
        return 0.5, 1.5
    if len(shape) >= 2:
        bound = math.sqrt(3 * shape[0] / math.prod(shape))
        return -bound, bound
    return (0.5, 1.5) if name.endswith("weight") else (-0.1, 0.1)


def fill(module):
    with torch.no_grad():
        for j, (name, tensor) in enumerate(module.state_dict().items()):
            if tensor.is_floating_point():
                tensor.copy_(wave(tensor.shape, j + 1, *bounds(name, tensor.shape)))


class Mlp(nn.Module):
    def __init__(self, widths):
        super().__init__()
        maps = []
        for a, b in zip(widths, widths[1:]):
            maps += [nn.Linear(a, b), nn.ReLU()]
        self.layers = nn.Sequential(*maps[:-1])

    def forward(self, x):
        return self.layers(x.flatten(1))


class LeNet(nn.Module):
    def __init__(self, channels, size, classes):
        super().__init__()
        last = ((size - 4) // 2 - 4) // 2
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * last * last, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class CharRnn(nn.Module):
    def __init__(self, vocabulary, embedding, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, x):
        return self.head(self.lstm(self.embedding(x))[0])


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = (
            part.view(n, t, self.heads, c // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(c, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(n, t, c))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x))))


class Gpt(nn.Module):
    """nanoGPT's names: https://github.com/karpathy/nanoGPT/blob/master/model.py"""

    def __init__(self, vocabulary, context, layers, heads, width):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocabulary, width),
                "wpe": nn.Embedding(context, width),
                "h": nn.ModuleList(Block(width, heads) for _ in range(layers)),
                "ln_f": nn.LayerNorm(width),
            }
        )
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.transformer.wte.weight = self.lm_head.weight

    def forward(self, tokens):
        t = self.transformer
        x = t.wte(tokens) + t.wpe(torch.arange(tokens.shape[1]))
        for block in t.h:
            x = block(x)
        return self.lm_head(t.ln_f(x))


def small_stem(model):
    """The 3x3 stem that is usual for CIFAR's pictures."""
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def tokens(shape, vocabulary):
    return wave(shape, 3, 0, vocabulary).long()


zoo = torchvision.models
# Name, model, inputs, number of classes, precision.
cases = [
    ("mlp", Mlp([12, 7, 5, 3]), wave([4, 3, 4], 0), 3, torch.float64),
    ("lenet", LeNet(2, 20, 4), wave([3, 2, 20, 20], 0), 4, torch.float64),
    ("char_rnn", CharRnn(7, 3, 4, 2), tokens([3, 5], 7), 7, torch.float64),
    ("gpt", Gpt(11, 6, 2, 2, 8), tokens([3, 5], 11), 11, torch.float64),
    ("resnet18", zoo.resnet18(num_classes=5), wave([2, 3, 40, 40], 0), 5, torch.float64),
    (
        "resnet18 small",
        small_stem(zoo.resnet18(num_classes=5)),
        wave([2, 3, 8, 8], 0),
        5,
        torch.float64,
    ),
    ("resnet34", zoo.resnet34(num_classes=3), wave([1, 3, 33, 33], 0), None, torch.float32),
    ("resnet50", zoo.resnet50(num_classes=3), wave([1, 3, 33, 33], 0), None, torch.float32),
]


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().double().flatten().tolist()]


def row(name, model, inputs, classes, dtype):
    model.to(dtype)
    fill(model)
    x = inputs.to(dtype) if inputs.is_floating_point() else inputs
    result = {
        "name": name,
        "state": [[key, list(t.shape)] for key, t in model.state_dict().items()],
        "evaluated": numbers(model.eval()(x)),
    }
    if classes is None:
        return result
    output = model.train()(x)
    rows = output.flatten(0, -2)
    labels = wave([rows.shape[0]], 5, 0, classes).long()
    loss = F.cross_entropy(rows, labels)
    loss.backward()
    dots = {
        key: numbers((p.grad.double() * wave(p.shape, 7)).sum())[0]
        for key, p in model.named_parameters()
    }
    return {**result, "trained": numbers(output), "loss": loss.item(), "gradients": dots}


path = pathlib.Path(__file__).parent / "values.jsonl"
path.write_text("".join(json.dumps(row(*case)) + "\n" for case in cases))
