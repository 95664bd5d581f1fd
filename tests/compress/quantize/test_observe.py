"""One pass over the data gives the ranges of every value and weight."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.observe import observe
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.rewrite import fold_batchnorm
from tests.graph.test_activations import values
from tests.graph.test_capture import captured, example


def test_ranges_are_those_of_all_samples_together() -> None:
    program, inputs = captured("residual"), example(batch=23)
    record = observe(program, [(inputs[0][:9],), (inputs[0][9:],)], data_digest="d")
    assert record.samples == 23 and record.data_digest == "d"
    for path, value in values(fold_batchnorm(program), inputs).items():
        seen = record.edges[f"{path}:out"]
        np.testing.assert_allclose(seen.low, value.amin((0, 2, 3)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(seen.high, value.amax((0, 2, 3)), rtol=1e-4, atol=1e-5)
    low, high = record.edges["input:x"].bounds
    assert (low, high) == (float(inputs[0].min()), float(inputs[0].max()))


def test_weights_are_seen_after_folding_per_output_channel() -> None:
    program = captured("conv-bn-relu")
    record = observe(program, [example()])
    weight = fold_batchnorm(program).module.conv.weight.detach().flatten(1)
    np.testing.assert_array_equal(record.edges["conv:weight"].low, weight.amin(1))
    np.testing.assert_array_equal(record.edges["conv:weight"].high, weight.amax(1))
    assert "bn:out" not in record.edges


def test_several_inputs_and_values_without_channels() -> None:
    record = observe(captured("two"), [example("two", 5)])
    assert {"input:image", "input:context", "mean:out", "mix:out"} <= set(record.edges)
    assert record.edges["input:context"].low.shape == (4,)
    scalar = observe(capture(MeanNet(), example()), [example()])
    assert scalar.edges["mean:out"].low.shape == (1,)


class MeanNet(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x.mean()


class OneImage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, 192) * 2


def test_a_program_of_one_batch_size_is_fed_piece_by_piece() -> None:
    program, inputs = capture(OneImage(), example()), example(batch=5)
    record = observe(program, [inputs])
    assert record.samples == 5 and record.edges["mul:out"].bounds[1] == pytest.approx(2 * float(inputs[0].max()))
    with pytest.raises(UsageError, match="whole batches"):
        observe(capture(OneTwo(), example(batch=2)), [example(batch=3)])


class OneTwo(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 192)


def test_no_samples_is_an_error() -> None:
    with pytest.raises(UsageError, match="no samples"):
        observe(captured("linear"), [])


def test_values_that_are_not_finite_name_the_layer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    net[1].bias.data[2] = float("nan")
    with pytest.raises(UsageError, match=r"calibrate 1: .*not finite"):
        observe(capture(net, example()), [example()])
    infinite = example()
    infinite[0][0, 0, 0, 0] = float("inf")
    with pytest.raises(UsageError, match="input:x"):
        observe(captured("linear"), [infinite])


def test_a_batch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="2 inputs"):
        observe(captured("two"), [example()])
    with pytest.raises(UsageError, match="input 'x'"):
        observe(captured("linear"), [(torch.randn(2, 3, 9, 9),)])
