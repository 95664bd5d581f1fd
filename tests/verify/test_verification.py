import math

import numpy as np
import pytest

from edgesmith import intervals, metrics
from edgesmith.errors import UsageError
from edgesmith.results import Accuracy
from edgesmith.tensors import Arrays
from edgesmith.verify.accuracy import judge
from edgesmith.verify.face_pairs import FacePairs


def by_name(found: tuple[Accuracy, ...]) -> dict[tuple[str, str], Accuracy]:
    return {(row.target, row.metric): row for row in found}


PEOPLE, PER_PERSON, DIM = 60, 4, 16


def faces(noise: float, seed: int = 0) -> tuple[Arrays, np.ndarray]:
    """Gaussian identities: images scatter round their person's direction; 2N rows, plain then mirrored."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(PEOPLE), PER_PERSON)
    centres = rng.standard_normal((PEOPLE, DIM))
    rows = [centres[person] + noise * rng.standard_normal((len(person), DIM)) for _ in range(2)]
    first = np.arange(PEOPLE) * PER_PERSON
    genuine = np.stack([first, first + 1], 1)
    impostor = np.stack([first, np.roll(first, 1) + 2], 1)
    pairs = np.concatenate([genuine, impostor] * 3)
    same = np.tile(np.repeat([True, False], PEOPLE), 3)
    order = rng.permutation(len(pairs))
    arrays = {"pairs": pairs[order], "same": same[order], "fold": np.arange(len(pairs)) % 5, "person": person + 100}
    return arrays, np.concatenate(rows)


def test_verification_of_well_parted_people():
    arrays, outputs = faces(noise=0.05)
    rows = by_name(judge("verification", arrays, {"torch-fp32": outputs, "same": outputs.copy()}, "torch-fp32"))
    for metric in ("accuracy", "tar@1e-2", "tar_all@1e-3", "tar_all@1e-4"):
        assert rows["torch-fp32", metric].estimate.value == 1.0
        assert rows["torch-fp32", metric].drop is None
        drop = rows["same", metric].drop
        assert drop is not None and drop.value == 0.0
        assert 0 < drop.high < 0.05  # 180 pairs: equal answers, but no certainty
    assert rows["torch-fp32", "tar_all@1e-3"].extra["impostor_pairs"] == PEOPLE * (PEOPLE - 1) / 2 * PER_PERSON**2
    assert rows["same", "cosine"].estimate.value == pytest.approx(1.0)
    assert ("torch-fp32", "cosine") not in rows


def test_a_noisier_candidate_drops_and_the_interval_says_so():
    arrays, outputs = faces(noise=0.6)
    worse = outputs + 1.5 * np.random.default_rng(5).standard_normal(outputs.shape)
    rows = by_name(judge("verification", arrays, {"a": outputs, "b": worse}, "a"))
    row = rows["b", "tar_all@1e-3"]
    assert row.drop is not None and row.drop.low > 0
    assert row.drop.value == pytest.approx(rows["a", "tar_all@1e-3"].estimate.value - row.estimate.value)
    assert row.estimate.low <= row.estimate.value <= row.estimate.high
    assert rows["b", "accuracy"].extra["fold_std"] >= 0
    cosine = rows["b", "cosine"]
    assert cosine.extra["min"] <= cosine.extra["p1"] <= cosine.estimate.value < 0.95


def test_a_rate_that_the_pairs_cannot_resolve_has_n_zero():
    arrays, outputs = faces(noise=0.1)
    keep = np.flatnonzero(arrays["same"])[:40].tolist() + np.flatnonzero(~arrays["same"])[:40].tolist()
    few = {name: array if name == "person" else array[keep] for name, array in arrays.items()}
    few["fold"] = np.arange(80) % 2
    rows = by_name(judge("verification", few, {"a": outputs}, "a"))
    assert rows["a", "tar@1e-2"].n == 0  # 1 % of 40 pairs is less than one pair
    assert math.isnan(rows["a", "tar@1e-2"].estimate.value)
    assert rows["a", "tar_all@1e-3"].n == 40


def test_nan_embeddings_are_counted_not_scored():
    arrays, outputs = faces(noise=0.1)
    broken = outputs.copy()
    broken[7] = np.nan
    rows = by_name(judge("verification", arrays, {"a": outputs, "b": broken}, "a"))
    assert rows["b", "accuracy"].extra["non_finite"] == 1.0
    assert math.isnan(rows["b", "accuracy"].estimate.value)
    with pytest.raises(UsageError, match="hold NaN"):
        judge("verification", arrays, {"a": broken}, "a")


def test_the_weight_of_all_pairs_is_known_without_listing_them():
    arrays, outputs = faces(noise=0.5)
    known = FacePairs.of(arrays)
    embedding = metrics.flip_embedding(outputs)
    whole = metrics.cross_person(embedding, known.person, keep=10**6)
    part = metrics.cross_person(embedding, known.person, keep=50)
    drawn = np.random.default_rng(3).multinomial(PEOPLE, [1 / PEOPLE] * PEOPLE).astype(float)
    weights = intervals.pair_weights(drawn, whole.first, whole.second)
    assert len(whole.scores) == whole.total > len(part.scores)
    assert known.weight_of_all(part)(drawn, np.zeros(50)) == pytest.approx(weights.sum())
