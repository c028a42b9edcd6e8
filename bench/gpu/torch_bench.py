"""PyTorch's times for the rows of bench/gpu/rows.ts, as JSON lines.

    python torch_bench.py --device cuda --extents '{"chain": 1000, …}' [ROW…]
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

ROWS = {}
DEVICE = "cuda"
E = {}
LAYERS = []


def row(name):
    """Registers a function that prepares a row and returns what is timed."""

    def register(prepare):
        ROWS[name] = prepare
        return prepare

    return register


def synchronize():
    if DEVICE.startswith("cuda"):
        torch.cuda.synchronize()


def measure(work, seconds):
    """Median and least milliseconds of one run, timed in bursts that end with a synchronisation."""
    for _ in range(3):
        work()
    synchronize()
    begin = time.perf_counter()
    work()
    synchronize()
    once = max(time.perf_counter() - begin, 1e-6)
    burst = max(1, min(1000, int(seconds / 5 / once)))
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 3:
        begin = time.perf_counter()
        for _ in range(burst):
            work()
        synchronize()
        times.append((time.perf_counter() - begin) * 1e3 / burst)
    return statistics.median(times), min(times)


def randn(*shape, dtype=torch.float32, grad=False):
    return torch.randn(*shape, device=DEVICE, dtype=dtype, requires_grad=grad)


def compiled(function):
    return torch.compile(function, dynamic=False)


@row("chain of additions")
def chain():
    x, y = randn(1024), randn(1024)

    def work():
        z = y
        for _ in range(E["chain"]):
            z = z + x

    return work


@row("copy")
def copy():
    x = randn(E["vector"])
    y = torch.empty_like(x)
    return lambda: y.copy_(x)


def vectors():
    return (randn(E["vector"]) for _ in range(3))


def gelu_of(x, w, b):
    return F.gelu(x * w + b)


@row("gelu(x*w+b)")
def gelu():
    x, w, b = vectors()
    return lambda: gelu_of(x, w, b)


@row("gelu(x*w+b), torch.compile")
def gelu_compiled():
    x, w, b = vectors()
    fused = compiled(gelu_of)
    return lambda: fused(x, w, b)


def softmax_of(x):
    return F.softmax(x, dim=-1)


@row("softmax")
def softmax():
    x = randn(E["rows"], E["columns"])
    return lambda: softmax_of(x)


@row("softmax, torch.compile")
def softmax_compiled():
    x = randn(E["rows"], E["columns"])
    fused = compiled(softmax_of)
    return lambda: fused(x)


def norm_of(x, w, b):
    return F.layer_norm(x, (x.shape[-1],), w, b)


def norm_inputs():
    return randn(E["rows"], E["columns"]), randn(E["columns"]), randn(E["columns"])


@row("layer norm")
def layer_norm():
    x, w, b = norm_inputs()
    return lambda: norm_of(x, w, b)


@row("layer norm, torch.compile")
def layer_norm_compiled():
    x, w, b = norm_inputs()
    fused = compiled(norm_of)
    return lambda: fused(x, w, b)


def matmul(dtype, tf32):
    def prepare():
        torch.backends.cuda.matmul.allow_tf32 = tf32
        n = E["matmul"]
        a, b = randn(n, n, dtype=dtype), randn(n, n, dtype=dtype)
        return lambda: a @ b

    return prepare


row("matmul bf16")(matmul(torch.bfloat16, False))
row("matmul tf32")(matmul(torch.float32, True))
row("matmul f32")(matmul(torch.float32, False))


def batched(dtype):
    def prepare():
        torch.backends.cuda.matmul.allow_tf32 = False
        count, size = E["batched"]["count"], E["batched"]["size"]
        a = randn(count, size, size, dtype=dtype)
        b = randn(count, size, size, dtype=dtype)
        return lambda: a @ b

    return prepare


row("batched matmul bf16")(batched(torch.bfloat16))
row("batched matmul f32")(batched(torch.float32))


def attention(dtype):
    def prepare():
        a = E["attention"]
        shape = (a["batch"], a["heads"], a["time"], a["width"])
        q, k, v = (randn(*shape, dtype=dtype, grad=True) for _ in range(3))
        seed = randn(*shape, dtype=dtype)

        def work():
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(y, (q, k, v), seed)

        return work

    return prepare


row("attention")(attention(torch.bfloat16))
row("attention f32")(attention(torch.float32))


def step(model, optimizer, x, target):
    def work():
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()

    return work


def graphed(model, optimizer, x, target):
    """The same step as a CUDA graph, the way PyTorch's documentation captures one."""
    if not DEVICE.startswith("cuda"):
        return step(model, optimizer, x, target)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(model, optimizer, x, target)()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        F.cross_entropy(model(x), target).backward()
        optimizer.step()
    return graph.replay


