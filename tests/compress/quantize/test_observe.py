"""One pass over the data gives the ranges of every value and weight."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith import records
from edgesmith.compress.quantize.observe import observe
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.rewrite import fold_batchnorm
from edgesmith.quant import RangeRecord
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


def same_but_for_rounding(one: RangeRecord, other: RangeRecord) -> None:
    """Every count and range equal; means to the rounding of sums."""
    assert one.samples == other.samples and one.edges.keys() == other.edges.keys()
    for edge, seen in one.edges.items():
        again = other.edges[edge]
        assert seen.seen == again.seen
        np.testing.assert_array_equal([seen.low, seen.high], [again.low, again.high])
        for a, b in ((seen.channels, again.channels), (seen.tensor, again.tensor)):
            if a is not None and b is not None:
                np.testing.assert_array_equal(a.counts, b.counts, err_msg=edge)
                np.testing.assert_array_equal([a.width, a.first], [b.width, b.first])
        if seen.mean is not None:
            np.testing.assert_allclose(seen.mean, again.mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["residual", "depthwise", "two"])
def test_a_pass_that_stopped_goes_on_from_its_file_as_if_it_had_not(name: str, tmp_path: Path) -> None:
    program, inputs = captured(name), example(name, 24)
    whole = observe(program, [inputs], "d")
    records.save(tmp_path / "ranges.json", observe(program, [tuple(part[:8] for part in inputs)]))
    before = records.load(RangeRecord, tmp_path / "ranges.json")
    same_but_for_rounding(observe(program, [tuple(part[8:] for part in inputs)], "d", before), whole)


def test_the_size_of_batches_and_their_order_change_no_count() -> None:
    program, (images,) = captured("residual"), example(batch=32)
    whole = observe(program, [(images,)])
    same_but_for_rounding(observe(program, [(part,) for part in images.split(8)][::-1]), whole)


def test_large_maps_are_sampled_alike_and_their_ends_stay_exact() -> None:
    program = capture(nn.Conv2d(3, 4, 3, padding=1).eval(), (torch.randn(1, 3, 40, 40),))
    images = torch.randn(9, 3, 40, 40)
    images[4, 1, 17, 3] = 50.0
    seen = observe(program, [(images,)]).edges["input:input"]
    assert float(seen.high[1]) == 50.0 and seen.seen == 9 * 1600
    counted = seen.channels.counts.sum(1)
    assert (counted == counted[0]).all() and 9 * 500 <= counted[0] <= 9 * 4096 // 3
    assert 9 * 1500 <= seen.tensor.counts.sum() <= 9 * 2048


def test_a_record_of_another_model_is_not_gone_on_from() -> None:
    record = observe(captured("linear"), [example()])
    with pytest.raises(UsageError, match="calibrate this model"):
        observe(captured("depthwise"), [example()], before=record)
    bare = RangeRecord({**record.edges, "relu:out": record.edges["fc1:weight"]}, 1)
    with pytest.raises(UsageError, match="from the start"):
        observe(captured("linear"), [example()], before=bare)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="2 inputs"):
        observe(captured("two"), [example()])
    with pytest.raises(UsageError, match="input 'x'"):
        observe(captured("linear"), [(torch.randn(2, 3, 9, 9),)])


class Attention(nn.Module):
    """Self-attention as vision transformers write it: samples move to axis 1 and back."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.project = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        n, t, _ = tokens.shape
        q, k, v = self.qkv(tokens[..., :8]).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return self.project((q @ k.transpose(-2, -1)).softmax(-1).matmul(v).transpose(1, 2).reshape(n, t, 8))


def test_attention_is_counted_sample_by_sample_wherever_the_samples_lie() -> None:
    program, (images,) = capture(Attention().eval(), example()), example(batch=21)
    whole = observe(program, [(images,)])
    parts = observe(program, [(part,) for part in images.split(5)][::-1])
    assert parts.samples == whole.samples == 21
    for edge, seen in whole.edges.items():
        again = parts.edges[edge]  # products of matrices round differently from one batch size to another
        assert seen.seen == again.seen, edge
        np.testing.assert_allclose([seen.low, seen.high], [again.low, again.high], rtol=1e-5, atol=1e-6)
        if seen.mean is not None:
            np.testing.assert_allclose(seen.mean, again.mean, rtol=1e-4, atol=1e-6)
    permuted = whole.edges["permute:out"]
    assert permuted.low.shape == (1,) and permuted.seen == 21 * 3 * 3 * 2 * 4
