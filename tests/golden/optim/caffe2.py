"""Golden values for optimizers that only Caffe2 has.

    python caffe2.py          writes caffe2.jsonl beside this file (needs NumPy)

The formulas are those of caffe2/sgd/{adam,storm,gftrl,decay_adagrad}_op.h in
PyTorch 1.9.0, in double precision, with the arguments and signs of
caffe2/python/optimizer.py there: learning rates are negative, and the counter
of iterations is raised before the first step reads it. Parameters, gradients
and kept steps are those of make.py.
"""

import json
import pathlib

import numpy as np

SHAPES = [(2, 3), (4,)]
KEPT = [1, 2, 7, 20]


def noise(step, parameter, size):
    return np.array([((i * 37 + step * 11 + parameter * 17) % 23 - 11) / 16 for i in range(size)])


def first(parameter, shape):
    size = int(np.prod(shape))
    return np.array([((i * 29 + parameter * 13) % 19 - 9) / 8 for i in range(size)]).reshape(shape)


def row_wise_adam(lr, beta1=0.9, beta2=0.999, epsilon=1e-8):
    def update(param, grad, iteration, blobs):
        m1 = blobs.setdefault("m1", np.zeros_like(param))
        m2 = blobs.setdefault("m2", np.zeros(len(param)))
        t = iteration + 1
        correction = np.sqrt(1 - beta2**t) / (1 - beta1**t)
        for row in range(len(param)):
            g = grad[row]
            m2[row] = m2[row] * beta2 + np.mean(np.square(g)) * (1 - beta2)
            m1[row] = m1[row] * beta1 + g * (1 - beta1)
            param[row] += -lr * correction * m1[row] / (np.sqrt(m2[row]) + epsilon)

    return update


def storm(lr, momentum=10.0, beta=0.1, grad_sq_init=0.01):
    def update(param, grad, iteration, blobs):
        moment = blobs.setdefault("moment", np.zeros_like(param))
        total = blobs.setdefault("grad_sq_sum", np.array([grad_sq_init]))
        total += np.sum(grad * grad)
        nlr = -lr * np.power(beta + total[0], -1.0 / 3.0)
        alpha = momentum * nlr * nlr
        moment[...] = grad + (1.0 - alpha) * (moment - grad)
        param += nlr * moment

    return update


def gftrl(alpha, beta, lambda1, lambda2):
    def update(param, grad, iteration, blobs):
        outputs = param.shape[0]
        w, g = param.reshape(outputs, -1), grad.reshape(outputs, -1)
        n = blobs.setdefault("n", np.zeros_like(w))
        z = blobs.setdefault("z", np.zeros_like(w))
        bound = lambda1 * np.sqrt(outputs)
        for j in range(w.shape[1]):
            new_n = n[:, j] + g[:, j] ** 2
            sigma = (np.sqrt(new_n) - np.sqrt(n[:, j])) / alpha
            z[:, j] += g[:, j] - sigma * w[:, j]
            n[:, j] = new_n
            z_norm = np.sqrt(np.sum(z[:, j] ** 2))
            if z_norm > bound:
                divisor = (beta + np.sqrt(new_n)) / alpha + lambda2
                w[:, j] = z[:, j] * (bound / z_norm - 1) / divisor
            else:
                w[:, j] = 0.0

    return update


def decay_adagrad(lr, beta1=0.0, epsilon=0.1, weight_decay=0.0, bias_correction_first=True):
    def update(param, grad, iteration, blobs):
        m = blobs.setdefault("m", np.zeros_like(param))
        v = blobs.setdefault("v", np.zeros_like(param))
        c = 1 - beta1 ** (iteration + 1) if bias_correction_first else 1.0
        m[...] = m * beta1 + grad * (1 - beta1)
        v += grad * grad
        param += -lr * (m / c / (np.sqrt(v) + epsilon) + weight_decay * param)

    return update


OPTIMIZERS = {
    "rowWiseAdam": row_wise_adam(0.05),
    "rowWiseAdam short": row_wise_adam(0.05, beta1=0.8, beta2=0.9, epsilon=1e-2),
    "storm": storm(0.1),
    "storm slow": storm(0.3, momentum=3.0, beta=0.5, grad_sq_init=0.2),
    "gFtrl": gftrl(0.2, beta=0.1, lambda1=0.4, lambda2=0.05),
    "gFtrl sparse": gftrl(0.5, beta=0.1, lambda1=1.5, lambda2=0.0),
    "decayAdagrad": decay_adagrad(0.1),
    "decayAdagrad decay": decay_adagrad(0.1, beta1=0.9, epsilon=1e-3, weight_decay=0.05),
    "decayAdagrad plain": decay_adagrad(0.1, beta1=0.9, bias_correction_first=False),
}


def run(update):
    """Both parameters, flat, after the kept steps."""
    params = [first(p, shape) for p, shape in enumerate(SHAPES)]
    blobs = [{} for _ in SHAPES]
    kept = []
    for step in range(1, KEPT[-1] + 1):
        for p, param in enumerate(params):
            grad = param / 2 + noise(step, p, param.size).reshape(param.shape)
            update(param, grad, step, blobs[p])
        if step in KEPT:
            kept.append([float(x) for param in params for x in param.flat])
    return kept


lines = [{"kind": "caffe2", "name": name, "values": run(update)} for name, update in OPTIMIZERS.items()]
path = pathlib.Path(__file__).parent / "caffe2.jsonl"
path.write_text("".join(json.dumps(line) + "\n" for line in lines))
