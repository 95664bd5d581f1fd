import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans

from edgesmith.errors import UsageError
from edgesmith.export.palette import palette


def error(values, table, indices) -> float:
    return float(np.square(np.asarray(values, np.float64).ravel() - table[indices]).sum())


def best_by_trying(values: np.ndarray, entries: int) -> float:
    """The least error over all ways to cut the sorted values into clusters."""
    ordered = np.sort(values)
    cuts = itertools.combinations(range(1, len(ordered)), entries - 1)
    return min(
        sum(float(np.square(part - part.mean()).sum()) for part in np.split(ordered, list(where))) for where in cuts
    )


@pytest.mark.parametrize("entries", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_no_table_is_better(entries, seed):
    values = np.random.default_rng(seed).normal(size=12) ** 3
    values[3] = values[7]  # equal values are one
    assert error(values, *palette(values, entries)) == pytest.approx(best_by_trying(values, entries), rel=1e-9)


@pytest.mark.parametrize("entries", [4, 16, 256])
def test_it_is_at_least_as_good_as_k_means_from_random_starts(entries):
    values = np.random.default_rng(1).laplace(0, 0.05, 2304).astype(np.float16)
    theirs = KMeans(entries, n_init=1, random_state=0).fit(values.astype(np.float64)[:, None]).inertia_
    assert error(values, *palette(values, entries)) <= theirs


def test_every_value_takes_the_entry_nearest_to_it():
    values = np.random.default_rng(2).normal(size=(8, 3, 5))
    table, indices = palette(values, 16)
    assert np.all(np.diff(table) > 0) and indices.dtype == np.uint8
    distances = np.abs(values.ravel()[:, None] - table)
    np.testing.assert_allclose(distances[np.arange(120), indices], distances.min(1))


def test_few_values_are_kept_exactly():
    values = np.array([0.5, -1.0, 0.5, 2.0])
    table, indices = palette(values, 4)
    assert table.tolist() == [-1.0, 0.5, 2.0, 2.0]
    assert table[indices].tolist() == values.tolist()


def test_numbers_that_are_none_are_refused():
    with pytest.raises(UsageError, match="NaN"):
        palette(np.array([1.0, np.nan]), 2)
