import math
from itertools import product

import pytest
from scipy import stats

from edgesmith.distributions import beta_quantile, beta_share, clopper_pearson, t_quantile


@pytest.mark.parametrize(("a", "b"), list(product([0.01, 0.5, 1.0, 3.3, 500.0], [0.5, 2.0, 700.0])))
def test_beta_is_that_of_scipy(a: float, b: float):
    for share in (0.001, 0.025, 0.5, 0.99):
        x = stats.beta.ppf(share, a, b)
        assert beta_quantile(share, a, b) == pytest.approx(x, rel=1e-9, abs=1e-12)
        assert beta_share(0.3, a, b) == pytest.approx(stats.beta.cdf(0.3, a, b), rel=1e-10)


def test_beta_at_the_edges():
    assert (beta_share(0.0, 2, 3), beta_share(1.0, 2, 3)) == (0.0, 1.0)
    assert (beta_quantile(0.5, 0, 3), beta_quantile(0.5, 3, 0)) == (0.0, 1.0)


@pytest.mark.parametrize("freedom", [1, 2, 9, 19, 300])
def test_t_is_that_of_scipy(freedom: int):
    for share in (0.75, 0.975, 0.9995):
        assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-9)


def test_clopper_pearson_by_hand():
    assert clopper_pearson(0, 300)[1] == pytest.approx(1 - 0.025 ** (1 / 300))
    low, high = clopper_pearson(300, 300)
    assert (high, low) == (1.0, pytest.approx(0.025 ** (1 / 300)))
    assert math.isclose(clopper_pearson(0, 300, 0.9)[1], 1 - 0.05 ** (1 / 300))
