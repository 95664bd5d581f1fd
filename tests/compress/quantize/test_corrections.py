"""Switches of corrections: by name, each one obeyed by the plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgesmith.compress.quantize.corrections import CORRECTIONS, USUAL, checked, switched
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.errors import UsageError
from edgesmith.graph.rewrite import fold_batchnorm
from tests.graph.test_capture import captured, example


def test_switches_change_what_is_named_and_nothing_else() -> None:
    made = switched(on=("adaround",), off=("join", "bias"))
    assert made.of_plan == ("equalise", "bias_pass", "dead") and made.adaround
    assert USUAL.of_plan == CORRECTIONS and checked({}) == USUAL


@pytest.mark.parametrize(
    ("switches", "words"), [({"equalize": False}, "no such correction"), ({"join": "no"}, "neither on nor off")]
)
def test_a_wrong_switch_is_refused(switches, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        checked(switches)
    with pytest.raises(UsageError, match="both on and off"):
        switched(("join",), ("join",))


def test_equalisation_and_both_bias_corrections_obey_their_switch() -> None:
    images = example(batch=16)[0]

    def plan(*off: str, net: str = "residual"):
        program = fold_batchnorm(captured(net))
        record = observe(program, [(images,)])
        return derive(program, record, "ort", "x86-vnni", (), switched(off=off).of_plan, samples=(images,))

    assert plan(net="depthwise").factors and not plan("equalise", net="depthwise").factors
    whole = plan()
    assert whole.bias_shifts and not plan("bias").bias_shifts
    computed = plan("bias_pass").bias_shifts
    assert computed.keys() == whole.bias_shifts.keys()
    assert any(not np.allclose(computed[path], whole.bias_shifts[path]) for path in computed)


def test_a_dead_value_has_an_ordinary_grid_only_where_that_is_on() -> None:
    program = fold_batchnorm(captured("linear"))
    record = observe(program, [(torch.zeros(4, 3, 8, 8),)])
    scales = [
        float(derive(program, record, "ort", "x86-vnni", (), switched(off=off).of_plan).edges["input:x"].scale)  # type: ignore[union-attr]
        for off in ((), ("dead",))
    ]
    assert scales[0] == pytest.approx(1 / 255) and scales[1] < 1e-6
