"""Numbers of quantization: grids, saturation, degenerate ranges, plans as JSON."""

import json

import numpy as np
import pytest
import torch

from edgesmith.errors import UsageError
from edgesmith.quant import (
    S8_PER_CHANNEL,
    S8_SYMMETRIC,
    U8_AFFINE,
    BiasOf,
    EdgeQuant,
    EdgeRange,
    QuantPlan,
    QuantSpec,
    RangeRecord,
    SameAs,
    choose,
    dequantize,
    quantize,
    rounded,
)
from edgesmith.records import from_json, to_json


def plan() -> QuantPlan:
    return QuantPlan(
        family="ort",
        edges={
            "input:x": choose(U8_AFFINE, -1.2, 3.4),
            "flatten:out": SameAs("input:x"),
            "fc:weight": choose(S8_PER_CHANNEL, np.array([-1.0, 0.0]), np.array([0.5, 0.0])),
            "fc:bias": BiasOf("flatten:out", "fc:weight"),
        },
        precision={"flatten": "int8", "fc": "int8"},
        instruction_set="x86-vnni",
        rewrites={"act": "depthwise"},
        notes=("one",),
    )


@pytest.mark.parametrize(
    ("spec", "qmin", "qmax"),
    [
        (U8_AFFINE, 0, 255),
        (S8_SYMMETRIC, -127, 127),
        (QuantSpec(), -128, 127),
        (QuantSpec(bits=7, narrow=True), -63, 63),
    ],
)
def test_limits_of_a_spec(spec: QuantSpec, qmin: int, qmax: int) -> None:
    assert (spec.qmin, spec.qmax) == (qmin, qmax)


@pytest.mark.parametrize("spec", [U8_AFFINE, S8_SYMMETRIC])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.5, 3.0), (-4.0, -1.0), (0.0, 1e-9)])
def test_zero_is_on_the_grid_and_errors_are_half_a_step(spec: QuantSpec, low: float, high: float) -> None:
    quant = choose(spec, low, high)
    assert dequantize(quantize(np.zeros(1, np.float32), quant), quant)[0] == 0
    x = np.linspace(low, high, 99, dtype=np.float32)
    error = np.abs(dequantize(quantize(x, quant), quant) - x)
    assert error.max() <= float(quant.scale) * (1.0 if spec is U8_AFFINE else 0.5) * 1.001  # zero moves the ends


def test_values_outside_saturate() -> None:
    quant = choose(U8_AFFINE, -1, 1)
    assert quantize(np.array([-9.0, 9.0], np.float32), quant).tolist() == [0, 255]


def test_a_range_of_zero_gives_a_usable_grid() -> None:
    for spec in (U8_AFFINE, S8_SYMMETRIC):
        quant = choose(spec, 0.0, 0.0)
        assert quant.scale > 0 and quantize(np.zeros(3, np.float32), quant).tolist() == [0, 0, 0]


def test_rounding_is_half_to_even_as_in_torch() -> None:
    quant = EdgeQuant(S8_SYMMETRIC, np.float32(1.0), np.int64(0))
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    theirs = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), 1.0, 0, -127, 127).numpy()
    assert np.array_equal(dequantize(quantize(x, quant), quant), theirs)
    assert quantize(x, quant).tolist() == [0, 2, 2, 0, -2]


def test_per_channel_numbers_broadcast_along_their_axis() -> None:
    w = np.array([[[1.0, -2.0]], [[0.1, 0.05]]], np.float32)
    quant = choose(S8_PER_CHANNEL, w.min((1, 2)), w.max((1, 2)))
    assert quantize(w, quant).tolist() == [[[64, -127]], [[127, 64]]]


def test_a_plan_survives_json_with_the_same_digest() -> None:
    before = plan()
    after = from_json(QuantPlan, json.loads(json.dumps(to_json(before))))
    assert after.digest() == before.digest()
    assert {edge: type(how) for edge, how in after.edges.items()} == {
        "input:x": EdgeQuant,
        "flatten:out": SameAs,
        "fc:weight": EdgeQuant,
        "fc:bias": BiasOf,
    }
    assert after.resolve("input:x").spec == U8_AFFINE and after.rewrites == {"act": "depthwise"}


def test_the_digest_sees_every_number() -> None:
    other = QuantPlan(**{**plan().__dict__, "edges": {**plan().edges, "input:x": choose(U8_AFFINE, -1.2, 3.5)}})
    assert other.digest() != plan().digest()


def test_resolve_follows_and_computes() -> None:
    found = plan()
    assert found.resolve("flatten:out") is found.resolve("input:x")
    bias, x, w = (found.resolve(edge) for edge in ("fc:bias", "input:x", "fc:weight"))
    assert bias.spec.bits == 32 and np.allclose(bias.scale, x.scale * w.scale) and not bias.zero_point.any()
    assert found.resolve("elsewhere:out") is None


def test_a_record_of_ranges_survives_json() -> None:
    before = RangeRecord({"a:out": EdgeRange(np.array([-1.0, 0.5]), np.array([2.0, 3.0]))}, 7, "abc")
    after = from_json(RangeRecord, json.loads(json.dumps(to_json(before))))
    assert after.edges["a:out"].bounds == (-1.0, 3.0) and after.samples == 7 and after.data_digest == "abc"


def test_rounded_goes_up_or_down_as_it_is_told_and_stays_on_the_grid() -> None:
    quant = choose(S8_SYMMETRIC, -1.27, 1.27)
    x = np.array([0.014, 0.014, -0.014, 1.27, 3.0, -3.0], np.float32)
    up = np.packbits(np.array([0, 1, 1, 1, 1, 0], bool))
    assert quantize(rounded(x, quant, up), quant).tolist() == [1, 2, -1, 127, 127, -127]
    with pytest.raises(UsageError, match="there are 12"):
        rounded(np.zeros(12, np.float32), quant, up)
