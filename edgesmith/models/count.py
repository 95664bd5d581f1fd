"""Parameters and multiply-accumulates of a net."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def count_parameters(net: nn.Module) -> int:
    """Number of parameters, each shared one once; buffers do not count."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers in one forward pass of `inputs` (biases left out)."""
    total = 0

    def add(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * _macs_per_output(module)

    layers = [m for m in net.modules() if isinstance(m, (*CONVOLUTIONS, nn.Linear))]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    was_training = net.training
    try:
        with torch.no_grad():
            net.eval()(*inputs)
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def _macs_per_output(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features
    weight = module.weight
    return int(weight[0].numel())  # type: ignore[index, union-attr]
