import pytest

from edgesmith.errors import UsageError
from edgesmith.results import PlacedLayer, Placement
from edgesmith.verify.placement import judge, limit_problems, limits_of, strays


def placed(*layers, asked="int8", unit="CPU", partitions=1, copies=0):
    total = sum(layer.macs for layer in layers)

    def shares(key):
        names = {getattr(layer, key) for layer in layers}
        return {n: sum(one.macs for one in layers if getattr(one, key) == n) / total for n in names}

    return Placement("ort-int8", shares("precision"), shares("unit"), "a test", asked, unit, layers, partitions, copies)


def layer(name, precision="int8", macs=100, asked="int8", unit="CPU"):
    return PlacedLayer(name, "Conv", precision, unit, macs, asked)


def states(found, target="ort-int8", **limits):
    return {v.check: (v.state, v.found) for v in judge(target, found, limits_of(limits))}


def test_a_layer_that_fell_back_to_float_is_a_failed_verdict_that_names_it():
    found = placed(layer("stem.conv"), layer("block.0.conv", "fp32"))
    state, said = states(found)["placement"]
    assert state == "fail" and "50.0%" in said and "block.0.conv" in said and "fp32" in said and "stem" not in said


def test_what_the_plan_keeps_in_float_is_no_fallback():
    found = placed(layer("stem.conv"), layer("head", "fp32", asked="fp32"))
    assert strays(found) == () and states(found)["placement"][0] == "pass"


def test_a_float_model_that_runs_in_bf16_fails():
    found = placed(layer("stem.conv", "bf16", asked="fp32"), asked="fp32")
    state, said = states(found, target="openvino-fp32")["placement"]
    assert state == "fail" and "bf16" in said


def test_another_device_than_asked_fails():
    found = placed(layer("stem.conv", unit="CPUExecutionProvider"), unit="CUDAExecutionProvider")
    state, said = states(found)["placement"]
    assert state == "fail" and "CPUExecutionProvider" in said


def test_a_crumb_elsewhere_is_named_and_passes():
    found = placed(layer("stem.conv", macs=9_999), layer("head", "fp32", macs=1))
    state, said = states(found)["placement"]
    assert state == "pass" and "head" in said


def test_of_a_file_made_by_anyone_most_of_the_work_must_be_as_it_says():
    mostly_float = placed(layer("a", asked=""), layer("b", "fp32", macs=101, asked=""))
    mostly_int8 = placed(layer("a", asked=""), layer("b", "fp32", macs=99, asked=""))
    assert states(mostly_float, target="model.onnx")["placement"][0] == "fail"
    assert states(mostly_int8, target="model.onnx")["placement"][0] == "pass"


def test_many_partitions_break_their_limit():
    thrashing = placed(layer("a"), partitions=87, copies=174)
    assert states(thrashing, max_partitions=3)["placement partitions"] == ("fail", "87 partitions")
    assert states(thrashing, max_copies=0)["placement copies"][0] == "fail"
    assert states(placed(layer("a"), partitions=3), max_partitions=3)["placement partitions"][0] == "pass"


def test_the_least_share_of_a_type_is_asked_of_the_targets_meant_to_run_in_it():
    found = placed(layer("a", macs=89), layer("b", "fp32", macs=11, asked="fp32"))
    assert states(found, min_macs_on={"int8": 0.9})["placement on int8"][0] == "fail"
    assert states(found, min_macs_on={"int8": 0.89})["placement on int8"][0] == "pass"
    floats = placed(layer("a", "fp32", asked="fp32"), asked="fp32")
    assert "placement on int8" not in states(floats, target="ort-fp32", min_macs_on={"int8": 0.9})
    assert states(floats, target="ort-fp32", min_macs_on={"CPU": 1})["placement on CPU"][0] == "pass"


def test_what_the_runtime_does_not_name_is_never_a_pass():
    found = placed(layer("a", macs=50), layer("b", "unknown", macs=50))
    assert states(found, min_macs_on={"int8": 0.9})["placement on int8"][0] == "inconclusive"
    assert "placement" not in states(placed(layer("a", macs=1), layer("b", "unknown", macs=99)))
    untold = states(None, min_macs_on={"int8": 0.9}, max_partitions=1, max_copies=1)
    assert {state for state, _ in untold.values()} == {"not_measured"} and len(untold) == 3
    assert states(None) == {}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"min_macs_on": {"int8": 90}}, "min_macs_on"),
        ({"min_macs_on": 0.9}, "min_macs_on"),
        ({"min_macs_on": {"int8": "most"}}, "min_macs_on"),
        ({"max_partitions": -1}, "max_partitions"),
        ({"max_copies": True}, "max_copies"),
        ({"most_partitions": 3}, "most_partitions"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_name(given, named):
    with pytest.raises(UsageError, match=named):
        limits_of(given)
    assert named in limit_problems({"placement": given})[0]
