import math

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from edgesmith import metrics
from edgesmith.data.template_lists import TemplateLists
from edgesmith.errors import UsageError
from edgesmith.verify.templates import Flags, curve, judge, pair_scores, pool

HALF = math.sqrt(0.5)


def lists_of(template, media, detector=None, pairs=((1, 1),), same=(True,)) -> TemplateLists:
    count = len(template)
    scores = np.ones(count) if detector is None else np.array(detector, float)
    return TemplateLists(
        tuple(f"{index}.jpg" for index in range(count)), np.zeros((count, 5, 2)), scores,
        np.array(template), np.array(media), np.array(pairs), np.array(same, bool),
    )  # fmt: skip


def outputs(plain, mirrored=None) -> np.ndarray:
    return np.array([*plain, *(mirrored if mirrored is not None else [[0, 0]] * len(plain))], float)


def test_frames_of_a_medium_are_averaged_and_media_summed() -> None:
    # Template 4: a video of (6, 0), (0, 0), (0, 3) with mean (2, 1), and a picture (0, 3): (2, 4). Template 2: (3, 4).
    lists = lists_of([4, 2, 4, 4, 4], [10, 10, 10, 10, 11])
    pooled = pool(outputs([(6, 0), (3, 4), (0, 0), (0, 3), (0, 3)]), lists)
    assert pooled.ids.tolist() == [2, 4]
    assert np.allclose(pooled.vectors, [[0.6, 0.8], [1 / math.sqrt(5), 2 / math.sqrt(5)]])


def test_each_flag_by_hand() -> None:
    # Two pictures of one template: (4, 0) with mirror (0, 2) and score 0.5; (0, 1) with mirror (0, 1) and score 1.
    lists = lists_of([1, 1], [10, 11], [0.5, 1.0])
    made = outputs([(4, 0), (0, 1)], [(0, 2), (0, 1)])
    expected = {
        (True, True, True): (0.5 * 4, 0.5 * 2 + 2),
        (True, True, False): (0.5 * 4, 1),
        (True, False, True): (4, 2 + 2),
        (True, False, False): (4, 1),
        (False, True, True): (0.5 * 4 / math.sqrt(20), 0.5 * 2 / math.sqrt(20) + 1),
        (False, True, False): (0.5, 1),
        (False, False, False): (1, 1),
    }
    for flags, vector in expected.items():
        found = pool(made, lists, Flags(*flags)).vectors[0]
        assert np.allclose(found, np.array(vector) / np.linalg.norm(vector)), flags
    assert str(Flags()) == "N1D1F1" and str(Flags(norm=False, flip=False)) == "N0D1F0"


