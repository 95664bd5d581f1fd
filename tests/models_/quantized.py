"""The way of a net of this package to an int8 ONNX file and back, on seeded inputs."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.export.onnx import export
from edgesmith.graph.capture import capture
from edgesmith.models.card import Card
from edgesmith.runtimes.ort import OrtRuntime
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import target


def settle(net: nn.Module, shape: tuple[int, ...]) -> None:
    """Give every batch norm the statistics of random inputs, so that no layer's values blow up or vanish."""
    generator = torch.Generator().manual_seed(5)
    net.train()
    for norm in (m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))):
        norm.momentum = None
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(16, *shape[1:], generator=generator))
    net.eval()


def int8_outputs(net: nn.Module, card: Card, folder: Path) -> tuple[Tensor, Tensor]:
    """Outputs of the net and of its int8 file on the same four inputs. Shape: (4, d) twice."""
    shape = card.inputs[0].concrete()
    settle(net, shape)
    inputs = torch.randn(16, *shape[1:], generator=torch.Generator().manual_seed(7))
    program = capture(net, {"image": inputs[:1]})
    plan = derive(program, observe(program, [(inputs,)]), "ort", "x86-vnni")
    exported = export(program, plan, target("ort-int8"), folder)
    with OrtRuntime.open(exported, RunOptions()) as session:
        runs = [session.run({"image": inputs[i : i + 1].numpy()}) for i in range(4)]
    found = np.concatenate([next(iter(run.values())) for run in runs])
    with torch.no_grad():
        return net(inputs[:4]), torch.from_numpy(found)
