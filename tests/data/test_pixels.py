import numpy as np
import pytest

from edgesmith.data.pixels import store
from edgesmith.errors import DamagedArtifact, UsageError


class Pictures:
    """Three pictures of one value each, and how often they were asked for."""

    def __init__(self, count: int = 3) -> None:
        self.count, self.asked = count, 0

    def __call__(self):
        self.asked += 1
        return (np.full((2, 2, 3), value, np.uint8) for value in range(self.count))


def test_memory_and_cache_hold_the_same(tmp_path) -> None:
    fill = Pictures()
    plain = store(3, (2, 2), fill, "k")
    cached = store(3, (2, 2), fill, "k", tmp_path / "c.npy", memory_gb=0)
    assert np.array_equal(plain, cached) and isinstance(cached, np.memmap) and plain[2, 0, 0].tolist() == [2] * 3


def test_the_cache_is_made_once_a_key_and_stays_as_it_is(tmp_path) -> None:
    fill = Pictures()
    first = store(3, (2, 2), fill, "k", tmp_path / "c.npy")
    first[0] = 99  # the caller's own copy
    again = store(3, (2, 2), fill, "k", tmp_path / "c.npy")
    assert fill.asked == 1 and again[0].max() == 0
    store(3, (2, 2), fill, "other", tmp_path / "c.npy")
    assert fill.asked == 2


def test_a_cache_left_half_done_is_made_again(tmp_path) -> None:
    with pytest.raises(DamagedArtifact, match="only 2"):
        store(3, (2, 2), Pictures(2), "k", tmp_path / "c.npy")
    assert store(3, (2, 2), Pictures(), "k", tmp_path / "c.npy")[2].max() == 2


def test_a_spoilt_cache_is_damaged(tmp_path) -> None:
    store(3, (2, 2), Pictures(), "k", tmp_path / "c.npy")
    with pytest.raises(DamagedArtifact):
        store(4, (2, 2), Pictures(4), "k", tmp_path / "c.npy")
    (tmp_path / "c.npy").write_bytes(b"nothing")
    with pytest.raises(DamagedArtifact):
        store(3, (2, 2), Pictures(), "k", tmp_path / "c.npy")


def test_too_much_for_memory_says_how_much(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"cache=FILE\.npy"):
        store(1000, (100, 100), Pictures(), "k", memory_gb=0.01)
    with pytest.raises(UsageError, match="npy"):
        store(3, (2, 2), Pictures(), "k", tmp_path / "c.bin")
