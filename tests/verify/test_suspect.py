from __future__ import annotations

import numpy as np

from edgesmith.graph.layers import Layer
from edgesmith.verify.noise import on_grid
from edgesmith.verify.suspect import cause, channel_means, excess
from edgesmith.verify.taps import Seen

RNG = np.random.default_rng(0)
REFERENCE = RNG.standard_normal((8, 16, 12, 12)).astype(np.float32)
LAYER = Layer("conv", ("input:x",), ("conv",), ("conv2d",), True, 16 * 144 * 4)
INTENDED = [on_grid(REFERENCE, 8, wider) for wider in (1.0, 1.1, 1.2)]
STEP = float((REFERENCE.max() - REFERENCE.min()) / 255)


def judged(found: np.ndarray) -> tuple[float, str]:
    seen = Seen(LAYER, REFERENCE, found.astype(np.float32), {})
    result = excess(seen, INTENDED, channel_means(seen), True, None)
    return result.most, cause(seen, result, "int8")[0]


def test_rounding_to_the_intended_grid_is_no_suspicion() -> None:
    assert judged(on_grid(REFERENCE, 8, 1.15))[0] < 0.5


def test_a_zero_point_off_by_one_is_told_from_rounding() -> None:
    most, told = judged(on_grid(REFERENCE, 8, 1.0) + STEP)
    assert most > 1 and told == "wrong zero point or bias"


def test_a_scale_a_swap_and_clipping_are_told_apart() -> None:
    swapped = REFERENCE.copy()
    swapped[:, [2, 3]] = swapped[:, [3, 2]]
    assert judged(REFERENCE * 1.25)[1] == "wrong scale"
    assert judged(swapped)[1] == "swapped channels"
    assert judged(np.clip(REFERENCE, -0.3, 0.3))[1] == "saturated range"


def test_an_error_at_the_borders_is_a_wrong_padding() -> None:
    bordered = REFERENCE.copy()
    bordered[:, :, 0] += RNG.standard_normal(bordered[:, :, 0].shape)
    assert judged(bordered)[1] == "wrong padding or resize mode"
