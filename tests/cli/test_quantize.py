"""edgesmith quantize as a user types it: drops that are kept, plans that export takes, input that is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import Dim

from edgesmith.cli.app import invoke
from tests.models import tiny

pytestmark = pytest.mark.needs("onnxruntime")
ORT = ["--targets", "ort-int8"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net, the same with other weights, the same with a dynamic batch; calibration data, good and bad."""
    folder = tmp_path_factory.mktemp("quantize")
    net, zeros = tiny("linear"), torch.zeros(1, 3, 8, 8)
    torch.export.save(torch.export.export(net, (zeros,)), folder / "net.pt2")
    shapes = ({0: Dim("batch", min=1)},)
    torch.export.save(
        torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=shapes), folder / "dynamic.pt2"
    )
    x = np.random.default_rng(0).standard_normal((80, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        labels = net(torch.from_numpy(x)).argmax(1).numpy()
        net.fc2.weight *= 1.01
    torch.export.save(torch.export.export(net, (zeros,)), folder / "other.pt2")
    np.savez(folder / "good.npz", x=x)
    np.savez(folder / "eval.npz", x=x, labels=labels)
    np.savez(folder / "empty.npz", x=x[:0])
    np.savez(folder / "nan.npz", x=np.where(x > 3, np.nan, x))
    np.savez(folder / "constant.npz", x=np.ones_like(x))
    np.savez(folder / "faint.npz", x=x * 1e-30)
    np.savez(folder / "named.npz", image=x)
    return folder


def said(capfd: pytest.CaptureFixture[str], words: list[object]) -> tuple[int, Any]:
    capfd.readouterr()
    code = invoke([*map(str, words), "--json"])
    return code, json.loads(capfd.readouterr().out)


@pytest.fixture(scope="module")
def planned(made: Path) -> Path:
    """A folder of plans for the net."""
    words = ["quantize", made / "net.pt2", "--calibration", made / "good.npz", "--out", made / "plans", *ORT]
    assert invoke([str(word) for word in words]) == 0
    return made / "plans"


@pytest.mark.parametrize("net", ["net.pt2", "dynamic.pt2"])
def test_a_kept_drop_is_a_pass_with_its_evidence(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path, net: str
) -> None:
    words = ["quantize", made / net, "--calibration", made / "good.npz", "--out", tmp_path, *ORT, "--keep-float", "fc2"]
    code, answer = said(capfd, [*words, "--eval", made / "eval.npz", "--max-drop", "0.5"])
    assert code == 0
    (control,), (plan,) = answer["controls"], answer["plans"]
    assert control["verdict"]["state"] == "pass" and control["n"] == 80 and len(control["looks"]) == 1
    floats = {row["layer"]: row for row in plan["in_float"]}
    assert floats["fc2"]["reason"] == "asked" and floats["fc2"]["macs_share"] == pytest.approx(80 / (3072 + 80))
    assert plan["macs_in_float"] == pytest.approx(80 / (3072 + 80))
    assert (tmp_path / "control-ort.json").exists()


def test_too_few_samples_are_inconclusive_and_exit_with_5(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path
) -> None:
    words = ["quantize", made / "net.pt2", "--calibration", made / "good.npz", "--out", tmp_path, *ORT]
    code, answer = said(capfd, [*words, "--eval", made / "eval.npz", "--max-drop", "0.001"])
    assert code == 5
    verdict = answer["controls"][0]["verdict"]
    assert verdict["state"] == "inconclusive" and verdict["more"] > 1000


def test_the_table_names_what_stays_in_float(capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path) -> None:
    words = ["quantize", made / "net.pt2", "--calibration", made / "good.npz", "--out", tmp_path, *ORT]
    assert invoke([str(word) for word in [*words, "--keep-float", "fc2"]]) == 0
    out = capfd.readouterr().out
    assert "left in float" in out and "fc2" in out and "2.5%" in out and "asked" in out


def test_each_correction_has_a_switch_and_its_effect(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path
) -> None:
    words = ["quantize", made / "net.pt2", "--calibration", made / "good.npz", "--out", tmp_path, *ORT]
    code, answer = said(capfd, [*words, "--without", "equalise", "--without", "bias", "--with", "adaround"])
    assert code == 0
    effects = answer["measured"]["ort"]["effects"]
    rows = {row["correction"]: row for row in effects["rows"]}
    assert {name for name, row in rows.items() if row["on"]} == {
        "fold_batchnorm",
        "join",
        "bias_pass",
        "dead",
        "adaround",
    }
    assert effects["samples"] == 16 and "calibration" in effects["judged_on"]
    plan = json.loads((tmp_path / "plan-ort.json").read_text())
    assert plan["factors"] == {} and plan["bias_shifts"] == {} and plan["rounded_up"]
    assert invoke([str(word) for word in [*words, "--no-effects"]]) == 0
    assert "corrections" not in capfd.readouterr().out
    assert invoke([str(word) for word in words]) == 0
    out = capfd.readouterr().out
    assert "ort-int8: corrections" in out and "equalise" in out and "16 calibration samples kept back" in out


def test_export_takes_the_switches_too(capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path) -> None:
    words = ["export", made / "net.pt2", "--calibration", made / "good.npz", *ORT]
    digests = []
    for more in ([], ["--without", "equalise"], ["--with", "adaround"]):
        code, answer = said(capfd, [*words, "--out", tmp_path / "-".join(["net", *more]), *more])
        assert code == 0
        digests.append(answer["exported"]["ort-int8"]["plan_digest"])
    assert len(set(digests)) == 3
    code, answer = said(capfd, [*words, "--out", tmp_path / "a", "--without", "equalize"])
    assert code == 2 and "choose from: equalise" in answer["error"]["todo"]
    code, answer = said(capfd, [*words, "--out", tmp_path / "a", "--with", "reestimate_batchnorm"])
    assert code == 2 and "batch norms" in answer["error"]["asked"]


def test_export_takes_the_plans_of_their_own_model_only(
    capfd: pytest.CaptureFixture[str], made: Path, planned: Path, tmp_path: Path
) -> None:
    words = [*ORT, "--plans", planned, "--out", tmp_path]
    code, answer = said(capfd, ["export", made / "net.pt2", *words])
    digest = json.loads((planned / "plan-ort.json").read_text())["program"]
    assert code == 0 and set(answer["exported"]) == {"ort-int8"} and len(digest) == 16
    code, answer = said(capfd, ["export", made / "other.pt2", *words])
    assert code == 2 and digest in answer["error"]["found"] and "derive" in answer["error"]["todo"]
    words = ["--targets", "openvino-int8", "--plans", planned, "--out", tmp_path]
    code, answer = said(capfd, ["export", made / "net.pt2", *words])
    assert code == 3 and "plan-openvino.json" in answer["error"]["found"]


@pytest.mark.parametrize(
    ("calibration", "more", "words"),
    [
        ("empty.npz", [], "above 0"),
        ("nan.npz", [], "NaN"),
        ("constant.npz", [], "the same"),
        ("faint.npz", [], "no float32 numbers"),
        ("good.npz", ["--keep-float", "fc9"], "fc9"),
        ("good.npz", ["--max-drop", "0.1"], "--eval"),
        ("good.npz", ["--max-drop", "5", "--eval", "eval.npz"], "0.01 is one point"),
        ("good.npz", ["--max-ms", "nan"], "milliseconds"),
        ("good.npz", ["--max-drop", "0.1", "--eval", "nan.npz"], "NaN"),
        ("good.npz", ["--max-drop", "0.1", "--eval", "named.npz"], "'image'"),
        ("good.npz", ["--max-drop", "0.1", "--max-ms", "1", "--eval", "eval.npz"], "two budgets"),
    ],
)
def test_bad_input_has_three_parts_and_exit_code_2(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path, calibration: str, more: list[str], words: str
) -> None:
    given = [made / word if word.endswith(".npz") else word for word in more]
    command = ["quantize", made / "net.pt2", "--calibration", made / calibration, "--out", tmp_path, *ORT, *given]
    code, answer = said(capfd, command)
    parts = [answer["error"][part] for part in ("asked", "found", "todo")]
    assert code == 2 and all(parts) and words in " ".join(parts)


def test_samples_that_the_model_fails_on_are_said_to_be_the_fault(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    torch.export.save(torch.export.export(words, (torch.zeros(1, 3, dtype=torch.int64),)), tmp_path / "words.pt2")
    np.savez(tmp_path / "unknown.npz", input=np.arange(12).reshape(4, 3))
    command = [tmp_path / "words.pt2", "--calibration", tmp_path / "unknown.npz", "--out", tmp_path / "out", *ORT]
    for verb in ("quantize", "export"):
        code, answer = said(capfd, [verb, *command])
        assert code == 2 and "index out of range" in answer["error"]["found"] and answer["error"]["todo"]
    np.savez(tmp_path / "known.npz", input=np.arange(12).reshape(4, 3) % 10)
    command[2] = tmp_path / "known.npz"
    code, answer = said(capfd, ["quantize", *command, "--eval", tmp_path / "unknown.npz", "--max-drop", "0.1"])
    assert code == 2 and "original on the held-out" in answer["error"]["asked"]


def test_files_of_the_user_are_not_written_over(capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path) -> None:
    (tmp_path / "ort-int8").mkdir()
    (tmp_path / "ort-int8" / "notes.txt").write_text("mine")
    words = ["export", made / "net.pt2", "--calibration", made / "good.npz", "--out", tmp_path, *ORT]
    code, answer = said(capfd, words)
    assert code == 2 and "notes.txt" in answer["error"]["found"]
    assert [path.name for path in (tmp_path / "ort-int8").iterdir()] == ["notes.txt"]
    (tmp_path / "ort-int8" / "notes.txt").rename(tmp_path / "notes.txt")
    assert said(capfd, words)[0] == 0
    assert said(capfd, words)[0] == 0  # our own artefact gives way to the new one
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_second_plan_in_a_folder_leaves_no_evidence_of_the_first(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path
) -> None:
    words = ["quantize", made / "net.pt2", "--calibration", made / "good.npz", "--out", tmp_path, *ORT, "--no-effects"]
    assert said(capfd, [*words, "--eval", made / "eval.npz", "--max-drop", "0.5"])[0] == 0
    assert (tmp_path / "control-ort.json").exists()
    assert said(capfd, [*words, "--keep-float", "fc2"])[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan-ort.json", "ranges.json"]


def test_export_looks_at_the_plans_it_needs_only(
    capfd: pytest.CaptureFixture[str], made: Path, planned: Path, tmp_path: Path
) -> None:
    words = ["quantize", made / "other.pt2", "--calibration", made / "good.npz", "--out", tmp_path, "--no-effects"]
    assert said(capfd, [*words, "--targets", "openvino-int8"])[0] == 0
    (tmp_path / "plan-ort.json").write_bytes((planned / "plan-ort.json").read_bytes())
    export = ["export", made / "net.pt2", "--plans", tmp_path, "--out", tmp_path / "built"]
    assert said(capfd, [*export, *ORT])[0] == 0
    code, answer = said(capfd, [*export, "--targets", "openvino-int8"])
    assert code == 2 and "derived from model" in answer["error"]["found"]


def test_a_model_without_a_layer_to_quantize_is_said_to_stay_float(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    torch.export.save(torch.export.export(torch.nn.Softplus(), (torch.zeros(1, 8),)), tmp_path / "soft.pt2")
    np.savez(tmp_path / "x.npz", input=np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32))
    words = ["quantize", tmp_path / "soft.pt2", "--calibration", tmp_path / "x.npz", "--out", tmp_path / "o", *ORT]
    assert invoke([str(word) for word in words]) == 0
    assert "no layer of the plan is quantized" in capfd.readouterr().err
