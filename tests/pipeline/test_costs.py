import numpy as np
import pytest

from edgesmith.pipeline.costs import fit_costs

MACS = np.array([4.0, 8.0, 6.0, 0.0]) * 1e6  # the last is an identity
TRUE = np.array([0.010, 0.013, 0.020, 0.001])  # not what MACs say


def networks(count: int, layers: int = 8) -> np.ndarray:
    """How often each of four choices stands in random networks of eight layers."""
    draws = np.random.default_rng(0).integers(0, 4, (count, layers))
    return np.stack([(draws == choice).sum(1) for choice in range(4)], 1).astype(float)


def test_an_exact_sum_is_found() -> None:
    counts = networks(30)
    costs = fit_costs(counts, MACS, 0.05 + counts @ TRUE)
    new = networks(40)[30:]
    assert costs.fixed + new @ costs.each == pytest.approx(0.05 + new @ TRUE, rel=1e-3)
    assert costs.left_out_error < 1e-3


def test_noise_is_shrunk_towards_what_macs_explain() -> None:
    """With times that MACs explain but for noise, the fit predicts new networks better than plain least squares."""
    rng, counts, new = np.random.default_rng(1), networks(12), networks(60)[12:]
    simple = np.array([0.004, 0.006, 0.005, 0.0])  # 2e-3 + MACs * 5e-10
    clean = 0.05 + new @ simple
    ours, plain = [], []
    for _ in range(30):
        times = (0.05 + counts @ simple) * (1 + 0.05 * rng.standard_normal(12))
        costs = fit_costs(counts, MACS, times)
        ours.append(np.mean((costs.fixed + new @ costs.each - clean) ** 2))
        rows = np.concatenate([np.ones((12, 1)), counts], 1)
        found = np.linalg.lstsq(rows, times, rcond=None)[0]
        plain.append(np.mean((found[0] + new @ found[1:] - clean) ** 2))
    assert np.mean(ours) < np.mean(plain)


def test_the_error_is_that_of_networks_left_out() -> None:
    """With more choices than networks plain least squares would fit the noise perfectly; this does not claim so."""
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 3, (8, 20)).astype(float)
    times = 0.1 * (1 + 0.2 * rng.standard_normal(8))
    assert fit_costs(counts, rng.random(20) * 1e6, times).left_out_error > 0.05
