"""Every verb as a user types it: exit code, what is on stdout, what is on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgesmith.cli.app import invoke
from tests.models import tiny

FACTORY = "tests.models:ConvBnRelu"
SHAPE = ["--input", "x:1,3,8,8"]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def edgesmith(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*words: object) -> Ended:
        capfd.readouterr()
        code = invoke([str(word) for word in words])
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The residual net as .pt2, its ONNX file and two artefacts."""
    folder = tmp_path_factory.mktemp("cli")
    program = torch.export.export(tiny("residual"), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, folder / "net.pt2")
    words = ["export", str(folder / "net.pt2"), "--targets", "ort-fp32,ort-int8", "--calibration", "random:16"]
    assert invoke([*words, "--out", str(folder / "build")]) == 0
    (folder / "foreign.onnx").write_bytes((folder / "build" / "ort-fp32" / "model.onnx").read_bytes())
    np.savez(folder / "inputs.npz", x=np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32))
    return folder


def test_bench_gives_times_by_layer(edgesmith: Callable[..., Ended], built: Path) -> None:
    words = ("bench", built / "build", "--inputs", "random:4", "--blocks", "2", "--block-size", "2", "--warmup", "1")
    ended = edgesmith(*words, "--layers", "--json")
    assert ended.code == 0, ended.err
    for row in ended.json["measurements"]:
        assert {"first.conv", "conv"} <= {one["layer"] for one in row["layers"]["rows"]}, row["target"]


def test_export_says_what_it_made(edgesmith: Callable[..., Ended], tmp_path: Path) -> None:
    ended = edgesmith("export", FACTORY, *SHAPE, "--targets", "ort-fp32,tensorrt-fp16", "--out", tmp_path, "--json")
    assert ended.code == 3  # one target lacks its library
    assert set(ended.json["exported"]) == {"ort-fp32"}
    assert "pip install" in ended.json["absent"]["tensorrt-fp16"]["reason"]


def test_engines_for_a_device_travel_as_onnx(edgesmith: Callable[..., Ended], tmp_path: Path) -> None:
    words = ("--targets", "tensorrt-fp16", "--on-device", "--out", tmp_path, "--json")
    ended = edgesmith("export", FACTORY, *SHAPE, *words)
    assert ended.code == 0 and ended.json["exported"]["tensorrt-fp16"]["main"] == "model.onnx"
    assert (tmp_path / "tensorrt-fp16" / "model.onnx").is_file()


def test_export_warns_of_random_calibration(edgesmith: Callable[..., Ended], built: Path, tmp_path: Path) -> None:
    words = ("--targets", "ort-int8", "--calibration", "random:8", "--out", tmp_path)
    ended = edgesmith("export", built / "net.pt2", *words)
    assert ended.code == 0 and "nothing about real data" in ended.err and "ort-int8" in ended.out


def test_a_folder_of_images_without_preprocessing_is_refused(edgesmith: Callable[..., Ended], tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((8, 8)).convert("RGB").save(tmp_path / "a.png")
    words = ("--targets", "ort-int8", "--calibration", tmp_path, "--out", tmp_path / "out")
    ended = edgesmith("export", FACTORY, *SHAPE, *words)
    assert ended.code == 2 and "--preprocess" in ended.err and "Traceback" not in ended.err
    prepared = edgesmith("export", FACTORY, *words, "--size", "8", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
    assert prepared.code == 0


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["export", "nothing"], 2, "no such model"),
        (["export", FACTORY, *SHAPE, "--targets", "ort-int9"], 2, "ort-int9"),
        (["export", FACTORY, *SHAPE, "--targets", "ort-int8"], 2, "--calibration"),
        (["export", FACTORY], 2, "--input"),
        (["bench", "none.onnx"], 3, "none.onnx"),
        (["inspect", "nowhere"], 3, "nowhere"),
        (["run", "none.yaml"], 3, "none.yaml"),
        (["devices", "probe", "mars"], 2, "mars"),
        (["nonsense"], 2, "nonsense"),
        (["report", "nowhere"], 3, "nowhere"),
    ],
)
def test_mistakes_have_three_parts_and_no_trace(
    edgesmith: Callable[..., Ended], words: list[str], code: int, part: str
) -> None:
    ended = edgesmith(*words)
    assert ended.code == code and part in ended.err and "to do:" in ended.err and "Traceback" not in ended.err
    as_json = edgesmith(*words, "--json")
    assert as_json.code == code and as_json.json["error"]["exit_code"] == code


def test_bench_of_a_foreign_file_beside_ours(edgesmith: Callable[..., Ended], built: Path) -> None:
    files = (built / "foreign.onnx", built / "build" / "ort-int8")
    ended = edgesmith("bench", *files, "--blocks", 2, "--block-size", 5, "--warmup", 2, "--json")
    assert ended.code == 0
    rows = {row["target"]: row for row in ended.json["measurements"]}
    assert set(rows) == {"foreign.onnx", "ort-int8"}
    assert all(len(block) == 5 for row in rows.values() for block in row["latency"]["blocks_ms"])
    shown = edgesmith("bench", *files, "--blocks", 2, "--block-size", 5, "--warmup", 2)
    assert "p50 ms" in shown.out and "foreign.onnx" in shown.out and "not_measured" in shown.out  # p99 of 10 samples


