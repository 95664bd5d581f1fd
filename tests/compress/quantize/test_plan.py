"""Plans: numbers, legality, degenerate models."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.errors import UsageError
from edgesmith.graph.capture import Program, capture
from edgesmith.quant import BiasOf, EdgeQuant, QuantPlan, SameAs
from edgesmith.records import from_json, to_json
from edgesmith.targets import S7_PER_CHANNEL, check_plan
from tests.graph.test_capture import captured, example
from tests.models import TINY

FAMILIES = [
    ("ort", "x86-vnni"),
    ("ort", "x86"),
    ("ort", "arm64"),
    ("openvino", "x86-vnni"),
    ("tensorrt", "cuda"),
    ("coreml", "apple"),
]


def planned(program: Program, family: str = "ort", isa: str = "x86-vnni", **options) -> QuantPlan:
    torch.manual_seed(4)
    batch = tuple(torch.randn(256, *tensor.shape[1:]) for tensor in program.example)
    return derive(program, observe(program, [batch]), family, isa, **options)


@pytest.mark.parametrize("name", [*TINY, "two"])
@pytest.mark.parametrize(("family", "isa"), FAMILIES)
def test_every_family_gets_a_legal_plan_for_every_net(name: str, family: str, isa: str) -> None:
    plan = planned(captured(name), family, isa)
    check_plan(plan)
    assert plan.family == family and plan.instruction_set == isa
    assert any(edge.endswith(":weight") for edge in plan.edges) and "int8" in plan.precision.values()


def test_a_plan_with_all_kinds_of_edges_survives_json() -> None:
    plan = planned(captured("two"))
    assert {type(how) for how in plan.edges.values()} == {EdgeQuant, SameAs, BiasOf}
    again = from_json(QuantPlan, json.loads(json.dumps(to_json(plan))))
    assert again.digest() == plan.digest()


def test_the_same_record_gives_the_same_plan() -> None:
    program = captured("depthwise")
    record = observe(program, [example(batch=4)])
    assert derive(program, record, "ort", "x86-vnni").digest() == derive(program, record, "ort", "x86-vnni").digest()
    assert derive(program, record, "ort", "x86").digest() != derive(program, record, "ort", "x86-vnni").digest()


def test_scales_are_the_observed_ranges() -> None:
    program = captured("residual")
    record = observe(program, [example(batch=4)])
    plan = derive(program, record, "ort", "x86-vnni", ranges_by="minmax")
    low, high = record.edges["conv:out"].bounds
    assert float(plan.resolve("conv:out").scale) == pytest.approx((high - low) / 255, rel=1e-6)
    weight = record.edges["conv:weight"]
    wanted = np.maximum(-weight.low, weight.high) / 127
    np.testing.assert_allclose(plan.resolve("conv:weight").scale, wanted, rtol=1e-6)


def test_shared_numbers_cover_every_sharer() -> None:
    program = captured("two")
    record = observe(program, [example("two", 8)])
    plan = derive(program, record, "ort", "x86-vnni", ranges_by="minmax")
    sharers = [record.edges[edge].bounds for edge in ("input:context", "mean:out", "cat:out")]
    quant = plan.resolve("cat:out")
    assert quant is plan.resolve("input:context") and quant is plan.resolve("mean:out")
    assert float(quant.scale) * 255 == pytest.approx(
        max(h for _, h in sharers) - min(low for low, _ in sharers), rel=1e-5
    )


def test_without_vnni_weights_have_seven_bits() -> None:
    assert planned(captured("linear"), "ort", "x86").resolve("fc1:weight").spec == S7_PER_CHANNEL


def test_the_form_of_a_prelu_is_the_familys() -> None:
    program = captured("depthwise")
    for (family, isa), form in zip((FAMILIES[0], *FAMILIES[3:]), ("depthwise", "max", "keep", "keep")):
        assert planned(program, family, isa).rewrites == {"expand_act": form, "depthwise_act": form}
    flat = capture(nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.PReLU(4), nn.Linear(4, 2)).eval(), example())
    assert planned(flat).rewrites == {"2": "max"}


def test_a_prelu_that_cannot_be_lowered_is_noted() -> None:
    program = capture(nn.Sequential(nn.MaxPool2d(2), nn.PReLU(3, 1.5), nn.Conv2d(3, 4, 1)).eval(), example())
    plan = planned(program)
    assert plan.rewrites == {"1": "affine"} and "slopes above 1" in plan.notes[0]
    assert plan.precision["1"] == "fp32"


def test_only_families_with_int32_bias_have_it() -> None:
    program = captured("residual")
    assert isinstance(planned(program, "openvino").edges["conv:bias"], BiasOf)
    assert "conv:bias" not in planned(program, "tensorrt", "cuda").edges


def test_a_channel_of_zero_weights_keeps_its_bias_within_32_bits() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    net[0].weight.data[1] = 0
    net[0].bias.data[1] = 3.0
    plan = planned(capture(net, example()))
    bias = plan.resolve("0:bias")
    assert np.abs(3.0 / bias.scale[1]) < 2**30 * 1.01
    assert np.isfinite(bias.scale).all()


def test_a_model_that_gives_only_zeros_has_a_plan() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1)).eval()
    for layer in (net[0], net[2]):
        layer.weight.data.zero_(), layer.bias.data.zero_()
    plan = planned(capture(net, example()))
    assert float(plan.resolve("1:out").scale) > 0


def test_layers_kept_in_float_are_absent_from_the_edges() -> None:
    plan = planned(captured("residual"), keep_float=["conv"])
    assert "conv:weight" not in plan.edges and plan.precision["conv"] == "fp32"
    with pytest.raises(UsageError, match="no such layer"):
        planned(captured("residual"), keep_float=["nowhere"])


def test_what_the_family_has_no_kernels_for_is_refused_with_edge_and_rule() -> None:
    with pytest.raises(UsageError, match=r"input:x for tensorrt on x86-vnni: rule: tensorrt .* cuda only"):
        planned(captured("linear"), "tensorrt", "x86-vnni")
    with pytest.raises(UsageError, match="no such family"):
        planned(captured("linear"), "onnxruntime")
