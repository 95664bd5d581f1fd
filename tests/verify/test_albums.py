from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from edgesmith.verify.accuracy import headline, judge_all
from edgesmith.verify.albums import rank_correlation


def outputs(count: int, photos: int, seed: int, noise: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    logits = np.eye(4)[labels] + noise * rng.standard_normal((count, 4))
    return {"logits": logits, "importance": np.linspace(1, 0, photos) + noise * rng.standard_normal((count, photos))}


def arrays(count: int, photos: int) -> dict[str, np.ndarray]:
    mask = np.ones((count, photos), np.uint8)
    mask[::4, -2:] = 0
    truth = np.tile(np.linspace(1, 0, photos, dtype=np.float32), (count, 1))
    truth[mask == 0] = np.nan
    return {"labels": np.arange(count) % 3, "mask": mask, "importance": truth}


def test_events_importance_and_its_ranks_are_judged_in_one_go() -> None:
    given = {"torch": outputs(60, 8, 0, 0.01), "int8": outputs(60, 8, 1, 0.6)}
    rows = {(row.target, row.metric): row for row in judge_all("albums", arrays(60, 8), given, "torch")}
    assert rows["torch", "top1"].estimate.value == rows["torch", "mAP"].estimate.value == 1
    assert rows["torch", "mAP"].extra["classes_skipped"] == 1  # the fourth event has no album
    assert rows["torch", "importance MAP@20%"].estimate.value == 1 and rows["torch", "top1"].drop is None
    worse = rows["int8", "importance MAP@20%"]
    assert worse.drop.value > 0.2 and worse.drop.low <= worse.drop.value <= worse.drop.high and worse.n == 60
    assert {"MAP@5%", "P@30%"} <= set(worse.extra)
    assert 0 < rows["int8", "importance rank"].estimate.value < 0.9
    assert ("torch", "importance rank") not in rows and headline("albums") == "top1"


def test_the_same_answers_have_no_drop_but_an_interval() -> None:
    own = outputs(40, 6, 0, 0.2)
    rows = {(row.target, row.metric): row for row in judge_all("albums", arrays(40, 6), {"a": own, "b": own}, "a")}
    drop = rows["b", "importance MAP@20%"].drop
    assert drop.value == 0 and drop.low < 0 < drop.high
    assert rows["b", "importance rank"].estimate.value == pytest.approx(1)


def test_several_events_are_judged_by_map() -> None:
    labels = (np.eye(4)[np.arange(30) % 3] + np.eye(4)[np.arange(30) % 2]).clip(0, 1).astype(np.int8)
    given = {"torch": outputs(30, 5, 0, 0.01)}
    rows = judge_all("albums-multilabel", {**arrays(30, 5), "labels": labels}, given, "torch")
    assert [row.metric for row in rows] == ["mAP", "importance MAP@20%"] and headline("albums-multilabel") == "mAP"


def test_without_peoples_scores_only_the_ranks_are_compared() -> None:
    given = {"a": outputs(20, 5, 0, 0.1), "b": outputs(20, 5, 1, 0.1)}
    known = {key: value for key, value in arrays(20, 5).items() if key != "importance"}
    rows = judge_all("albums", known, given, "a")
    assert [row.metric for row in rows if "importance" in row.metric] == ["importance rank"]


def test_a_single_photo_ranks_nothing_and_nan_is_no_evidence() -> None:
    known = arrays(20, 5)
    known["mask"][:, 1:] = 0
    given = {"a": outputs(20, 5, 0, 0.1), "b": outputs(20, 5, 1, 0.1)}
    rows = [row for row in judge_all("albums", known, given, "a") if "importance" in row.metric]
    assert all(row.n == 0 and math.isnan(row.estimate.value) for row in rows) and rows
    broken = {**given["b"], "importance": np.full((20, 5), np.nan)}
    rows = judge_all("albums", arrays(20, 5), {"a": given["a"], "b": broken}, "a")
    assert all(row.n == 0 and row.extra["non_finite"] == 20
               for row in rows if row.target == "b" and "importance" in row.metric)  # fmt: skip


def test_a_model_without_a_second_output_is_judged_by_its_first() -> None:
    given = {"a": {"logits": outputs(20, 5, 0, 0.1)["logits"]}}
    assert {row.metric for row in judge_all("albums", arrays(20, 5), given, "a")} == {"top1", "mAP"}


def test_rank_correlation_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _turn in range(20):
        a, b = rng.integers(0, 4, 9), rng.standard_normal(9)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert math.isnan(rank_correlation(np.ones(3), np.arange(3))) and math.isnan(rank_correlation(a[:1], b[:1]))
