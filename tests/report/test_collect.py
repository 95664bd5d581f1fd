import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.artifact import Exported
from edgesmith.pipeline.accuracy_control import Control, Raised
from edgesmith.report.collect import collect
from edgesmith.results import BenchRecord, Interval, Measurement, Verdict
from tests.report.sample import DEVICE, accuracy, bench, measured, report


def row(found: dict, target: str) -> dict:
    (only,) = [r for r in found["rows"] if r["target"] == target]
    return only


def test_rows_stand_in_order_and_have_their_state():
    found = report()
    states = {r["target"]: r["state"] for r in found["rows"]}
    assert list(states) == ["torch-fp32", "ort-fp32", "ort-int8", "tensorrt-int8", "coreml-fp16"]
    assert states["torch-fp32"] == "reference"
    assert states["ort-int8"] == "pass"
    assert states["tensorrt-int8"] == states["coreml-fp16"] == "not_measured"
    assert row(found, "coreml-fp16")["reason"] == "no operator for aten.foo"
    assert [r["required"] for r in found["rows"]] == [False, True, True, False, False]


def test_numbers_carry_their_intervals():
    int8 = row(report(), "ort-int8")
    for name, value in (("p50", 2.02), ("p90", 2.036), ("p99", 2.04), ("speedup", 5.0), ("speedup_float", 2.5)):
        assert int8[name]["value"] == pytest.approx(value, rel=0.01)
        assert int8[name]["low"] <= int8[name]["value"] <= int8[name]["high"]
    assert int8["accuracy"] == {"value": 0.96, "low": 0.94, "high": 0.97, "metric": "top1", "n": 500}
    assert int8["drop"] == {"value": 0.01, "low": 0.002, "high": 0.02}
    assert (int8["load_ms"], int8["later_load_ms"], int8["first_ms"]) == (50.0, 20.0, 9.0)


def test_ratios_are_to_the_reference_and_to_the_best_float():
    found = report()
    assert found["best_float"] == "ort-fp32"
    assert row(found, "ort-fp32")["speedup_float"] == {"same": True}
    assert row(found, "torch-fp32")["speedup"] == {"same": True}
    assert row(found, "torch-fp32")["speedup_float"]["value"] == pytest.approx(0.5, rel=0.01)


def test_a_p99_that_too_few_samples_bound_is_not_measured():
    short = BenchRecord(DEVICE, (measured("ort-int8", 2.0, blocks=10, size=20),), "ort-int8", (1.0, 1.0))
    found = report(bench=short)
    cell = row(found, "ort-int8")["p99"]
    assert cell == {"not_measured": "200 samples in 10 blocks bound no p99; it takes 368 that are independent"}
    assert {"target": "ort-int8", "what": "p99", "reason": cell["not_measured"]} in found["not_measured"]
    assert "value" in row(found, "ort-int8")["p90"]


def test_blocks_that_do_not_pair_give_no_ratio():
    rows = (measured("torch-fp32", 10.0, blocks=10), measured("ort-int8", 2.0, blocks=20))
    cell = row(report(bench=BenchRecord(DEVICE, rows, "torch-fp32", (1.0, 1.0))), "ort-int8")["speedup"]
    assert cell == {"not_measured": "not measured in the same interleaved blocks"}


@pytest.mark.parametrize(("median", "marked"), [(0.15, True), (0.25, False)])
def test_where_call_overhead_dominates_the_row_says_so(median: float, marked: bool):
    record = BenchRecord(DEVICE, (measured("ort-int8", median),), "ort-int8", (1.0, 1.0))
    assert row(report(bench=record), "ort-int8")["overhead"] is marked


