from dataclasses import replace

import pytest
import torch

import edgesmith
from edgesmith.artifact import Exported, Product
from edgesmith.graph.macs import layer_macs
from edgesmith.pipeline.produce import capture_source
from edgesmith.pipeline.sources import Source
from edgesmith.runtimes import RUNTIMES, null
from edgesmith.runtimes.executed import Executed, Told, placement, told_by
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import TensorSpec
from tests.models import tiny

TARGETS = ("ort-fp32", "ort-int8", "openvino-fp32", "openvino-bf16", "openvino-int8")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    batches = [torch.randn(8, 3, 8, 8)]
    return edgesmith.convert(tiny("depthwise"), batches[0][:1], TARGETS, batches, out=tmp_path_factory.mktemp("b"))


def asked(exported):
    with RUNTIMES.get(exported.runtime).open(exported, RunOptions()) as session:
        return placement(exported, told_by(session))


@pytest.mark.parametrize("target", ("torch-fp32", *TARGETS))
def test_every_layer_is_found_where_the_plan_wants_it(bundle, target):
    found = asked(bundle.exported[target])
    wanted = {product.layer: product.precision for product in bundle.exported[target].products}
    assert {layer.layer: layer.precision for layer in found.layers} == wanted
    assert {"expand", "depthwise", "project"} <= set(wanted)
    assert found.partitions == 1 and sum(found.share_by_precision.values()) == pytest.approx(1)


def test_work_is_that_of_the_program(bundle):
    program = capture_source(Source("net", tiny("depthwise"), (TensorSpec("x", (1, 3, 8, 8), "float32"),)))
    wanted = {path: macs for path, macs in layer_macs(program).items() if macs}
    for target in ("torch-fp32", "ort-fp32", "openvino-int8"):
        assert {p.layer: p.macs for p in bundle.exported[target].products} == wanted


@pytest.mark.parametrize("target", ("openvino-fp32", "openvino-int8", "ort-int8"))
def test_shapes_of_a_file_made_by_anyone_give_the_same_work(bundle, target):
    exported = bundle.exported[target]
    ours, theirs = asked(exported), asked(replace(exported, products=()))
    assert sum(layer.macs for layer in theirs.layers) == sum(layer.macs for layer in ours.layers)
    assert theirs.share_by_precision == pytest.approx(ours.share_by_precision)


def test_the_last_convolution_of_onnx_runtime_is_meant_to_be_float(bundle):
    found = {layer.layer: layer for layer in asked(bundle.exported["ort-int8"]).layers}
    assert (found["project"].asked, found["project"].op) == ("fp32", "Conv")
    assert found["depthwise"].op == "QLinearConv"


def test_a_float_file_run_in_bf16_is_seen(bundle):
    meant, lowered = bundle.exported["openvino-fp32"], bundle.exported["openvino-bf16"]
    with RUNTIMES.get("openvino").open(lowered, RunOptions()) as session:
        found = placement(meant, told_by(session))
    if found.share_by_precision == {"fp32": 1.0}:
        pytest.skip("cpu: this processor computes bf16 in fp32")
    assert found.share_by_precision == {"bf16": 1.0} and {layer.asked for layer in found.layers} == {"fp32"}


def test_partitions_and_copies_are_counted_in_the_order_of_execution(tmp_path):
    units = ["NPU", "CPU"] * 43 + ["NPU"]
    conv = [Executed((f"n{i}",), "Conv", "fp32", unit, macs=10) for i, unit in enumerate(units)]
    copy = Executed(("m",), "MemcpyToHost", "fp32", "CPU", moves=True, moved_bytes=64)
    model = null.NullModel((TensorSpec("x", (1,), "float32"),), (), operators=(*conv, copy), unit="NPU")
    with null.NullRuntime.open(null.write(tmp_path / "null", model), RunOptions()) as session:
        found = placement(_record(), told_by(session))
    assert (found.partitions, found.copies, found.copied_bytes, found.asked_unit) == (88, 1, 64, "NPU")
    assert found.share_by_unit == pytest.approx({"NPU": 44 / 87, "CPU": 43 / 87})


def _record(products=()):
    return Exported("null-fp32", "null", "fp32", "model.null", (), (), products=products)


def test_a_layer_the_runtime_does_not_name_is_unknown_and_a_neighbours_name_is_taken_once():
    products = (
        Product("a", 10, "fp32", ("conv_a", "a_out", "add")),
        Product("b", 20, "fp32", ("conv_b", "b_out", "add")),
    )
    told = Told((Executed(("add",), "FusedConv", "fp32", "CPU", macs=1),), "CPU", "a test")
    found = placement(_record(products), told)
    assert [layer.precision for layer in found.layers] == ["fp32", "unknown"]
    assert found.share_by_unit == pytest.approx({"CPU": 1 / 3, "unknown": 2 / 3})
