"""Times by layer: each runtime's own profile, put together by module paths."""

import json

import pytest
import torch

import edgesmith
from edgesmith.artifact import Exported, Product
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.runtimes import RUNTIMES, null
from edgesmith.runtimes.ort_profile import read_times
from edgesmith.runtimes.profile import OperatorTime, Profile, layer_times, profiled_by
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import TensorSpec, random_feed
from tests.models import tiny

TARGETS = ("ort-fp32", "ort-int8", "openvino-fp32", "openvino-int8")
RUNS = 9


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    batches = [torch.randn(8, 3, 8, 8)]
    return edgesmith.convert(tiny("depthwise"), batches[0][:1], TARGETS, batches, out=tmp_path_factory.mktemp("b"))


@pytest.mark.parametrize("target", ("torch-fp32", *TARGETS))
def test_every_product_has_a_time_under_its_module_path(bundle, target):
    exported = bundle.exported[target]
    with RUNTIMES.get(exported.runtime).open(exported, RunOptions()) as session:
        found = layer_times(exported, profiled_by(session, [random_feed(exported.inputs)], RUNS))
    named = {row.layer: row for row in found.rows if row.layer}
    layers = {"expand", "depthwise", "project"}
    assert layers <= set(named) and found.runs == RUNS
    assert {path.split(".")[0] for row in found.rows for path in (row.layer, *row.members) if path} <= {
        name for name, _ in tiny("depthwise").named_children()
    }
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert found.mapped == pytest.approx(sum(row.share for row in named.values()))
    assert all(row.ms.low <= row.ms.value <= row.ms.high for row in found.rows)


def test_a_closed_session_is_not_profiled(bundle):
    for target in ("torch-fp32", "openvino-fp32"):
        exported = bundle.exported[target]
        with RUNTIMES.get(exported.runtime).open(exported, RunOptions()) as session:
            pass
        with pytest.raises(UsageError, match="closed"):
            profiled_by(session, [random_feed(exported.inputs)], 2)


def test_a_runtime_without_a_profiler_has_no_times(tmp_path):
    model = null.NullModel((TensorSpec("x", (1, 2)),), (TensorSpec("y", (1, 1)),))
    with null.NullRuntime.open(null.write(tmp_path / "n", model), RunOptions()) as session:
        assert profiled_by(session, [], 3) is None


def _record(**more):
    return Exported("null-fp32", "null", "fp32", "model.null", (), (), **more)


def test_kernels_of_one_layer_are_one_row_and_a_fused_kernel_names_all_its_layers():
    layers = {"n_conv": "conv", "n_relu": "relu", "n_q": "conv", "n_add": "add"}
    products = (Product("conv", 10, "int8", ("n_conv", "conv_out", "n_relu")),)
    exported = _record(operator_layers=layers, products=products)
    operators = (
        OperatorTime(("n_q",), "Quantize", (1.0, 1.0)),
        OperatorTime(("n_relu",), "FusedConv", (4.0, 6.0)),
        OperatorTime(("x_abcd_acdb_n_add",), "Reorder", (1.0, 1.0)),
        OperatorTime(("n_add",), "Add", (1.0, 1.0)),
        OperatorTime(("made_up",), "Copy", (2.0, 2.0)),
    )
    found = layer_times(exported, Profile(operators, (12.0, 12.0), "a test"))
    rows = {row.layer: row for row in found.rows}
    assert list(rows) == ["conv", "add", ""]
    assert (rows["conv"].ms.value, rows["conv"].op, rows["conv"].members) == (6.0, "Quantize, FusedConv", ("relu",))
    assert rows["add"].ms.value == 2.0 and rows[""].op == "Copy"
    assert rows["conv"].share == pytest.approx(12 / 20) and found.mapped == pytest.approx(16 / 20)


def test_a_part_that_a_rewrite_made_is_its_layer():
    products = (Product("act.scaled", 10, "int8", ("n_dw",)),)
    exported = _record(operator_layers={"n_relu": "act"}, products=products)
    operators = tuple(OperatorTime((name,), "Conv", (1.0,)) for name in ("n_dw", "n_relu"))
    (row,) = layer_times(exported, Profile(operators, (3.0,), "a test")).rows
    assert (row.layer, row.ms.value) == ("act", 2.0)


def node(name, ts, dur, index="0"):
    return {"cat": "Node", "name": name, "ts": ts, "dur": dur, "args": {"op_name": "Conv", "node_index": index}}


def run(ts, dur):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur}


def test_onnx_runtimes_events_belong_to_the_run_they_began_in(tmp_path):
    events = [run(0, 90), node("conv_kernel_time", 1, 80), run(100, 20), node("conv_kernel_time", 101, 10)]
    events += [run(200, 30), node("conv_kernel_time", 201, 5), node("conv_kernel_time", 210, 6)]  # in a loop
    events += [node("conv_kernel_time", 220, 1, index="1")]  # another of the same name
    (tmp_path / "p.json").write_text(json.dumps(events))
    found = read_times(tmp_path / "p.json", 2)
    assert found.whole_ms == pytest.approx((0.020, 0.030))
    assert [operator.ms for operator in found.operators] == [pytest.approx((0.010, 0.011)), pytest.approx((0, 0.001))]
    with pytest.raises(EngineFailed, match="profile"):
        read_times(tmp_path / "p.json", 4)
