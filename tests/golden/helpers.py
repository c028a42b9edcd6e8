"""Functions for the operators' `torch` expressions where PyTorch has no one-liner."""

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

__all__ = ["lstm", "gru", "rnn", "conv_input_grad", "conv_weight_grad", "avg_pool_grad", "interpolate"]


def recurrent(kind, x, weights, states, options):
    """Runs a PyTorch recurrent module with the given weights, in its own order."""
    lengths = options.pop("lengths", None)
    module = kind(
        x.shape[-1],
        states[0].shape[-1],
        dtype=x.dtype,
        **options,
    )
    names = [name for name, _ in module.named_parameters()]
    if len(names) != len(weights):
        raise ValueError(f"{len(weights)} weights given, {len(names)} needed: {names}")
    state = states[0] if len(states) == 1 else tuple(states)
    first = module.batch_first
    if lengths is not None:
        x = pack_padded_sequence(x, lengths, first, enforce_sorted=False)
    output, end = torch.func.functional_call(
        module, dict(zip(names, weights)), (x, state)
    )
    if lengths is not None:
        output, _ = pad_packed_sequence(output, first)
    return (output, *end) if isinstance(end, tuple) else (output, end)


def lstm(x, h0, c0, *weights, **options):
    """Outputs, last hidden state and last cell state of torch.nn.LSTM."""
    return recurrent(torch.nn.LSTM, x, weights, [h0, c0], options)


def gru(x, h0, *weights, **options):
    """Outputs and last hidden state of torch.nn.GRU."""
    return recurrent(torch.nn.GRU, x, weights, [h0], options)


def rnn(x, h0, *weights, **options):
    """Outputs and last hidden state of torch.nn.RNN."""
    return recurrent(torch.nn.RNN, x, weights, [h0], options)


def _convolve(x, w, stride, padding, dilation, groups):
    function = [F.conv1d, F.conv2d, F.conv3d][x.dim() - 3]
    return function(x, w, None, stride, padding, dilation, groups)


def conv_input_grad(g, w, spatial, stride, padding, dilation, groups):
    """The gradient of a convolution with respect to its input, itself differentiable."""
    x = torch.zeros(g.shape[0], w.shape[1] * groups, *spatial, dtype=g.dtype)
    x.requires_grad_(True)
    y = _convolve(x, w, stride, padding, dilation, groups)
    return torch.autograd.grad(y, x, g, create_graph=True)[0]


def conv_weight_grad(x, g, kernel, stride, padding, dilation, groups):
    """The gradient of a convolution with respect to its filters, itself differentiable."""
    w = torch.zeros(g.shape[1], x.shape[1] // groups, *kernel, dtype=g.dtype)
    w.requires_grad_(True)
    y = _convolve(x, w, stride, padding, dilation, groups)
    return torch.autograd.grad(y, w, g, create_graph=True)[0]


def avg_pool_grad(g, spatial, kernel, stride, padding, ceil, include):
    """The gradient of average pooling with respect to its input, itself differentiable."""
    x = torch.zeros(*g.shape[:2], *spatial, dtype=g.dtype, requires_grad=True)
    function = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][x.dim() - 3]
    y = function(x, kernel, stride, padding, ceil, include)
    return torch.autograd.grad(y, x, g, create_graph=True)[0]


def interpolate(x, size, scale, mode, align):
    """torch.nn.functional.interpolate, whose names of modes tell the number of axes."""
    name = {"linear": ["linear", "bilinear", "trilinear"][x.dim() - 3]}.get(
        mode, {"cubic": "bicubic", "nearestExact": "nearest-exact"}.get(mode, mode)
    )
    corners = align if mode in ("linear", "cubic") else None
    return F.interpolate(x, size, scale, name, corners)
