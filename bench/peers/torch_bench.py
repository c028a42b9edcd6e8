"""PyTorch's times for the rows of bench/peers/rows.ts, as JSON lines.

    python torch_bench.py [ROW…]     names or parts of names; all without one
"""

import json
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

WARM_UPS = 5
SECONDS = 1.2
ROWS = {}


def row(name, threads=2):
    """Registers a function that prepares a row and returns what is timed."""

    def register(prepare):
        ROWS[name] = (prepare, threads)
        return prepare

    return register


def measure(work):
    for _ in range(WARM_UPS):
        work()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < SECONDS or len(times) < 5:
        begin = time.perf_counter()
        work()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times), min(times)


def matmul():
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return lambda: a @ b


row("matmul 1024, 1 thread", threads=1)(matmul)
row("matmul 1024, 2 threads")(matmul)


def conv_inputs():
    x = torch.randn(16, 32, 28, 28, requires_grad=True)
    w = torch.randn(64, 32, 3, 3, requires_grad=True)
    return x, w


@row("conv forward")
def conv_forward():
    x, w = (t.detach() for t in conv_inputs())
    return lambda: F.conv2d(x, w, padding=1)


@row("conv forward+backward")
def conv_backward():
    x, w = conv_inputs()
    seed = torch.randn(16, 64, 28, 28)
    return lambda: torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w), seed)


@row("softmax 1024x1024")
def softmax():
    x = torch.randn(1024, 1024)
    return lambda: F.softmax(x, dim=-1)


@row("gelu(x*w+b) 1M")
def gelu():
    x, w, b = (torch.randn(1024 * 1024) for _ in range(3))
    return lambda: F.gelu(x * w + b)


def step(model, optimizer, x, target):
    def work():
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()

    return work


@row("mlp step")
def mlp():
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return step(model, optimizer, torch.randn(128, 784), torch.randint(10, (128,)))


@row("lenet step")
def lenet():
    model = nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, target = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    return step(model, optimizer, x, target)


@row("lstm forward+backward")
def lstm():
    model = nn.LSTM(64, 256, batch_first=True)
    x = torch.randn(32, 64, 64, requires_grad=True)

    def work():
        model.zero_grad()
        x.grad = None
        model(x)[0].sum().backward()

    return work


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        batch, time_, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, dim=2)
        q, k, v = (
            p.view(batch, time_, self.heads, -1).transpose(1, 2) for p in parts
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, time_, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """nanoGPT's shape: 4 layers, 4 heads, 128 wide, tied embedding."""

    def __init__(self, vocabulary=65, context=64, width=128, heads=4, layers=4):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight

    def forward(self, ids):
        positions = torch.arange(ids.shape[1])
        x = self.token(ids) + self.position(positions)
        return self.head(self.norm(self.blocks(x)))


@row("transformer forward+backward")
def transformer():
    model = Transformer()
    ids, target = (torch.randint(65, (12, 64)) for _ in range(2))

    def work():
        model.zero_grad()
        logits = model(ids)
        F.cross_entropy(logits.view(-1, 65), target.view(-1)).backward()

    return work


@row("add 32 floats x1000")
def add():
    x, y = torch.randn(32), torch.randn(32)

    def work():
        z = y
        for _ in range(1000):
            z = z + x
        return z[0].item()

    return work


def main():
    for name, (prepare, threads) in ROWS.items():
        if len(sys.argv) > 1 and not any(part in name for part in sys.argv[1:]):
            continue
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        median, least = measure(prepare())
        line = {"name": name, "ms_median": median, "ms_min": least, "threads": threads}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
