"""The rules of the families, and plans that break them."""

import dataclasses

import numpy as np
import pytest

from edgesmith.errors import UsageError
from edgesmith.quant import (
    S8_PER_CHANNEL,
    S8_SYMMETRIC,
    U8_AFFINE,
    BiasOf,
    EdgeQuant,
    QuantPlan,
    QuantSpec,
    SameAs,
    choose,
)
from edgesmith.targets import FAMILIES, S7_PER_CHANNEL, TARGETS, check_plan, rules_of, target


def plan(family: str, instruction_set: str, **edges: EdgeQuant | SameAs | BiasOf) -> QuantPlan:
    return QuantPlan(family, {name.replace("__", ":"): how for name, how in edges.items()}, {}, instruction_set)


def test_every_int8_target_has_a_family_with_rules() -> None:
    for row in TARGETS.values():
        assert (row.rules is not None) == (row.precision == "int8"), row.name
        assert row.family is None or row.family in FAMILIES


def test_an_unknown_target_or_family_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="ort-int8"):
        target("ort-int7")
    with pytest.raises(UsageError, match="openvino"):
        rules_of("onnxruntime")


def test_weights_keep_seven_bits_where_products_saturate() -> None:
    assert rules_of("ort").weights("x86-vnni")[0] == S8_PER_CHANNEL
    assert rules_of("ort").weights("x86") == (S7_PER_CHANNEL,)
    with pytest.raises(UsageError, match="s7 symmetric per channel"):
        check_plan(plan("ort", "x86", fc__weight=choose(S8_PER_CHANNEL, np.array([-1.0]), np.array([1.0]))))


def test_a_legal_plan_passes() -> None:
    check_plan(
        plan(
            "ort",
            "x86-vnni",
            input__x=choose(U8_AFFINE, -1, 1),
            pool__out=SameAs("input:x"),
            fc__weight=choose(S8_PER_CHANNEL, np.array([-1.0]), np.array([1.0])),
            fc__bias=BiasOf("pool:out", "fc:weight"),
        )
    )


@pytest.mark.parametrize(
    ("family", "isa", "edges", "names"),
    [
        ("tensorrt", "cuda", {"input__x": choose(U8_AFFINE, -1, 1)}, "input:x.*s8 symmetric per tensor"),
        ("ort", "x86-vnni", {"input__x": choose(S8_SYMMETRIC, -1, 1)}, "input:x.*u8 affine per tensor"),
        ("ort", "cuda", {"input__x": choose(U8_AFFINE, -1, 1)}, "no integer kernels"),
        ("ort", "arm64", {"a__out": SameAs("b:out")}, "a:out.*b:out"),
        ("ort", "arm64", {"a__weight": choose(QuantSpec(narrow=True), -1, 1)}, "a:weight.*weights must be"),
    ],
)
def test_a_broken_rule_names_edge_and_rule(family: str, isa: str, edges: dict, names: str) -> None:
    with pytest.raises(UsageError, match=names):
        check_plan(plan(family, isa, **edges))


def test_tensorrt_and_coreml_take_no_int32_bias() -> None:
    weight = choose(S8_PER_CHANNEL, np.array([-1.0]), np.array([1.0]))
    for family, isa, activation in (("tensorrt", "cuda", S8_SYMMETRIC), ("coreml", "apple", U8_AFFINE)):
        edges = {
            "input__x": choose(activation, -1, 1),
            "fc__weight": weight,
            "fc__bias": BiasOf("input:x", "fc:weight"),
        }
        with pytest.raises(UsageError, match=r"fc:bias.*no int32 bias"):
            check_plan(plan(family, isa, **edges))


def test_a_symmetric_edge_must_have_zero_point_zero_and_a_real_scale() -> None:
    good = choose(S8_SYMMETRIC, -1, 1)
    shifted = dataclasses.replace(good, zero_point=np.int64(3))
    broken = dataclasses.replace(good, scale=np.float32(0))
    with pytest.raises(UsageError, match="zero point"):
        check_plan(plan("tensorrt", "cuda", input__x=shifted))
    with pytest.raises(UsageError, match="scale"):
        check_plan(plan("tensorrt", "cuda", input__x=broken))
