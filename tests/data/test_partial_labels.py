import numpy as np
import pytest

from edgesmith.data.partial_labels import fixed_per_class, hidden, random_per_sample
from edgesmith.errors import UsageError

LABELS = (np.random.default_rng(0).random((300, 5)) < [0.5, 0.1, 0.02, 0.9, 0.0]).astype(np.int8)


def test_fixed_per_class_keeps_as_many_of_each_kind() -> None:
    kept = fixed_per_class(LABELS, 20, seed=1)
    for column in range(5):
        for value in (0, 1):
            there = int((LABELS[:, column] == value).sum())
            assert (kept[:, column] == value).sum() == min(20, there)
    assert kept.dtype == np.int8 and (kept[kept >= 0] == LABELS[kept >= 0]).all()
    assert not np.array_equal(kept, fixed_per_class(LABELS, 20, seed=2))


def test_random_per_sample_drops_about_that_share() -> None:
    kept = random_per_sample(LABELS, 0.7, seed=0)
    assert 0.66 < (kept == -1).mean() < 0.74 and kept.dtype == np.int8
    assert (kept[kept >= 0] == LABELS[kept >= 0]).all()


def test_rules_in_words() -> None:
    assert hidden(LABELS, "", 0) is LABELS
    assert np.array_equal(hidden(LABELS, "fpc:20", 1), fixed_per_class(LABELS, 20, 1))
    assert np.array_equal(hidden(LABELS, "rps:0.7", 1), random_per_sample(LABELS, 0.7, 1))
    for rule in ("fpc", "rps:2", "fpc:0", "some:1", "rps:-1"):
        with pytest.raises(UsageError, match="partial labels"):
            hidden(LABELS, rule, 0)