def official(made: np.ndarray, lists: TemplateLists) -> np.ndarray:
    """The protocol in plain loops."""
    features = (made[: len(made) // 2] + made[len(made) // 2 :]) * lists.detector[:, None]
    vectors = []
    for template in np.unique(lists.template):
        inside = lists.template == template
        means = [features[inside & (lists.media == medium)].mean(0) for medium in np.unique(lists.media[inside])]
        vectors.append(np.sum(means, 0) / np.linalg.norm(np.sum(means, 0)))
    return np.array(vectors)


@pytest.mark.parametrize("block", [1, 3, 7, 8192])
def test_blocks_change_nothing(block) -> None:
    rng = np.random.default_rng(1)
    template, media = rng.integers(0, 6, 40), rng.integers(0, 3, 40)
    lists = lists_of(template, media, rng.random(40))
    made = rng.standard_normal((80, 5))
    pooled = pool(made, lists, block=block)
    assert np.allclose(pooled.vectors, official(made, lists))
    pairs = pooled.ids[rng.integers(0, len(pooled.ids), (17, 2))]
    by_id = dict(zip(pooled.ids, pooled.vectors))
    expected = [by_id[first] @ by_id[second] for first, second in pairs]
    assert np.allclose(pair_scores(pooled, pairs, block=block), expected)


def angles(degrees) -> np.ndarray:
    return outputs([(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in degrees])


# Template t has one face at this angle; every pair is with template 0, so its score is the cosine of the angle.
ANGLES = (0, 10, 40, 60, 20, 30, 50, 70, 80, 90)
GENUINE = {1: True, 2: True, 3: True}
MADE = lists_of(
    range(10), range(10), pairs=[(0, t) for t in range(1, 10)], same=[GENUINE.get(t, False) for t in range(1, 10)]
)


def test_rates_by_hand() -> None:
    # Genuine at 10, 40, 60 degrees; six impostors at 20, 30, 50, 70, 80, 90. At most 1 of 6 false accepts (FAR 0.2):
    # accept above the second impostor (30 degrees): 10 degrees alone, TAR 1/3, FAR 1/6. The official reading thins the
    # curve first: (1/6, 1/3) lies on a straight stretch and is gone, so the point nearest to 0.2 is 2 of 6: 10 and 40
    # degrees, TAR 2/3, at a rate that is exceeded.
    rows = {row.metric: row for row in judge(MADE, {"a": angles(ANGLES)}, "a", fars=(0.01, 0.2, 0.3, 0.5))}
    assert rows["template_tar@1e-2"].n == 0 and math.isnan(rows["template_tar@1e-2"].estimate.value)
    found = rows["template_tar@2e-1"]
    assert found.estimate.value == pytest.approx(1 / 3) and found.extra["far"] == pytest.approx(1 / 6)
    assert found.n == 3 and found.extra["nearest_tar"] == pytest.approx(2 / 3)
    assert math.cos(math.radians(30)) < found.extra["threshold"] <= math.cos(math.radians(20))
    found = rows["template_tar@3e-1"]
    assert found.estimate.value == pytest.approx(1 / 3) and found.extra["far"] <= 0.3
    assert found.extra["nearest_tar"] == pytest.approx(2 / 3) and found.extra["nearest_far"] == pytest.approx(1 / 3)
    found = rows["template_tar@5e-1"]  # 3 of 6: above 70 degrees all three
    assert found.estimate.value == 1.0 and found.estimate.low < 1.0 and found.drop is None
    assert (found.extra["norm"], found.extra["detector"], found.extra["flip"]) == (1.0, 1.0, 1.0)


def test_a_worse_target_has_a_drop() -> None:
    worse = angles((0, 75, 85, 60, 20, 30, 50, 70, 80, 90))
    made = {"worse": worse, "a": angles(ANGLES)}
    rows = [row for row in judge(MADE, made, "a", fars=(0.5,), draws=50)]
    assert [row.target for row in rows] == ["worse", "a"]
    assert rows[0].drop.value == pytest.approx(2 / 3) and rows[0].drop.low <= 2 / 3 <= rows[0].drop.high
    same = judge(MADE, {"a": made["a"], "b": made["a"]}, "a", fars=(0.5,), draws=50)[1]
    assert same.drop.value == 0.0 and same.drop.low < 0 < same.drop.high  # three pairs prove nothing


def test_the_curve_and_its_nearest_point_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    for size in (3, 20, 300):
        same = rng.random(size) < 0.3
        same[:2] = True, False
        scores = np.round(rng.standard_normal(size) + same, 1)  # with ties
        found = curve(scores, same)
        far, tar, thresholds = roc_curve(same, scores)
        assert np.allclose(found.far, far) and np.allclose(found.tar, tar)
        assert np.allclose(found.thresholds[1:], thresholds[1:])
        for wanted in (1e-3, 0.01, 0.1, 0.5):
            flipped_far, flipped_tar = np.flipud(far), np.flipud(tar)
            _, index = min(zip(abs(flipped_far - wanted), range(len(far))))
            assert found.nearest(wanted).tar == pytest.approx(flipped_tar[index])
            impostors = metrics.impostors_of(scores[~same], *np.zeros((2, (~same).sum()), int))
            assert metrics.tar_at_far(scores[same], impostors, wanted).far <= wanted


def test_what_does_not_fit_is_refused() -> None:
    made = angles(ANGLES)
    with pytest.raises(UsageError, match="mirror images"):
        pool(made[:-1], MADE)
    with pytest.raises(UsageError, match="NaN"):
        pool(np.where(made == 1, np.nan, made), MADE)
    with pytest.raises(UsageError, match="no faces"):
        pair_scores(pool(made, MADE), np.array([[0, 99]]))
    with pytest.raises(UsageError, match="reference"):
        judge(MADE, {"a": made}, "b")
    with pytest.raises(UsageError, match="one kind"):
        judge(lists_of([1], [1]), {"a": outputs([(1, 0)])}, "a")
