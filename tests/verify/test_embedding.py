"""The original's threshold and gallery kept: what changes for a candidate, and what a gate makes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgesmith import metrics
from edgesmith.errors import UsageError
from edgesmith.results import Accuracy
from edgesmith.tensors import Arrays
from edgesmith.verify.accuracy import judge
from edgesmith.verify.embedding import Acceptance
from edgesmith.verify.face_pairs import FacePairs
from edgesmith.verify.gate import Limits, gate
from tests.verify.test_verification import PEOPLE, faces


def rows(arrays: Arrays, original: np.ndarray, candidate: np.ndarray) -> dict[str, Accuracy]:
    found = judge("verification", arrays, {"float": original, "int8": candidate}, "float")
    return {row.metric: row for row in found if row.target == "int8"}


def noisy(outputs: np.ndarray, size: float) -> np.ndarray:
    return outputs + size * np.random.default_rng(5).standard_normal(outputs.shape)


def test_an_equal_candidate_keeps_everything_without_certainty() -> None:
    arrays, outputs = faces(noise=0.5)
    found = rows(arrays, outputs, outputs.copy())
    for name in ("tar_kept@1e-3", "tar_mixed@1e-3", "tar_kept@1e-4", "tar_mixed@1e-4"):
        drop = found[name].drop
        assert drop is not None and drop.value == 0 and drop.high is not None and 0 < drop.high < 0.05
    far = found["far_kept@1e-3"]
    assert far.drop is not None and far.drop.value == 0 and far.estimate.value <= 1e-3
    assert far.n == PEOPLE * (PEOPLE - 1) / 2 * 16 and far.extra["threshold_shift"] == 0
    assert found["cosine_p1"].estimate.value == pytest.approx(1) and found["cosine_min"].drop.low == pytest.approx(0)


def test_numbers_by_brute_force() -> None:
    arrays, outputs = faces(noise=0.6)
    candidate = noisy(outputs, 0.4)
    found, person = rows(arrays, outputs, candidate), arrays["person"]
    first, second = metrics.flip_embedding(outputs), metrics.flip_embedding(candidate)
    i, j = (index[person[index_i] != person[index_j]] for index_i, index_j in [np.triu_indices(len(first), 1)]
            for index in (index_i, index_j))  # fmt: skip
    bar = np.sort((first[i] * first[j]).sum(1))[::-1][math.floor(1e-3 * len(i))]
    same = arrays["pairs"][arrays["same"]]
    far, tar = found["far_kept@1e-3"], found["tar_kept@1e-3"]
    assert far.extra["threshold"] == pytest.approx(bar)
    assert far.estimate.value == pytest.approx(((second[i] * second[j]).sum(1) > bar).mean())
    assert tar.estimate.value == pytest.approx(((second[same[:, 0]] * second[same[:, 1]]).sum(1) > bar).mean())
    crossed = np.sort((first[i] * second[j]).sum(1))[::-1][math.floor(1e-3 * len(i))]
    mixed = ((first[same[:, 0]] * second[same[:, 1]]).sum(1) > crossed).mean()
    assert found["tar_mixed@1e-3"].estimate.value == pytest.approx(mixed)
    for row in (far, tar, found["tar_mixed@1e-3"]):
        assert row.estimate.low <= row.estimate.value <= row.estimate.high and row.drop.low <= row.drop.high


def test_a_candidate_that_draws_everything_together_keeps_no_threshold() -> None:
    """Its own accuracy is as good as before: only who keeps the threshold is harmed."""
    arrays, outputs = faces(noise=0.5)
    pulled = np.concatenate([outputs, np.full((len(outputs), 1), 3.0)], 1)  # a part that all pictures share
    original = np.concatenate([outputs, np.zeros((len(outputs), 1))], 1)
    found = rows(arrays, original, pulled)
    assert found["tar_all@1e-3"].drop.value < 0.05 and found["far_kept@1e-3"].extra["threshold_shift"] > 0.05
    far = found["far_kept@1e-3"]
    assert far.drop.low > 0.001 and far.estimate.value > 0.003
    verdicts = gate(
        Limits(drops={"far_kept@1e-3": 0.001, "cosine_min": 0.01}), tuple(found.values()), (), None, ["int8"]
    )
    states = {v.check: v.state for v in verdicts}
    assert states == {"runs": "pass", "drop of far_kept@1e-3": "fail", "drop of cosine_min": "fail"}


def test_permuted_outputs_are_found_by_the_mixed_gallery_only() -> None:
    arrays, outputs = faces(noise=0.3)
    found = rows(arrays, outputs, outputs[:, ::-1])
    assert found["tar_all@1e-3"].drop.value == pytest.approx(0, abs=1e-9)
    assert found["tar_mixed@1e-3"].drop.low > 0.5 and found["cosine_p1"].drop.low > 0.5


def test_a_least_cosine_is_never_passed_a_first_percentile_is_by_enough_samples() -> None:
    arrays, outputs = faces(noise=0.5)
    found = rows(arrays, outputs, noisy(outputs, 0.05))
    verdicts = gate(Limits(drops={"cosine_min": 0.9, "cosine_p1": 0.9}), tuple(found.values()), (), None, ["int8"])
    states = {v.check: v.state for v in verdicts}
    assert states["drop of cosine_min"] == "inconclusive" and states["drop of cosine_p1"] == "inconclusive"  # 240
    values = 1 - 0.001 * np.random.default_rng(0).random(400)
    turned = np.stack([values, np.sqrt(1 - values**2)], 1)
    arrays = {"pairs": np.array([[0, 1], [0, 399]]), "same": np.array([True, False]), "fold": np.arange(2)}
    known = Acceptance(FacePairs.of({**arrays, "person": np.arange(400) // 2}), np.tile([1.0, 0.0], (400, 1)), {})
    p1 = next(row for row in known.rows("int8", turned) if row.metric == "cosine_p1")
    assert p1.drop is not None and p1.drop.high is not None and p1.drop.high <= 0.001


def test_a_rate_far_above_what_was_kept_is_a_lower_bound() -> None:
    person, rng = np.repeat(np.arange(150), 2), np.random.default_rng(0)
    original = metrics.unit(rng.standard_normal((300, 64)))
    arrays = {"pairs": np.array([[0, 1], [0, 2]]), "same": np.array([True, False]), "fold": np.arange(2)}
    known = Acceptance(FacePairs.of({**arrays, "person": person}), original, {"1e-3": 1e-3})
    row = known.rows("int8", np.tile(original[:1], (300, 1)))[2]
    assert row.estimate.high is None and row.estimate.low == row.estimate.value == pytest.approx(10_000 / 44_700)


def test_pairs_of_one_kind_and_one_person_are_refused() -> None:
    arrays, outputs = faces(noise=0.5)
    for kept in (arrays["same"], ~arrays["same"]):
        few = {name: array if name == "person" else array[kept] for name, array in arrays.items()}
        with pytest.raises(UsageError, match="pairs are of"):
            judge("verification", few, {"a": outputs}, "a")
    one = {**arrays, "person": np.zeros_like(arrays["person"]), "same": np.ones_like(arrays["same"])}
    with pytest.raises(UsageError, match="the same person"):
        judge("verification", one, {"a": outputs}, "a")


def test_too_few_impostors_have_no_rate_and_other_lengths_no_cosine() -> None:
    arrays, outputs = faces(noise=0.5)
    keep = arrays["person"] < 103  # three people
    pairs = np.array([[0, 1], [0, 4], [4, 5], [1, 5]])
    few = {
        "pairs": pairs,
        "same": np.array([1, 0, 1, 0], bool),
        "fold": np.arange(4) % 2,
        "person": arrays["person"][keep],
    }
    small = outputs[np.concatenate([keep, keep])]
    found = rows(few, small, small)
    assert found["far_kept@1e-3"].n == 0 and math.isnan(found["tar_mixed@1e-4"].estimate.value)
    assert "cosine" not in rows(arrays, outputs, outputs[:, :8])
