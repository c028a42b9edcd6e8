"""Golden values for the optimizers and learning-rate policies.

    python make.py            writes values.jsonl beside this file

Each optimizer takes 20 steps in double precision on two parameters whose
gradient is w / 2 + noise, with a noise that the test computes too; the
parameters are kept after some of the steps. Each scheduler is run from a
learning rate of 1, so that its rates are factors.
"""

import json
import pathlib

import torch

SHAPES = [(2, 3), (4,)]
KEPT = [1, 2, 7, 20]


def noise(step, parameter, size):
    return torch.tensor(
        [((i * 37 + step * 11 + parameter * 17) % 23 - 11) / 16 for i in range(size)],
        dtype=torch.float64,
    )


def first(parameter, shape):
    size = torch.Size(shape).numel()
    values = [((i * 29 + parameter * 13) % 19 - 9) / 8 for i in range(size)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def run(kind, clip=None, **options):
    """Both parameters, flat, after the kept steps."""
    parameters = [
        torch.nn.Parameter(first(p, shape)) for p, shape in enumerate(SHAPES)
    ]
    optimizer = kind(parameters, **options)
    kept = []
    for step in range(1, KEPT[-1] + 1):
        for p, w in enumerate(parameters):
            w.grad = w.detach() / 2 + noise(step, p, w.numel()).reshape(w.shape)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        if step in KEPT:
            kept.append([x for w in parameters for x in w.detach().flatten().tolist()])
    return kept


optim = torch.optim
OPTIMIZERS = {
    "sgd": lambda: run(optim.SGD, lr=0.1),
    "sgd decay": lambda: run(optim.SGD, lr=0.1, weight_decay=0.05),
    "sgd momentum": lambda: run(
        optim.SGD, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01
    ),
    "sgd nesterov": lambda: run(optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "sgd clipGradNorm": lambda: run(optim.SGD, clip=0.5, lr=0.1, momentum=0.9),
    "adagrad": lambda: run(
        optim.Adagrad, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.2
    ),
    "adadelta": lambda: run(optim.Adadelta, lr=0.5, rho=0.8, weight_decay=0.01),
    "rmsProp": lambda: run(optim.RMSprop, lr=0.05),
    "rmsProp centered": lambda: run(
        optim.RMSprop, lr=0.05, alpha=0.9, momentum=0.8, centered=True, eps=1e-4
    ),
    "adam": lambda: run(optim.Adam, lr=0.05),
    "adam amsgrad": lambda: run(
        optim.Adam, lr=0.05, betas=(0.8, 0.9), amsgrad=True, weight_decay=0.1
    ),
    "adamW": lambda: run(optim.AdamW, lr=0.05),
    "adamW decay": lambda: run(optim.AdamW, lr=0.05, weight_decay=0.3, eps=1e-3),
    "adamax": lambda: run(optim.Adamax, lr=0.05, weight_decay=0.01),
    "nAdam": lambda: run(optim.NAdam, lr=0.05),
    "nAdam decay": lambda: run(
        optim.NAdam, lr=0.05, momentum_decay=0.1, weight_decay=0.01
    ),
    "rAdam": lambda: run(optim.RAdam, lr=0.05),
    "rAdam short": lambda: run(optim.RAdam, lr=0.05, betas=(0.8, 0.95)),
}


def schedule(make, steps=40):
    """The learning rates of the first iterations."""
    optimizer = optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def plateau(metrics, **options):
    optimizer = optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedulers.ReduceLROnPlateau(optimizer, **options)
    rates = []
    for metric in metrics:
        scheduler.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


METRICS = [5, 4, 4, 4.1, 3.9999, 4, 4, 3, 3, 3, 3, 3, 2.99, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1]
schedulers = optim.lr_scheduler
SCHEDULES = {
    "step": lambda: schedule(lambda o: schedulers.StepLR(o, 7, 0.3)),
    "multiStep": lambda: schedule(lambda o: schedulers.MultiStepLR(o, [3, 10, 31], 0.5)),
    "exp": lambda: schedule(lambda o: schedulers.ExponentialLR(o, 0.9)),
    "poly": lambda: schedule(lambda o: schedulers.PolynomialLR(o, 25, 1.5)),
    "linear": lambda: schedule(lambda o: schedulers.LinearLR(o, 0.25, 0.75, 13)),
    "constantWarmup": lambda: schedule(lambda o: schedulers.ConstantLR(o, 0.3, 6)),
    "cosineAnnealing": lambda: schedule(
        lambda o: schedulers.CosineAnnealingLR(o, 39, 0.1)
    ),
    "cosine": lambda: schedule(
        lambda o: schedulers.CosineAnnealingWarmRestarts(o, 5, 2, 0.05)
    ),
    "cosine fixed": lambda: schedule(
        lambda o: schedulers.CosineAnnealingWarmRestarts(o, 9, 1, 0.2)
    ),
    "cyclical": lambda: schedule(
        lambda o: schedulers.CyclicLR(o, 1.0, 3.0, 6, cycle_momentum=False)
    ),
    "cyclical halved": lambda: schedule(
        lambda o: schedulers.CyclicLR(
            o, 1.0, 3.0, 6, mode="triangular2", cycle_momentum=False
        )
    ),
    "oneCycle": lambda: schedule(
        lambda o: schedulers.OneCycleLR(o, 1.0, total_steps=41, cycle_momentum=False)
    ),
    "oneCycle linear": lambda: schedule(
        lambda o: schedulers.OneCycleLR(
            o,
            1.0,
            total_steps=41,
            pct_start=0.4,
            anneal_strategy="linear",
            div_factor=10,
            final_div_factor=100,
            cycle_momentum=False,
        )
    ),
    "join": lambda: schedule(
        lambda o: schedulers.SequentialLR(
            o,
            [
                schedulers.LinearLR(o, 0.1, 1.0, 8),
                schedulers.CosineAnnealingLR(o, 32),
            ],
            [8],
        )
    ),
    "plateau": lambda: plateau(METRICS, patience=2, factor=0.5),
    "plateau absolute": lambda: plateau(
        METRICS,
        patience=1,
        factor=0.3,
        threshold=0.5,
        threshold_mode="abs",
        cooldown=2,
        min_lr=0.05,
    ),
    "plateau max": lambda: plateau(
        [-m for m in METRICS], mode="max", patience=2, factor=0.5
    ),
}


def main():
    """One line per case, so that a change shows where it is."""
    rows = [{"torch": torch.__version__, "kept": KEPT, "metrics": METRICS}]
    for kind, cases in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        for name, make in cases.items():
            rows.append({"kind": kind, "name": name, "values": make()})
    path = pathlib.Path(__file__).with_name("values.jsonl")
    lines = [json.dumps(row, separators=(",", ":")) + "\n" for row in rows]
    path.write_text("".join(lines))
    print(f"{path.name}: {path.stat().st_size} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
