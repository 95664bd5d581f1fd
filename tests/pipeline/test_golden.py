"""Golden inputs: synthetic, the same each time, and a picture where the model takes pictures."""

from __future__ import annotations

import numpy as np
import torch

from edgesmith.graph.capture import capture
from edgesmith.pipeline.produce import golden_of
from edgesmith.tensors import Preprocessing

HALF = Preprocessing((12, 10), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def program(shape: tuple[int, ...] = (2, 3, 12, 10)):
    return capture(torch.nn.Conv2d(shape[1], 2, 3), (torch.zeros(shape),), ("image",), ("out",))


def test_a_net_of_pictures_gets_coloured_squares_within_what_pixels_can_be() -> None:
    feed, answers = golden_of(program(), HALF)
    assert feed["image"].shape == (2, 3, 12, 10) and feed["image"].dtype == np.float32
    assert -2 <= feed["image"].min() < -1 and 1 < feed["image"].max() <= 2
    assert np.array_equal(feed["image"][:, :, 0, 0], feed["image"][:, :, 1, 0])  # twelve rows of eight squares
    assert np.array_equal(golden_of(program(), HALF)[0]["image"], feed["image"])
    assert answers["out"].shape == (2, 2, 10, 8)


def test_other_inputs_get_noise() -> None:
    noise = golden_of(program())[0]["image"]
    assert noise.max() > 2
    assert np.array_equal(golden_of(program((2, 4, 12, 10)), HALF)[0]["image"].shape, (2, 4, 12, 10))