def test_every_gap_has_its_reason():
    gaps = {(g["target"], g["what"]): g["reason"] for g in report()["not_measured"]}
    assert gaps["tensorrt-int8", "p50"] == "no CUDA device here"
    assert "too few" in gaps["ort-int8", "tar_all@1e-4"]
    assert gaps["tensorrt-int8", "runs"] == "no CUDA device here"


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("pass", "2 of 2 required targets hold every limit."),
        ("fail", "1 of 2 required targets break a limit or did not come out."),
        ("inconclusive", "The samples do not decide for 1 of 2 required targets. About 120 samples more would."),
        ("not_measured", "There is no evidence for 1 of 2 required targets."),
    ],
)
def test_the_verdict_line(state: str, line: str):
    verdict = report(state)["verdict"]
    assert verdict["line"] == line
    told = ["ort-int8: asked for accuracy drop <= 0.01, found 0.01 (0.002 to 0.02)"]
    assert verdict["details"] == ([] if state == "pass" else told)


def test_a_pass_without_limits_does_not_claim_any():
    verdicts = [Verdict("runs", name, "pass", "it runs", "outputs of 5 samples") for name in ("ort-fp32", "ort-int8")]
    line = report(verdicts=verdicts)["verdict"]["line"]
    assert line == "2 of 2 required targets run and give finite outputs; no limit was set."


def test_agreement_stands_in_where_there_are_no_labels():
    int8 = row(report(accuracies=[]), "ort-int8")
    assert int8["accuracy"]["metric"] == "top-1 agreement"
    assert int8["drop"] is None


def test_an_empty_report_claims_nothing():
    found = collect(title="nothing")
    assert found["rows"] == [] and found["verdict"]["state"] == "not_measured"
    assert found["verdict"]["line"] == "Nothing was required of any target."
    asked = collect(title="asked", required=["ort-int8"])
    assert asked["rows"][0]["state"] == "not_measured"
    assert asked["verdict"]["line"] == "No required target was judged."


def test_an_exported_target_that_was_not_run_still_has_its_size(tmp_path: Path):
    (tmp_path / "m.onnx").write_bytes(b"12345")
    made = Exported("ort-int8", "ort", "int8", "m.onnx", (), (), notes=("kept in float: fc",), root=tmp_path)
    only = row(collect(title="t", exported={"ort-int8": made}), "ort-int8")
    assert (only["size_bytes"], only["precision"], only["notes"]) == (5, "int8", ["kept in float: fc"])


def test_it_is_json_and_histories_become_series():
    found = report()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    curves = found["training"]["distil"]
    assert curves["x"] == [0, 1, 2, 3, 4]
    assert curves["series"]["terms.kd"][1] == 0.5
    assert found["latency"]["ort-int8"] == list(bench().measurements[2].latency.samples_ms)


def test_a_failed_measurement_without_a_verdict_tells_its_reason():
    crashed = BenchRecord(DEVICE, (Measurement("a", "failed", "engine crashed"),), "", (1.0, 1.0))
    assert row(collect(title="t", bench=crashed), "a")["reason"] == "engine crashed"


def test_the_worst_verdict_of_a_row_wins():
    verdicts = [Verdict(c, "a", s, c, "") for c, s in (("x", "pass"), ("y", "inconclusive"), ("z", "fail"))]  # type: ignore[arg-type]
    only = row(collect(title="t", verdicts=verdicts, accuracies=[accuracy("a", 0.5, Interval(0, 0, 0))]), "a")
    assert (only["state"], only["reason"]) == ("fail", "z")


def test_the_report_needs_no_torch_and_no_rich():
    code = (
        "import sys, edgesmith.report.html, edgesmith.report.collect, edgesmith.report.table;"
        "print([m for m in ('torch', 'rich', 'pydantic', 'typer', 'edgesmith.verify') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_layers_in_float_for_a_drop_are_told():
    drop = Interval(0.02, 0.01, 0.03)
    raised = Raised("conv", "needed", 0.25, 1000.0, "multiply-accumulates", drop)
    verdict = Verdict("max_drop", "ort-int8", "pass", "drop of top1 <= 0.01", "0.001")
    control = Control("ort-int8", "top1", 0.01, 500, (), ("conv",), verdict, (), (raised,))
    (told,) = collect(title="x", drops=[control])["drops"]
    assert (told["target"], told["kept"]) == ("ort-int8", ["conv"])
    assert told["raised"][0]["fate"] == "needed" and told["raised"][0]["drop"]["value"] == 0.02
