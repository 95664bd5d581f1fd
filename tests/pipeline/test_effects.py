"""What corrections are worth: measured on samples that no plan has seen, with the right sign, and only where asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgesmith.compress.quantize.corrections import USUAL, switched
from edgesmith.pipeline.effects import JUDGED, Effects, case_of, measure_effects
from edgesmith.pipeline.produce import calibrate, capture_source
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.tensors import TensorSpec
from tests.models import tiny


def unequal() -> Source:
    """A net whose channels have very different sizes: equalisation has something to do."""
    net = tiny("depthwise").eval()
    with torch.no_grad():
        for values in (net.expand_bn.weight, net.expand_bn.bias):
            values *= torch.logspace(-2, 0, 8)
    return Source("net", net, (TensorSpec("x", (1, 3, 8, 8)),))


def samples(count: int, seed: int = 0) -> Inputs:
    x = np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)
    return Inputs({"x": x}, False, str(seed))


def found(switches=USUAL, held_out: Inputs | None = None, count: int = 60) -> Effects:
    source, inputs = unequal(), samples(count)
    program = capture_source(source)
    ranges = calibrate(program, inputs, None, 20)
    case = case_of(program, source, inputs, held_out, ranges, 20)
    assert case is not None
    if held_out is None:  # judged by a fifth that the plans have not seen
        seen = {row.tobytes() for row in case.calibration.arrays["x"]}
        assert not seen & {row.tobytes() for row in case.judge.arrays["x"]}
        assert case.ranges.samples == len(seen)
    return measure_effects(case, "ort-int8", switches, (), "mse", 20)


def test_a_correction_that_helps_is_worth_decibels_with_an_interval() -> None:
    effects = found()
    rows = {row.correction: row for row in effects.rows}
    gain = rows["equalise"].gain_db
    assert gain.low is not None and gain.low > 1
    assert rows["equalise"].sqnr_db == pytest.approx(effects.sqnr_db - gain.value)
    assert effects.samples == 12 and effects.cosine is not None and effects.cosine > 0.99
    assert rows["dead"].gain_db.value == 0 and "nothing" in rows["dead"].note
    assert rows["fold_batchnorm"].sqnr_db > 90


def test_of_one_that_is_off_the_other_way_is_on() -> None:
    on, off = found(), found(switched(off=("equalise",)))
    rows = [next(row for row in effects.rows if row.correction == "equalise") for effects in (on, off)]
    assert [row.on for row in rows] == [True, False]
    assert rows[1].gain_db.value == pytest.approx(rows[0].gain_db.value)
    assert off.sqnr_db == pytest.approx(rows[0].sqnr_db) and rows[1].sqnr_db == pytest.approx(on.sqnr_db)


def test_learned_rounding_is_measured_where_it_is_on() -> None:
    effects = found(switched(on=("adaround",)), held_out=samples(100, seed=1))
    last = effects.rows[-1]
    assert last.correction == "adaround" and last.gain_db.value == pytest.approx(effects.sqnr_db - last.sqnr_db)
    assert effects.samples == JUDGED and effects.judged_on == "held-out samples"
    assert "adaround" not in [row.correction for row in found().rows]


def test_too_few_samples_say_nothing() -> None:
    source, few = unequal(), samples(9)
    program = capture_source(source)
    ranges = calibrate(program, few, None, 9)
    assert case_of(program, source, few, None, ranges, 9) is None
    assert case_of(program, source, few, replace(few, digest="other"), ranges, 9) is not None
