"""Our observers and specifications carry a plan's numbers into torchao."""

import numpy as np
import pytest
import torch

from edgesmith.errors import EdgesmithError
from edgesmith.graph.annotate import specification
from edgesmith.graph.qdq import _check_numbers, apply_plan
from edgesmith.graph.rewrite import simplify
from edgesmith.quant import S8_PER_CHANNEL, U8_AFFINE, choose
from edgesmith.targets import S7_PER_CHANNEL
from tests.compress.quantize.test_plan import planned
from tests.graph.test_capture import captured


def test_an_activation() -> None:
    quant = choose(U8_AFFINE, -1, 3)
    spec = specification(quant)
    assert (spec.dtype, spec.quant_min, spec.quant_max, spec.ch_axis) == (torch.uint8, 0, 255, None)
    observer = spec.observer_or_fake_quant_ctr.with_args(
        dtype=spec.dtype, quant_min=0, quant_max=255, qscheme=spec.qscheme
    )()
    x = torch.randn(3)
    assert torch.equal(observer(x), x)
    scale, zero = observer.calculate_qparams()
    assert float(scale) == float(quant.scale) and int(zero) == int(quant.zero_point)


@pytest.mark.parametrize(("layout", "limit"), [(S8_PER_CHANNEL, 127), (S7_PER_CHANNEL, 63)])
def test_a_weight(layout, limit: int) -> None:
    spec = specification(choose(layout, np.array([-1.0, -2.0]), np.array([1.0, 1.0])))
    assert (spec.dtype, spec.quant_min, spec.quant_max, spec.ch_axis) == (torch.int8, -limit, limit, 0)
    assert spec.qscheme == torch.per_channel_symmetric


@pytest.mark.parametrize("edge", ["relu:out", "fc1:weight"])
def test_a_graph_with_other_numbers_than_the_plan_is_noticed(edge: str) -> None:
    program = captured("linear")
    plan = planned(program)
    applied = apply_plan(program, plan)
    _check_numbers(plan, applied)
    layer = applied.nodes[edge.split(":")[0]]
    if edge.endswith("out"):
        quantize = next(iter(layer.users))
        quantize.args = (quantize.args[0], quantize.args[1] * 2, *quantize.args[2:])
    else:
        name = layer.args[1].args[1].target
        applied.module.get_buffer(name).mul_(2)
    with pytest.raises(EdgesmithError, match=edge):
        _check_numbers(plan, applied)
    with pytest.raises(EdgesmithError, match=r"quantize operators|float weight"):
        _check_numbers(plan, simplify(program))
