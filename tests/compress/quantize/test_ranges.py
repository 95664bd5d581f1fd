"""Ranges of rewritten edges from the ranges of the original."""

import numpy as np
import pytest
import torch

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.ranges import edge_ranges, times
from edgesmith.errors import UsageError
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import EdgeRange
from tests.graph.test_activations import all_as, depthwise_net, values
from tests.graph.test_capture import captured, example


@pytest.mark.parametrize("form", ["max", "depthwise"])
def test_derived_ranges_are_what_a_second_calibration_would_see(form: str) -> None:
    program, inputs = depthwise_net(), example(batch=12)
    lowered = all_as(program, form)
    derived = edge_ranges(lowered, observe(program, [inputs]))
    for path, value in values(lowered, inputs).items():
        seen = derived[f"{path}:out"]
        np.testing.assert_allclose(seen.low, value.amin((0, 2, 3)), rtol=1e-3, atol=1e-4, err_msg=path)
        np.testing.assert_allclose(seen.high, value.amax((0, 2, 3)), rtol=1e-3, atol=1e-4, err_msg=path)


def test_derived_ranges_of_affine_contain_what_is_seen() -> None:
    program, inputs = depthwise_net(), example(batch=12)
    lowered = all_as(program, "affine")
    derived = edge_ranges(lowered, observe(program, [inputs]))
    for path, value in values(lowered, inputs).items():
        low, high = torch.from_numpy(derived[f"{path}:out"].low), torch.from_numpy(derived[f"{path}:out"].high)
        assert (value.amin((0, 2, 3)) >= low - 1e-4).all() and (value.amax((0, 2, 3)) <= high + 1e-4).all()


def test_a_negative_factor_swaps_the_ends() -> None:
    found = times(EdgeRange(np.array([-1.0, -2.0]), np.array([3.0, 4.0])), np.array([-2.0, 0.5]))
    assert found.low.tolist() == [-6.0, -1.0] and found.high.tolist() == [2.0, 2.0]


def test_a_record_of_another_model_is_refused() -> None:
    record = observe(captured("linear"), [example()])
    with pytest.raises(UsageError, match="calibrate this model"):
        edge_ranges(simplify(captured("depthwise")), record)
    other = {"input:x": EdgeRange(np.zeros(7), np.ones(7))}
    with pytest.raises(UsageError, match="7 channels"):
        edge_ranges(simplify(captured("linear")), type(record)(other, 1))
