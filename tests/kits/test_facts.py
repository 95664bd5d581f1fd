"""kit.json: what an app knows of its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesmith import records
from edgesmith.artifact import GOLDEN, save_exported
from edgesmith.errors import UsageError
from edgesmith.kits.facts import FACTS, Facts, allowed, noise_picture, write_facts
from tests.kits.artifacts import LABELS, PICTURES, SIZE, artifact, golden


def test_the_record_says_what_the_artefact_is(tmp_path: Path) -> None:
    exported = artifact(tmp_path / "a")
    written = write_facts(exported, "means", "model.onnx", tmp_path)
    facts = records.load(Facts, tmp_path / FACTS)
    assert facts == written
    assert (facts.labels, facts.inputs, facts.outputs) == (LABELS, exported.inputs, exported.outputs)
    assert facts.preprocessing is not None and facts.preprocessing.resize.size == SIZE
    assert facts.seen_here["scores"] < 1e-6 and "onnxruntime" in facts.ran_here


def test_golden_arrays_are_those_of_the_artefact(tmp_path: Path) -> None:
    facts = write_facts(artifact(tmp_path / "a"), "means", "model.onnx", tmp_path)
    feed, reference = golden()
    for one, array in ((facts.feed[0], feed["image"]), (facts.reference[0], reference["scores"])):
        assert np.array_equal(np.fromfile(tmp_path / one.file, "<f4").reshape(one.shape), array)


def test_the_prepared_picture_is_what_edgesmith_feeds(tmp_path: Path) -> None:
    from edgesmith.data.images import squish

    facts = write_facts(artifact(tmp_path / "a"), "means", "model.onnx", tmp_path)
    assert facts.picture is not None and facts.prepared is not None
    picture = np.fromfile(tmp_path / facts.picture.file, np.uint8).reshape(facts.picture.shape)
    prepared = np.fromfile(tmp_path / facts.prepared.file, "<f4").reshape(facts.prepared.shape)
    assert np.array_equal(prepared, PICTURES.apply(squish(picture, SIZE)[None]))


def test_the_picture_is_stretched_in_height_and_shrunk_in_width() -> None:
    height, width, _ = noise_picture((100, 100)).shape
    assert height < 100 < width


def test_a_model_without_pictures_has_no_picture(tmp_path: Path) -> None:
    facts = write_facts(artifact(tmp_path / "a", preprocessing=None), "means", "model.onnx", tmp_path)
    assert (facts.picture, facts.prepared, facts.preprocessing) == (None, None, None)


def test_a_missing_runtime_is_said_and_not_invented(tmp_path: Path) -> None:
    facts = write_facts(artifact(tmp_path / "a", "coreml"), "means", "model.mlpackage", tmp_path)
    assert (dict(facts.seen_here), facts.ran_here) == ({}, "")
    assert facts.reference[0].allowed > 0


def test_what_is_allowed_grows_with_what_was_seen() -> None:
    reference = np.array([-2.0, 1.0])
    assert allowed("fp32", reference, 0.0) == pytest.approx(2e-4)
    assert allowed("fp32", reference, 1.0) == 2.0
    assert allowed("int8", reference, 0.0) == pytest.approx(0.1)


def test_an_artefact_without_golden_data_is_refused(tmp_path: Path) -> None:
    made = artifact(tmp_path / "a")
    (made.root / GOLDEN).unlink()
    exported = save_exported(made.root, made, None)
    with pytest.raises(UsageError, match="golden"):
        write_facts(exported, "x", "model", tmp_path / "out")