def mlp():
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    model.to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return model, optimizer, randn(128, 784), torch.randint(10, (128,), device=DEVICE)


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
    model.to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return model, optimizer, randn(64, 1, 28, 28), torch.randint(10, (64,), device=DEVICE)


row("mlp step")(lambda: step(*mlp()))
row("mlp step, graph")(lambda: graphed(*mlp()))
row("lenet step")(lambda: step(*lenet()))
row("lenet step, graph")(lambda: graphed(*lenet()))


def conv(layer):
    def prepare():
        size = -(-layer["size"] // E["convShrink"])
        last = {"dtype": torch.bfloat16, "device": DEVICE}
        x = torch.randn(E["convBatch"], layer["from"], size, size, **last)
        w = torch.randn(layer["to"], layer["from"], layer["kernel"], layer["kernel"], **last)
        x, w = (t.to(memory_format=torch.channels_last).requires_grad_() for t in (x, w))
        options = {"stride": layer["stride"], "padding": layer["kernel"] // 2}
        seed = torch.randn_like(F.conv2d(x, w, **options))

        def work():
            torch.autograd.grad(F.conv2d(x, w, **options), (x, w), seed)

        return work

    return prepare


class Bottleneck(nn.Module):
    def __init__(self, start, width, stride):
        super().__init__()
        end = 4 * width
        self.conv1 = nn.Conv2d(start, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, end, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(end)
        self.down = None
        if stride != 1 or start != end:
            self.down = nn.Sequential(
                nn.Conv2d(start, end, 1, stride, bias=False), nn.BatchNorm2d(end)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.down is None else self.down(x)), inplace=True)


class ResNet50(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks, start = [], 64
        for i, count in enumerate([3, 4, 6, 3]):
            width = 64 * 2**i
            for j in range(count):
                blocks.append(Bottleneck(start, width, 2 if i > 0 and j == 0 else 1))
                start = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


def autocast_step(model, optimizer, x, target, classes):
    kind = "cuda" if DEVICE.startswith("cuda") else "cpu"

    def work():
        optimizer.zero_grad()
        with torch.autocast(kind, dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x).view(-1, classes), target.view(-1))
        loss.backward()
        optimizer.step()

    return work


@row("resnet50 training")
def resnet50():
    batch, size = E["images"]["batch"], E["images"]["size"]
    model = ResNet50().to(DEVICE, memory_format=torch.channels_last)
    x = randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    target = torch.randint(1000, (batch,), device=DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return autocast_step(model, optimizer, x, target, 1000)


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
        q, k, v = (p.view(batch, time_, self.heads, -1).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, time_, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, layers, heads, width, vocabulary, context):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight

    def forward(self, ids):
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        return self.head(self.norm(self.blocks(x)))


@row("gpt2 training")
def gpt2():
    g = dict(E["gpt"])
    batch = g.pop("batch")
    model = Gpt(**g).to(DEVICE)
    shape = (batch, g["context"])
    ids, target = (torch.randint(g["vocabulary"], shape, device=DEVICE) for _ in range(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return autocast_step(model, optimizer, ids, target, g["vocabulary"])


def main():
    global DEVICE, E
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--extents", type=json.loads, required=True)
    parser.add_argument("--layers", type=json.loads, default=[])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("rows", nargs="*")
    options = parser.parse_args()
    DEVICE, E = options.device, options.extents
    torch.backends.cudnn.benchmark = True
    # PyTorch rounds f32 convolutions to TF32 unless told not to; Decaf does not.
    torch.backends.cudnn.allow_tf32 = False
    for layer in options.layers:
        row(layer["name"])(conv(layer))
    about = {"torch": torch.__version__, "cuda": torch.version.cuda}
    about["conv_tf32"] = torch.backends.cudnn.allow_tf32
    if DEVICE.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name()
        about["cudnn"] = torch.backends.cudnn.version()
        about["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    print(json.dumps({"about": about}), flush=True)
    for name in options.rows or ROWS:
        try:
            torch.manual_seed(0)
            median, least = measure(ROWS[name](), options.seconds)
            line = {"name": name, "ms": median, "ms_min": least}
        except Exception as error:  # one row that fails must not end the others
            line = {"name": name, "absent": str(error).split("\n")[0][:300]}
        print(json.dumps(line), flush=True)
        if DEVICE.startswith("cuda"):
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
