"""The three networks of planted_faults.py, with random weights and batch-norm statistics of their own pictures."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith.graph.program import Program
from edgesmith.models import mobilefacenet
from edgesmith.models.timm import build as timm
from edgesmith.pipeline.produce import calibrate, capture_source, correcting, plan_targets
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.quant import QuantPlan
from edgesmith.tensors import Preprocessing, TensorSpec

MODELS = ("mobilefacenet", "resnet18", "mobilenetv3_small")
SIZE = dict.fromkeys(MODELS, 64)
CALIBRATION, SAMPLES = 64, 8


@dataclass(frozen=True)
class Prepared:
    """A captured net with its quantization plans, and the pictures that the finder gets. Shape: uint8 (N, H, W, 3)."""

    source: Source
    program: Program
    plans: dict[str, QuantPlan]
    pictures: np.ndarray
    preprocessing: Preprocessing

    @property
    def feed(self) -> dict[str, np.ndarray]:
        return {self.program.inputs[0].name: self.preprocessing.apply(self.pictures)}


def pictures(count: int, size: int, seed: int) -> np.ndarray:
    """Smooth coloured noise at several scales, as bytes. Shape: (N, H, W, 3)."""
    rng = torch.Generator().manual_seed(seed)
    total: Tensor = torch.tensor([0.6, 0.0, -0.5]).reshape(1, 3, 1, 1)  # more red than blue, as photographs are
    for scale in (3, 6, 12, 24):
        noise = torch.randn((count, 3, scale, scale), generator=rng)
        total = total + nn.functional.interpolate(noise, size=size, mode="bicubic") * (3 / scale) ** 0.5
    return (torch.sigmoid(total) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def build(name: str, seed: int) -> tuple[nn.Module, Preprocessing]:
    """A net whose batch norms and PReLUs are not the trivial ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "mobilefacenet":
            net, card = mobilefacenet.build(seed=seed, size=SIZE[name])
        else:
            full = {"mobilenetv3_small": "mobilenetv3_small_100"}.get(name, name)
            net, card = timm(full, classes=100, size=SIZE[name], seed=seed)  # type: ignore[assignment]
    assert card.preprocessing is not None
    rng = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = torch.rand(module.weight.shape, generator=rng) * 0.8 + 0.6
            module.bias.data = torch.randn(module.bias.shape, generator=rng) * 0.3
            module.momentum = None  # a plain average of what it sees
            module.reset_running_stats()
        if isinstance(module, nn.PReLU):
            module.weight.data = 0.25 + 0.2 * torch.randn(module.weight.shape, generator=rng)
    net.train()
    with torch.no_grad():
        net(torch.from_numpy(card.preprocessing.apply(pictures(32, SIZE[name], seed + 1))))
    return net.eval(), card.preprocessing


def prepared(name: str, seed: int, families: tuple[str, ...]) -> Prepared:
    """Capture, calibrate and plan. families: int8 targets to plan for."""
    net, preprocessing = build(name, seed)
    spec = TensorSpec("x", (1, 3, SIZE[name], SIZE[name]))
    source = Source(name, net, (spec,), preprocessing=preprocessing)
    program = capture_source(source, True)
    seen = preprocessing.apply(pictures(CALIBRATION, SIZE[name], seed + 2))
    inputs = Inputs({"x": seen}, False, "synthetic")
    ranges = calibrate(program, inputs, None, 16)
    plans = plan_targets(program, ranges, families, samples=correcting(program, inputs, None))
    return Prepared(source, program, plans, pictures(SAMPLES, SIZE[name], seed + 3), preprocessing)
