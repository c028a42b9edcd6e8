"""How many kernels PyTorch launches for one training step, counted without a GPU.

The step runs on the CPU, where the same operators are dispatched as on a GPU
(optimizers in their foreach form, as they are there). Each operator that is no
view and no allocation launches at least one kernel on a GPU, so the count is a
lower bound. On a GPU the profiler counts the kernels themselves (--real).

    python torch_counts.py [--real]
"""

import json
import sys

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import torch_bench as bench

# Operators that launch nothing: they make views, reserve memory or copy handles.
FREE = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided",
    "detach", "lift_fresh", "alias", "_unsafe_view", "resize_", "set_", "is_same_size",
    "_scaled_dot_product_attention_math_for_mps", "device", "size", "stride", "sym_size",
    "_local_scalar_dense", "result_type", "record_stream",
    "_record_function_enter_new", "_record_function_exit",
}
# A fused update of many tensors takes one launch for at most this many of them.
FOREACH = 24


class Counter(TorchDispatchMode):
    """Counts what reaches a device."""

    def __init__(self):
        super().__init__()
        self.names = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        view = func.is_view or name in FREE
        if not view:
            count = 1
            if name.startswith("_foreach") or name.startswith("_fused"):
                count = -(-len(args[0]) // FOREACH)
            if name == "convolution_backward":
                count = sum(args[-1])  # one for each gradient that is wanted
            self.names[name] = self.names.get(name, 0) + count
        return func(*args, **(kwargs or {}))


def lenet():
    model, optimizer, x, target = bench.lenet()
    optimizer.param_groups[0]["foreach"] = True
    return bench.step(model, optimizer, x, target)


def resnet50():
    model = bench.ResNet50().to(bench.DEVICE)
    x = bench.randn(4, 3, 64, 64)
    target = torch.zeros(4, dtype=torch.long, device=bench.DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)
    return bench.step(model, optimizer, x, target)


def gpt(mixed=False):
    model = bench.Gpt(layers=12, heads=12, width=768, vocabulary=512, context=64)
    model.to(bench.DEVICE)
    ids = torch.zeros(2, 64, dtype=torch.long, device=bench.DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True)

    def work():
        optimizer.zero_grad()
        with torch.autocast(bench.DEVICE, dtype=torch.bfloat16, enabled=mixed):
            loss = F.cross_entropy(model(ids).view(-1, 512), ids.view(-1))
        loss.backward()
        optimizer.step()

    return work


NETS = {"lenet": lenet, "resnet50": resnet50, "gpt": gpt, "gpt bf16": lambda: gpt(True)}


def dispatched(prepare):
    work = prepare()
    work()  # the first step also makes the optimizer's state
    with Counter() as counter:
        work()
    return counter.names


def real(prepare):
    from torch.profiler import ProfilerActivity, profile

    work = prepare()
    work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    return {
        event.key: event.count
        for event in seen.key_averages()
        if event.device_type == torch.autograd.DeviceType.CUDA
    }


def main():
    count = real if "--real" in sys.argv else dispatched
    bench.DEVICE = "cuda" if count is real else "cpu"
    for name, prepare in NETS.items():
        names = count(prepare)
        print(json.dumps({"net": name, "kernels": sum(names.values()), "names": names}))


if __name__ == "__main__":
    main()
