"""Bad inputs as users bring them: each is refused in three parts with the right code, never as a bug of ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesmith.artifact import RECORD
from edgesmith.cli.app import invoke

FACTORY = ["tests.models:ConvBnRelu", "--input", "x:1,3,8,8"]
GOOD = np.zeros((4, 3, 8, 8), np.float32)
ARRAYS = {
    "objects": {"x": np.array([object()], dtype=object)},
    "empty": {},
    "extra": {"x": GOOD, "z": GOOD},
    "shape": {"x": GOOD[:, :, :4]},
    "integers": {"x": GOOD.astype(np.int64)},
    "few-labels": {"x": GOOD, "labels": np.arange(3)},
    "words": {"x": GOOD, "labels": np.array(list("abcd"))},
    "negative": {"x": GOOD, "labels": np.array([0, 1, -1, 0])},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two targets."""
    folder = tmp_path_factory.mktemp("made")
    assert invoke(["export", *FACTORY, "--targets", "ort-fp32,torch-fp32", "--out", str(folder)]) == 0
    return folder


def refused(capfd: pytest.CaptureFixture[str], words: list[object], code: int, part: str) -> None:
    """Both forms of the answer: three parts on stderr, and one JSON object on stdout."""
    capfd.readouterr()
    assert invoke([*map(str, words), "--json"]) == code
    out, err = capfd.readouterr()
    error = json.loads(out)["error"]
    assert error["exit_code"] == code and error["asked"] and error["found"] and error["todo"]
    assert part in err and "to do:" in err and "Traceback" not in err and "a bug" not in err


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_do_not_fit(capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS[kind])
    words = ["verify", made / "ort-fp32", "--against", *FACTORY, "--inputs", tmp_path / "a.npz"]
    refused(capfd, words, 2, "")
    refused(capfd, ["predict", made / "ort-fp32", "--input", tmp_path / "a.npz"], 2, "")


@pytest.mark.parametrize(("content", "code"), [(b"garbage", 2), (b"PK\x03\x04cut off", 1), (b"", 1)])
def test_a_file_that_is_no_npz(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path, content: bytes, code: int
) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    refused(capfd, ["predict", made / "ort-fp32", "--input", tmp_path / "a.npz"], code, "a.npz")


def test_inputs_that_the_original_cannot_take_are_no_failure_of_the_target(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", x=GOOD[:, :, :4])
    refused(capfd, ["bench", made / "ort-fp32", "--inputs", tmp_path / "a.npz"], 2, "(1, 3, 8, 8)")


def test_pictures_for_a_file_without_preprocessing(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    refused(capfd, ["bench", made / "ort-fp32", "--inputs", tmp_path], 2, "--inputs file.npz")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_out_that_cannot_be_a_folder(capfd: pytest.CaptureFixture[str], tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    refused(capfd, ["export", *FACTORY, "--out", tmp_path / place], 3, place)
    words = ["quantize", *FACTORY, "--calibration", "random:4", "--out", tmp_path / place]
    refused(capfd, words, 3, place)


def test_outputs_go_where_they_were_asked_to(capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=GOOD[:1])
    words = ["predict", made / "ort-fp32", "--input", tmp_path / "one.npz", "--out"]
    for wrong in (tmp_path, tmp_path / "none" / "out.npz", tmp_path / "one.npz" / "out.npz"):
        refused(capfd, [*words, wrong], 3, str(wrong))
    assert invoke([str(word) for word in [*words, tmp_path / "plain"]]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"one.npz", "plain"}


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--targets", ","], 2, "no target"),
        (["--input", "x:0,3,8,8"], 2, "positive"),
        (["--input", "1,3,8,8"], 2, "positive"),
        (["--input", "x:1,3,8,8:floot"], 2, "floot"),
        (["--preprocess", "none.yaml"], 3, "none.yaml"),
        (["--size", "8", "--mean", "0.5", "--std", "0"], 2, "std"),
        (["--size", "0", "--mean", "0.5", "--std", "1"], 2, "size"),
        (["--size", "8", "--mean", "0.5,0.5", "--std", "1"], 2, "channel"),
    ],
)
def test_options_of_export(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], code: int, part: str
) -> None:
    refused(capfd, ["export", FACTORY[0], *words, "--out", tmp_path], code, part)


def test_a_factory_that_fails_is_the_users(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(capfd, ["export", "json:loads", "--input", "x:1,3", "--out", tmp_path], 2, "TypeError")


def test_ctrl_c_is_said_and_is_one_object_too(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stopped_model.py").write_text("def net(): raise KeyboardInterrupt\n")
    monkeypatch.chdir(tmp_path)
    refused(capfd, ["export", "stopped_model:net", "--out", tmp_path], 130, "interrupted")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (f"ort-fp32/{RECORD}", '{"schema": 1}'),
        (f"ort-fp32/{RECORD}", '{"kind": "exported", "key": "k", "files": "none"}'),
        (f"ort-fp32/{RECORD}", '{"kind": "exported", "key": "k", "meta": [1]}'),
        (f"ort-fp32/{RECORD}", '{"kind": "expor'),
        ("bundle.json", "{}"),
    ],
)
def test_a_damaged_record_is_named(
    capfd: pytest.CaptureFixture[str], made: Path, tmp_path: Path, file: str, content: str
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    (copy / file).write_text(content)
    for verb in ("inspect", "bench"):
        refused(capfd, [verb, copy], 1, str((copy / file).parent))


def test_what_is_absent_counts_before_what_failed(tmp_path: Path) -> None:
    model = ["tests.pipeline.test_api:Unsupported", "--input", "x:1,3,8,8"]
    assert invoke(["export", *model, "--targets", "ort-fp32,tensorrt-fp16", "--out", str(tmp_path)]) == 3
    assert invoke(["export", *model, "--targets", "ort-fp32", "--out", str(tmp_path)]) == 1


def test_a_json_that_is_no_report(capfd: pytest.CaptureFixture[str], made: Path) -> None:
    refused(capfd, ["report", made / "bundle.json"], 1, "bundle.json")


def test_no_words_show_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke([]) == 0
    assert "Commands" in capfd.readouterr().out