def test_bench_sweeps_batches_and_threads_and_says_what_a_fixed_batch_is_not(
    edgesmith: Callable[..., Ended], built: Path
) -> None:
    words = ("bench", built / "foreign.onnx", "--scenario", "offline", "--batch", "1,4", "--threads", "1,2")
    ended = edgesmith(*words, "--blocks", 2, "--block-size", 2, "--warmup", 2, "--json")
    rows = ended.json["measurements"]
    assert [(row["batch"], row["threads"]) for row in rows] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    assert {row["scenario"] for row in rows} == {"offline"}
    assert all(row["state"] == "measured" or "batches of 1" in row["reason"] for row in rows)
    shown = edgesmith("bench", built / "foreign.onnx", "--scenario", "cold-start", "--blocks", 2)
    assert shown.code == 0 and "rows/s" in shown.out and "fresh process" in shown.out
    assert edgesmith("bench", built / "foreign.onnx", "--batch", "1,none").code == 2
    assert edgesmith("bench", built / "foreign.onnx", "--scenario", "server").code == 2


def test_verify_passes_what_agrees_and_fails_what_does_not(edgesmith: Callable[..., Ended], built: Path) -> None:
    inputs = ("--inputs", built / "inputs.npz")
    good = edgesmith("verify", built / "foreign.onnx", "--against", built / "net.pt2", *inputs)
    assert good.code == 0 and "pass" in good.out
    bad = edgesmith(
        "verify", built / "foreign.onnx", "--against", "tests.models:ResidualAdd", *SHAPE, *inputs, "--json"
    )
    assert bad.code == 1  # other weights
    assert any(v["state"] == "fail" for v in bad.json["verdicts"])


def test_inspect_checks_and_names_damage(edgesmith: Callable[..., Ended], built: Path, tmp_path: Path) -> None:
    import shutil

    assert edgesmith("inspect", built / "build" / "ort-int8", "--json").json["checksums"] == "good"
    assert edgesmith("inspect", built / "foreign.onnx", "--json").json["kind"] == "foreign"
    assert edgesmith("inspect", built / "build").code == 0
    copy = tmp_path / "copy"
    shutil.copytree(built / "build" / "ort-int8", copy)
    (copy / "model.onnx").write_bytes(b"x")
    ended = edgesmith("inspect", copy)
    assert ended.code == 1 and "model.onnx" in ended.err


def test_predict_and_quantize(edgesmith: Callable[..., Ended], built: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.npz"
    np.savez(one, x=np.zeros((1, 3, 8, 8), np.float32))
    answer = edgesmith("predict", built / "foreign.onnx", "--input", one, "--out", tmp_path / "out.npz", "--json")
    assert answer.code == 0 and (tmp_path / "out.npz").exists()
    np.save(tmp_path / "one.npy", np.zeros((1, 3, 8, 8), np.float32))
    again = edgesmith("predict", built / "foreign.onnx", "--input", tmp_path / "one.npy", "--json")
    assert again.json["outputs"] == answer.json["outputs"]
    ended = edgesmith("quantize", built / "net.pt2", "--calibration", built / "inputs.npz", "--out", tmp_path, "--json")
    assert {row["family"] for row in ended.json["plans"]} == {"ort", "openvino", "coreml"}
    assert (tmp_path / "ranges.json").exists() and (tmp_path / "plan-ort.json").exists()


def test_doctor_and_devices(edgesmith: Callable[..., Ended]) -> None:
    rows = {row["target"]: row for row in edgesmith("doctor", "--json").json["targets"]}
    assert rows["ort-int8"]["build"] == rows["ort-int8"]["run"] == "yes"
    assert "pip install 'edgesmith[tensorrt]'" in rows["tensorrt-int8"]["reason"]
    assert "local" in edgesmith("devices").out
    assert edgesmith("devices", "probe", "local", "--json").json["facts"]["cores"] >= 1


def test_hostile_pickles_run_only_when_trusted(edgesmith: Callable[..., Ended], tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Hostile:
        def __reduce__(self) -> tuple:
            return Path.touch, (mark,)

    torch.save({"weights": Hostile()}, tmp_path / "weights.pt")
    words = ("export", FACTORY, *SHAPE, "--weights", tmp_path / "weights.pt", "--out", tmp_path / "out")
    ended = edgesmith(*words)
    assert ended.code == 2 and "--trust-pickle" in ended.err and not mark.exists()
    edgesmith(*words, "--trust-pickle")
    assert mark.exists()


def test_search_lists_its_steps_and_refuses_a_recipe_without_one(
    edgesmith: Callable[..., Ended], tmp_path: Path
) -> None:
    recipes = Path(__file__).parents[2] / "recipes"
    ended = edgesmith("search", recipes / "search-digits.yaml", "--out", tmp_path, "--dry-run", "--json")
    assert ended.code == 0
    assert [(row["step"], row["state"]) for row in ended.json["steps"]] == [
        ("latency-table", "to do"),
        ("search", "to do"),
    ]
    ended = edgesmith("search", recipes / "quickstart.yaml", "--out", tmp_path)
    assert ended.code == 2 and "no search section" in ended.err
