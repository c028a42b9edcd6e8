"""Functions for the operators' `torch` expressions where PyTorch has no one-liner."""

import torch

__all__ = ["lstm", "gru", "rnn"]


def recurrent(kind, x, weights, states, options):
    """Runs a PyTorch recurrent module with the given weights, in its own order."""
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
    output, end = torch.func.functional_call(
        module, dict(zip(names, weights)), (x, state)
    )
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
