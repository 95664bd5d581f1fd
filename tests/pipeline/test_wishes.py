"""Wishes that cannot be asked of the data at hand are refused before anything is measured."""

from __future__ import annotations

import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.pipeline.sources import Inputs
from edgesmith.pipeline.wishes import Wishes, check_wishes
from edgesmith.tensors import TensorSpec

SPECS = (TensorSpec("x", (1, 3, 8, 8)),)
GOOD = np.zeros((4, 3, 8, 8), np.float32)


def inputs(**arrays: np.ndarray) -> Inputs:
    return Inputs(arrays, False, "digest")


def test_wishes_that_can_be_asked() -> None:
    check_wishes(Wishes(), SPECS, None)
    check_wishes(Wishes(max_drop=0.0), SPECS, inputs(x=GOOD))
    check_wishes(Wishes(max_drop=0.01, bisect=True), SPECS, inputs(x=GOOD.astype(np.float64)))
    check_wishes(Wishes(max_ms=1.0), SPECS, None)
    check_wishes(Wishes(max_drop=0.01), SPECS, Inputs({"image": np.zeros((2, 9, 9, 3), np.uint8)}, True, "digest"))


@pytest.mark.parametrize(
    ("wishes", "held_out", "words"),
    [
        (Wishes(max_drop=0.1, max_ms=1.0), inputs(x=GOOD), "two budgets"),
        (Wishes(max_drop=5.0), inputs(x=GOOD), "below 1"),
        (Wishes(max_drop=float("inf")), inputs(x=GOOD), "below 1"),
        (Wishes(max_ms=0.0), None, "milliseconds"),
        (Wishes(max_ms=float("nan")), None, "milliseconds"),
        (Wishes(max_drop=0.1), inputs(x=GOOD[:0]), "no held-out samples"),
        (Wishes(bisect=True), inputs(x=GOOD), "no max_drop"),
        (Wishes(), inputs(image=GOOD), r"\['image'\]"),
        (Wishes(), inputs(x=GOOD[:, :2]), "resize"),
        (Wishes(), inputs(x=GOOD.astype(np.int64)), "convert"),
        (Wishes(), inputs(x=GOOD + np.inf), "NaN or infinity"),
    ],
)
def test_wishes_that_cannot(wishes: Wishes, held_out: Inputs | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_wishes(wishes, SPECS, held_out)
