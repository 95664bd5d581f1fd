import numpy as np
import pytest

from edgesmith.errors import EngineFailed
from tests.runtimes.mil.programs import mb, run, run_op


def made(name, **given):
    """An operation whose inputs are all known: a program needs one input all the same."""
    return run(lambda x: (mb.identity(x=x), getattr(mb, name)(**given)), {"x": np.zeros(1, np.float32)})[1]


@pytest.mark.parametrize("value", [np.float32(1.5), np.int32(-2), True])
def test_fill(value):
    shape = np.array([2, 3], np.int32)
    (found,) = run_op("fill", {"shape": shape}, value=value)
    np.testing.assert_array_equal(found, np.full((2, 3), value))
    assert found.dtype == np.asarray(value).dtype
    (like,) = run_op("fill_like", {"ref_tensor": np.zeros((4, 1), np.int32)}, "ios16", value=value)
    np.testing.assert_array_equal(like, np.full((4, 1), value))


def test_a_huge_shape_is_refused():
    with pytest.raises(EngineFailed, match="make a tensor"):
        run_op("fill", {"shape": np.array([2**20, 2**20], np.int32)}, value=np.float32(0))
    with pytest.raises(EngineFailed, match="make a tensor"):
        run_op("random_uniform", {"shape": np.array([-1, 2], np.int32)})
    with pytest.raises(EngineFailed, match="make a tensor"):
        body = lambda end: mb.range_1d(start=np.int32(0), end=mb.squeeze(x=end), step=np.int32(1))  # noqa: E731
        run(body, {"end": np.array([2**31 - 1], np.int32)})


RANGES = [(0, 5, 1), (2, 11, 3), (5, 0, -2), (-3, -3, 1), (0.5, 2.0, 0.25), (1.0, -1.0, -0.5), (0.0, 1.0, 0.3)]


@pytest.mark.parametrize(("start", "end", "step"), RANGES)
def test_range(start, end, step):
    for dtype in ("int32", "float32") if all(isinstance(n, int) for n in (start, end, step)) else ("float32",):
        numbers = [np.array(n, dtype) for n in (start, end, step)]
        expected = np.arange(*numbers, dtype=dtype)
        feed = {"end": numbers[1].reshape(1)}

        def body(end, first=numbers[0], step=numbers[2]):
            return mb.range_1d(start=first[()], end=mb.squeeze(x=end), step=step[()])

        (found,) = run(body, feed)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert found.dtype == dtype


@pytest.mark.parametrize("axis", [-1, 0, 1, 2, -2])
def test_one_hot(axis):
    indices = np.array([[0, 2, 4], [3, 1, 0]], np.int32)
    expected = np.moveaxis(np.eye(5)[indices], -1, axis)
    (found,) = run_op("one_hot", {"indices": indices}, one_hot_vector_size=5, axis=axis)
    np.testing.assert_array_equal(found, expected)
    (found,) = run_op(
        "one_hot", {"indices": indices}, one_hot_vector_size=5, axis=axis, on_value=np.int32(7), off_value=np.int32(-7)
    )
    np.testing.assert_array_equal(found, np.where(expected, 7, -7))


def test_one_hot_of_an_index_outside_has_no_place():
    (found,) = run_op("one_hot", {"indices": np.array([3, -1], np.int32)}, one_hot_vector_size=3)
    np.testing.assert_array_equal(found, np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_non_zero(dtype):
    x = np.array([[0, 1, 0], [2, 0, 3]]).astype(dtype)
    np.testing.assert_array_equal(run_op("non_zero", {"x": x})[0], np.argwhere(x))


N = 20_000


def draws(name, seed=7, **given):
    return made(name, shape=[N], seed=seed, **given)


def test_uniform_numbers_have_their_distribution():
    found = draws("random_uniform", low=-1.0, high=3.0)
    assert found.min() >= -1
    assert found.max() < 3
    counts, _ = np.histogram(found, 8, (-1, 3))
    # Chi-square with 7 degrees of freedom: 24.3 is passed once in a thousand.
    assert ((counts - N / 8) ** 2 / (N / 8)).sum() < 24.3


def test_normal_numbers_have_their_distribution():
    found = draws("random_normal", mean=2.0, stddev=0.5)
    assert abs(found.mean() - 2) < 4 * 0.5 / N**0.5
    assert abs(found.std() - 0.5) < 4 * 0.5 / (2 * N) ** 0.5
    assert abs((np.abs(found - 2) < 0.5).mean() - 0.6827) < 4 * (0.6827 * 0.3173 / N) ** 0.5


@pytest.mark.parametrize("prob", [0.2, 0.5])
def test_bernoulli_numbers_have_their_distribution(prob):
    found = draws("random_bernoulli", prob=prob)
    assert set(np.unique(found)) == {0, 1}
    assert abs(found.mean() - prob) < 4 * (prob * (1 - prob) / N) ** 0.5


@pytest.mark.parametrize("how", ["logits", "probs"])
def test_categories_have_their_distribution(how):
    shares = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]], np.float32)
    x = np.log(shares + 1e-30) if how == "logits" else shares
    (found,) = run(lambda x: mb.random_categorical(x=x, mode=how, size=N, seed=3), {"x": x.astype(np.float32)})
    assert found.shape == (2, N)
    for row, share in zip(found, shares):
        counts = np.array([(row == category).mean() for category in range(3)])
        assert (np.abs(counts - share) <= 4 * np.sqrt(share * (1 - share) / N)).all()


@pytest.mark.parametrize("name", ["random_uniform", "random_normal", "random_bernoulli"])
def test_a_seed_repeats_the_numbers(name):
    np.testing.assert_array_equal(draws(name), draws(name))
    assert (draws(name) != draws(name, seed=8)).any()
    assert (draws(name, seed=-1) != draws(name, seed=-1)).any(), "without a seed every run draws new ones"
