"""Tiny album nets whose values are of ordinary size, and albums of noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesmith.models.album import build
from edgesmith.models.card import Card

SIZE = 12
TINY = {
    "encoder_options": {"width": 8, "blocks": (1,), "embedding": 16},
    "size": SIZE,
    "dim": 16,
    "heads": 2,
    "ffn": 24,
}


def album_net(seed: int = 0, classes: int = 3, photos: int = 4, **options: object) -> tuple[nn.Module, Card]:
    """An album net in eval mode; options overrule TINY."""
    net, card = build(**{**TINY, "classes": classes, "photos": photos, "seed": seed, **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.05, 0.2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
    return net.eval(), card


def albums(count: int, photos: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Photos of noise and a mask of ones. Shape: uint8 (count, photos, 12, 12, 3), uint8 (count, photos)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, photos, SIZE, SIZE, 3)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return pixels, torch.ones(count, photos, dtype=torch.uint8)
