"""A run as one file: all its evidence in it, and refused where there is none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edgesmith.artifact import load_exported
from edgesmith.cli.app import invoke
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.kits.evidence import check_bundle
from edgesmith.kits.pack import make_bundle
from tests.kits.runs import PROVENANCE, run_folder


def test_all_the_evidence_is_in_it_and_it_unpacks(tmp_path: Path) -> None:
    packed = make_bundle(run_folder(tmp_path / "run"), tmp_path / "m.zip")
    assert packed.targets == ("ort-fp32", "openvino-fp32")
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        archive.extractall(tmp_path / "out")
    out = tmp_path / "out"
    texts = {"README.md", "report.html", "report.json", "recipe.yaml", "lock.txt", "verdicts.json", "data.json"}
    top = {path.name for path in out.iterdir()}
    assert top == texts | {"bom.cdx.json", "manifest.json", "artifacts"}
    assert (out / "lock.txt").read_text() == "onnx==1.19.0\ntorch==2.13.0\n"
    assert (out / "recipe.yaml").read_text() == PROVENANCE["recipe"]
    assert load_exported(out / "artifacts" / "ort-fp32").target == "ort-fp32"
    files = [
        name
        for item in json.loads((out / "bom.cdx.json").read_text())["components"]
        for name in item.get("components", [])
    ]
    assert len(files) == sum(1 for path in (out / "artifacts").rglob("*") if path.is_file())


def test_the_same_run_gives_the_same_bundle(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    make_bundle(run, tmp_path / "a.zip")
    make_bundle(run, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_some_targets_alone(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    assert make_bundle(run, tmp_path / "m.zip", ["ort-fp32"]).targets == ("ort-fp32",)
    with pytest.raises(UsageError, match="the run did not make it"):
        make_bundle(run, tmp_path / "n.zip", ["coreml-fp16"])


def test_a_run_without_measurements_is_packed_as_what_it_is(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", state="not_measured", bench=None, accuracies=[], agreements=[], verdicts=[])
    make_bundle(run, tmp_path / "m.zip")
    assert check_bundle(tmp_path / "m.zip").state == "not_measured"


def test_altered_interrupted_and_foreign_runs_are_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    model = next(run.glob("export-*/ort-fp32/model.onnx"))
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(DamagedArtifact, match=r"model\.onnx"):
        make_bundle(run, tmp_path / "m.zip")
    (run / "report.json").write_text('{"schema": 1, "rows": 3}')
    with pytest.raises(DamagedArtifact, match="its report is none"):
        make_bundle(run, tmp_path / "m.zip")
    (run / "report.json").unlink()
    with pytest.raises(MissingResource, match="interrupted"):
        make_bundle(run, tmp_path / "m.zip")
    gone = run_folder(tmp_path / "gone", provenance={**PROVENANCE, "steps": {"export": "ffffffffff"}})
    with pytest.raises(MissingResource, match="no export-ffffffff"):
        make_bundle(gone, tmp_path / "m.zip")
    assert not (tmp_path / "m.zip").exists()


def test_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, out, key = str(run_folder(tmp_path / "run")), str(tmp_path / "m.edgesmith.zip"), str(tmp_path / "key")
    assert invoke(["pack", run, "--out", out, "--new-key", key, "--license", "mit"]) == 0
    assert "signed" in capfd.readouterr().out
    assert invoke(["inspect", out, "--key", f"{key}.pub", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["signature"].startswith("good")
    assert invoke(["inspect", out]) == 0
    assert "not checked" in capfd.readouterr().out
    assert invoke(["pack", run, "--out", out, "--new-key", f"{key}2"]) == 2
    assert not Path(f"{key}2").exists()
    assert invoke(["inspect", out, "--key", key]) == 2
    assert invoke(["inspect", run, "--key", f"{key}.pub"]) == 2
    assert invoke(["pack", run, "--out", f"{out}2", "--key", key, "--new-key", f"{key}3"]) == 2
