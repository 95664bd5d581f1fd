"""Histograms that grow: exact, whatever the order and the pieces."""

import numpy as np
import pytest
import torch

from edgesmith.compress.quantize.histogram import Running, bent_histogram
from edgesmith.quant import Histogram


def fed(values: torch.Tensor, pieces: int, bins: int = 64) -> Running:
    """Shape: values (N, rows, L)."""
    running = Running(values.shape[1], bins)
    for piece in values.chunk(pieces):
        running.add(piece, piece.amin((0, 2)), piece.amax((0, 2)))
    return running


def some() -> torch.Tensor:
    torch.manual_seed(0)
    scale = torch.tensor([1.0, 300.0, 1e-6, 0.0]).reshape(1, 4, 1)
    values = torch.randn(40, 4, 25) * scale
    values[:, 1] = values[:, 1].clamp(min=0)
    return values * torch.linspace(0.1, 2, 40).reshape(40, 1, 1)  # so that the range keeps growing


def same(a: Histogram, b: Histogram) -> bool:
    return all(np.array_equal(x, y) for x, y in ((a.width, b.width), (a.first, b.first), (a.counts, b.counts)))


def test_every_value_is_in_the_bin_that_bears_its_size() -> None:
    values = some()
    found = fed(values, 7).finished()
    for row in range(4):
        seen = values[:, row].double().numpy().reshape(-1) / found.width[row]
        wanted = np.sign(seen) * np.ceil(np.abs(seen)) - found.first[row]
        np.testing.assert_array_equal(found.counts[row], np.bincount(wanted.astype(int), minlength=64))
    assert np.log2(found.width) == pytest.approx(np.rint(np.log2(found.width)))


@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_neither_order_nor_pieces_change_a_count(pieces: int) -> None:
    values = some()
    assert same(fed(values, 7).finished(), fed(values.flip(0), pieces).finished())


def test_the_bins_are_the_narrowest_powers_of_two_that_reach() -> None:
    found = fed(some(), 5).finished()
    for row in range(3):
        used = np.flatnonzero(found.counts[row])
        span = used.max() - used.min() + 1
        assert 64 / 2 - 2 <= span <= 64
    assert found.counts[3].sum() == 1000 and found.counts[3, -found.first[3]] == 1000  # zeros have their own bin


def test_a_pass_goes_on_where_it_stopped() -> None:
    values = some()
    first = fed(values[:11], 2)
    low, high = values[:11].amin((0, 2)).numpy(), values[:11].amax((0, 2)).numpy()
    resumed = Running.resumed(first.finished(), low, high)
    for piece in values[11:].split(6):
        resumed.add(piece, piece.amin((0, 2)), piece.amax((0, 2)))
    assert same(resumed.finished(), fed(values, 40).finished())


@pytest.mark.parametrize(("above", "below"), [(-2.0, -2.0), (1.0, 0.0), (1.0, 0.25), (1.0, -0.5), (0.0, -1.5)])
def test_a_bent_histogram_is_that_of_the_bent_values(above: float, below: float) -> None:
    values = torch.randn(50, 2, 40, generator=torch.Generator().manual_seed(1))
    bent = bent_histogram(fed(values, 5).finished(), np.array([above]), np.array([below]))
    seen = torch.where(values > 0, values * above, values * below).numpy()
    for row in range(2):
        edges = (np.arange(64) + bent.first[row]) * bent.width[row]
        up_to = np.cumsum(bent.counts[row])
        exact = [(seen[:, row] <= edge + 1e-6).sum() for edge in edges]
        within = [((seen[:, row] > e - bent.width[row]) & (seen[:, row] <= e + bent.width[row])).sum() for e in edges]
        assert (np.abs(up_to - exact) <= np.array(within) + 1).all()
        assert bent.counts[row].sum() == 2000
