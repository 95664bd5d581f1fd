"""Ranges of rewritten edges from the ranges of the original."""

import numpy as np
import pytest

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.compress.quantize.ranges import edge_ranges, times
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import EdgeRange
from tests.graph.test_activations import all_as, depthwise_net, values
from tests.graph.test_capture import captured, example
from tests.models import tiny


@pytest.mark.parametrize("form", ["max", "depthwise"])
def test_derived_ranges_are_what_a_second_calibration_would_see(form: str) -> None:
    program, inputs = depthwise_net(), example(batch=12)
    lowered = all_as(program, form)
    derived = edge_ranges(lowered, observe(program, [inputs]))
    for path, value in values(lowered, inputs).items():
        seen = derived[f"{path}:out"]
        np.testing.assert_allclose(seen.low, value.amin((0, 2, 3)), rtol=1e-3, atol=1e-4, err_msg=path)
        np.testing.assert_allclose(seen.high, value.amax((0, 2, 3)), rtol=1e-3, atol=1e-4, err_msg=path)


@pytest.mark.parametrize("form", ["max", "depthwise", "affine"])
def test_derived_histograms_are_those_of_a_second_calibration_to_within_a_bin(form: str) -> None:
    program, inputs = depthwise_net(), example(batch=30)
    lowered = all_as(program, form)
    derived = edge_ranges(lowered, observe(program, [inputs]))
    assert any(not path.endswith("_act") and "." in path for path in lowered.nodes)
    for path, value in values(lowered, inputs).items():
        seen = derived[f"{path}:out"].channels
        for channel in range(value.shape[1]):
            exact = np.sort(value[:, channel].double().numpy().reshape(-1))
            edges = (seen.first[channel] + np.arange(seen.counts.shape[1])) * seen.width[channel]
            below, above = (
                np.searchsorted(exact, edges + d) for d in (-seen.width[channel], seen.width[channel] * 1.01)
            )
            counted = np.cumsum(seen.counts[channel])
            assert (below <= counted).all() and (counted <= above).all(), (path, channel)


def test_a_record_of_other_weights_is_refused() -> None:
    program = captured("residual")
    record = observe(program, [example()])
    other = tiny("residual")
    other.conv.weight.data[0, 0] *= 3
    with pytest.raises(UsageError, match="conv:weight: calibration saw other weights; calibrate this model"):
        derive(capture(other, example()), record, "ort", "x86-vnni")
    derive(program, record, "ort", "x86-vnni")


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
