"""Outputs in another order are told from outputs that are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from edgesmith.verify.agreement import compare
from edgesmith.verify.gate import Limits, gate
from edgesmith.verify.rearranged import elsewhere, paired, rearranged

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((40, 10)).astype(np.float32)
MAPS = RNG.standard_normal((3, 6, 4, 4)).astype(np.float32)
SWAPPED = [1, 0, 2, 3, 4, 5, 6, 7, 9, 8]


def test_classes_that_are_swapped_are_named() -> None:
    told = rearranged(LOGITS, LOGITS[:, SWAPPED])
    assert told.startswith(
        "4 of its 10 entries are in another order: the original's 0 is its 1, 1 is its 0, 8 is its 9"
    )


def test_channels_rows_and_axes() -> None:
    assert "6 of its 6 channels" in rearranged(MAPS, MAPS[:, ::-1])
    assert "places along axis 2" in rearranged(MAPS, np.flip(MAPS, 2))
    assert "transposed by (0, 3, 1, 2)" in rearranged(MAPS, MAPS.transpose(0, 2, 3, 1))
    assert "its axes are in another order" in rearranged(MAPS[:, :4], MAPS[:, :4].transpose(0, 1, 3, 2))


def test_a_thousand_classes_of_a_noisy_candidate() -> None:
    many = RNG.standard_normal((64, 1000))
    order = RNG.permutation(1000)
    told = rearranged(many, many[:, order] + 0.05 * RNG.standard_normal(many.shape))
    assert "of its 1000 entries are in another order" in told


@pytest.mark.parametrize("seed", range(20))
def test_what_is_merely_wrong_is_not_called_rearranged(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for shape in ((8, 5), (64, 10), (64, 300), (2, 4, 4, 4), (1, 1000)):
        wanted = rng.standard_normal(shape)
        for given in (rng.standard_normal(shape), wanted + 0.3 * rng.standard_normal(shape), -wanted, 0 * wanted):
            assert rearranged(wanted, given) == "", shape
    alike = rng.standard_normal((32, 1)) + 1e-3 * rng.standard_normal((32, 6))  # classes that hardly differ
    assert rearranged(alike, alike + 0.02 * rng.standard_normal((32, 6))) == ""
    assert rearranged(wanted, wanted * np.nan) == ""


def test_outputs_are_paired_by_name_and_lone_ones_without() -> None:
    a, b = LOGITS, RNG.standard_normal(LOGITS.shape)
    assert paired({"y": a}, {"logits": b})["y"] is b
    assert list(paired({"y": a, "z": b}, {"z": b, "w": a})) == ["z"]
    assert elsewhere("y", a, {"y": b, "z": a}) == "z"
    assert elsewhere("y", a, {"y": a, "z": a}) == "" == elsewhere("y", a, {"y": b, "z": -a})


def test_another_order_fails_the_gate_without_any_limit() -> None:
    a, b = LOGITS, RNG.standard_normal(LOGITS.shape)
    found = compare("x", {"y": a, "z": b}, {"z": a, "y": b})
    told = [v for v in gate(Limits(), (), found, None, ("x",)) if v.check == "order"]
    assert [v.state for v in told] == ["fail", "fail"] and "its 'z' is the original's 'y'" in told[0].found
    right = compare("x", {"y": a}, {"y": a + 1e-3})
    assert not [v for v in gate(Limits(), (), right, None, ("x",)) if v.check == "order"]


def test_outputs_with_names_of_their_own() -> None:
    a, b = LOGITS, RNG.standard_normal(LOGITS.shape)
    first, _ = compare("x", {"y": a, "z": b}, {"one": a, "two": b})
    assert first.problem == "it has no output 'y'; its 'one' agrees with it; give its outputs the original's names"
