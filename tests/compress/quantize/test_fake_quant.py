"""Fake-quantized programs: what exporters would write, computed in float."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from edgesmith.compress.quantize.fake_quant import FARTHEST, FakeQuantNet, LsqQuantizer, owned, owner_of
from edgesmith.errors import UsageError
from edgesmith.graph.qdq import apply_plan
from edgesmith.graph.rewrite import planned as lowered_by
from edgesmith.quant import S8_SYMMETRIC, EdgeQuant, SameAs, choose
from tests.compress.quantize.test_plan import FAMILIES, planned
from tests.graph.test_capture import captured, example
from tests.models import TINY


@pytest.mark.parametrize("name", [*TINY, "two"])
@pytest.mark.parametrize(("family", "isa"), [FAMILIES[0], *FAMILIES[3:]])
def test_it_computes_what_the_exported_program_does(name: str, family: str, isa: str) -> None:
    program = captured(name)
    plan = planned(program, family, isa)
    net, inputs = FakeQuantNet(lowered_by(program, plan), plan, ()), example(name, 6)
    for found, wanted in zip(net(*inputs), apply_plan(program, plan).module(*inputs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_edges_that_share_numbers_share_the_step_size() -> None:
    program = captured("two")
    plan = planned(program)
    net = FakeQuantNet(lowered_by(program, plan), plan, ())
    shared = {edge: how.edge for edge, how in plan.edges.items() if isinstance(how, SameAs)}
    assert shared and all(net.quantizer(edge) is net.quantizer(owner_of(plan, edge)) for edge in shared)
    assert len(net.step_sizes()) == len(owned(plan))
    owner = owner_of(plan, next(iter(shared)))
    with torch.no_grad():
        net.quantizer(owner).exponent.fill_(0.5)  # type: ignore[union-attr]
    edges = net.edges()
    assert edges[owner].scale == pytest.approx(plan.edges[owner].scale * 2**0.5)  # type: ignore[union-attr]
    assert all(edges[edge] == how for edge, how in plan.edges.items() if isinstance(how, SameAs))


def test_only_what_is_named_learns_and_the_step_sizes() -> None:
    program = captured("conv-bn-relu")
    plan = planned(program)
    net = FakeQuantNet(lowered_by(program, plan), plan, {"conv.weight"})
    learning = {name for name, p in net.graph.named_parameters() if p.requires_grad and "quantizers" not in name}
    assert learning == {"conv.weight"}
    net(*example(batch=4))[0].square().mean().backward()
    assert all(step.grad is not None for step in net.step_sizes())


def test_a_step_size_stays_near_the_calibrated_one() -> None:
    quantizer = LsqQuantizer(choose(S8_SYMMETRIC, -1.0, 1.0))
    with torch.no_grad():
        quantizer.exponent.fill_(-7)
    assert quantizer.numbers().scale == pytest.approx(2**-FARTHEST / 127)
    assert float(quantizer.exponent.detach()) == -FARTHEST  # from where it can learn again


def test_a_plan_of_another_model_is_refused() -> None:
    program = captured("linear")
    plan = planned(program)
    strange = {**plan.edges, "nowhere:out": EdgeQuant(S8_SYMMETRIC, np.float32(1), np.int64(0))}
    with pytest.raises(UsageError, match="no edge 'nowhere:out'"):
        FakeQuantNet(lowered_by(program, plan), dataclasses.replace(plan, edges=strange), ())
