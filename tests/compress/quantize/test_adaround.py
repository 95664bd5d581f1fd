"""Learned rounding: better on samples it has not seen, never more than one step away, and the same for everybody."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.adaround import AdaRound, learn_rounding, learned_up
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.errors import UsageError
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.qdq import apply_plan
from edgesmith.graph.rewrite import planned
from edgesmith.quant import QuantPlan, quantize
from edgesmith.records import from_json, to_json
from tests.models import TINY, tiny

FAST = AdaRound(iterations=200)


def correlated(count: int, seed: int) -> Tensor:
    """Pictures whose pixels go together, as those of real ones do."""
    torch.manual_seed(seed)
    smooth = nn.functional.interpolate(torch.randn(count, 3, 2, 2), (8, 8), mode="bilinear")
    return smooth + 0.1 * torch.randn(count, 3, 8, 8)


def learned(name: str, family: str = "ort", **options) -> tuple[Program, QuantPlan, QuantPlan]:
    program = capture(tiny(name), (torch.zeros(2, 3, 8, 8),))
    samples = correlated(120, 1)
    isa = {"coreml": "apple"}.get(family, "x86-vnni")
    plan = derive(program, observe(program, [(samples,)]), family, isa, **options)
    return program, plan, learn_rounding(program, plan, [(part,) for part in samples.split(50)], FAST)


def integers(program: Program, plan: QuantPlan, path: str) -> np.ndarray:
    """The weight of a layer that an exporter rounds, as integers."""
    lowered = planned(program, plan)
    weight = lowered.module.get_parameter(str(lowered.nodes[path].args[1].target)).detach()  # type: ignore[union-attr]
    quant = plan.resolve(f"{path}:weight")
    assert quant is not None
    return quantize(weight.numpy(), quant)


@pytest.mark.parametrize("name", ["conv-bn-relu", "residual", "depthwise"])
@pytest.mark.parametrize("family", ["ort", "coreml"])
def test_integers_differ_from_the_nearest_by_one_at_most(name: str, family: str) -> None:
    program, plan, new = learned(name, family)
    assert set(new.rounded_up) == {edge.removesuffix(":weight") for edge in plan.edges if edge.endswith(":weight")}
    moved = [np.abs(integers(program, new, path) - integers(program, plan, path)) for path in new.rounded_up]
    assert max(change.max() for change in moved) == 1
    apply_plan(program, new)  # every number of the graph is the plan's


def test_a_layer_answers_better_on_samples_it_has_not_seen() -> None:
    """One layer and coarse weights, so that nothing else makes an error: 4 bits, inputs in 8."""
    program, plan, _ = learned("conv-bn-relu")
    quant = plan.edges["conv:weight"]
    spec = dataclasses.replace(quant.spec, bits=4)  # type: ignore[union-attr]
    coarse = dataclasses.replace(quant, spec=spec, scale=quant.scale * np.float32(127 / 7))  # type: ignore[union-attr,type-var]
    plan = dataclasses.replace(plan, edges={**plan.edges, "conv:weight": coarse}, bias_shifts={})
    new = learn_rounding(program, plan, [(correlated(120, 1),)], FAST)
    x, errors = correlated(200, 2), []
    wanted = tiny("conv-bn-relu").conv(x)  # type: ignore[operator]
    for one in (plan, new):
        weight = planned(program, one).module.get_parameter("conv.weight").detach()
        scale = torch.from_numpy(coarse.scale).reshape(-1, 1, 1, 1)  # type: ignore[union-attr]
        rounded = (weight / scale).round().clamp(-7, 7) * scale
        exact = planned(program, plan).module.get_parameter("conv.weight").detach()
        errors.append(nn.functional.conv2d(x, rounded - exact, padding=1).square().mean())
    assert wanted.shape[1] == 8 and errors[1] < 0.8 * errors[0]


def test_the_optimum_of_a_layer_is_found_as_an_exhaustive_search_finds_it() -> None:
    torch.manual_seed(0)
    rows = torch.randn(400, 8) @ torch.randn(8, 8)
    spread, left = (rows.T @ rows / 400).unsqueeze(0), torch.rand(1, 5, 8)
    every = torch.tensor([[int(bit) for bit in f"{number:08b}"] for number in range(256)]).float()
    found = learned_up(left, spread)

    def error(up: Tensor) -> Tensor:
        return (((up - left) @ spread) * (up - left)).sum(-1)[0]

    best = torch.stack([error(row.expand(1, 5, 8)) for row in every]).min(0).values
    nearest = error(left.round())
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    assert (error(found) - best).sum() < 0.3 * (nearest - best).sum()


def test_biases_take_the_mean_error_of_the_new_weights_only_where_the_plan_corrects_them() -> None:
    _, plan, new = learned("residual")
    assert set(new.bias_shifts) >= set(new.rounded_up)
    assert any(not np.allclose(new.bias_shifts[path], plan.bias_shifts[path]) for path in plan.bias_shifts)
    _, _, bare = learned("residual", corrections=())
    assert bare.rounded_up and not bare.bias_shifts


@pytest.mark.parametrize("name", TINY)
def test_whole_nets_stay_as_close_to_float(name: str) -> None:
    program, plan, new = learned(name)
    x = correlated(100, 3)
    wanted = tiny(name)(x)
    before, after = ((apply_plan(program, one).module(x)[0] - wanted).norm() for one in (plan, new))
    assert after < 1.05 * before


def test_it_is_part_of_the_plan() -> None:
    _, plan, new = learned("conv-bn-relu")
    again = from_json(QuantPlan, json.loads(json.dumps(to_json(new))))
    assert again.digest() == new.digest() != plan.digest()


def test_no_samples_and_plans_of_other_models_are_named() -> None:
    program, plan, new = learned("conv-bn-relu")
    with pytest.raises(UsageError, match="no samples"):
        learn_rounding(program, plan, [])
    wrong = dataclasses.replace(new, rounded_up={"conv": np.zeros(3, np.uint8)})
    with pytest.raises(UsageError, match="24 weights, there are 216"):
        apply_plan(program, wrong)
    with pytest.raises(UsageError, match="round the weights of nowhere"):
        apply_plan(program, dataclasses.replace(new, rounded_up={"nowhere": np.zeros(3, np.uint8)}))
