from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgesmith.data.photo_rows import read_photos
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

NAMES = ("a.png", "b.png", "c.png")


def pictures(folder: Path) -> list[tuple[int, Path | bytes]]:
    for value, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (value, 0, 0)).save(folder / name)
    return [(row, folder / name) for row, name in enumerate(NAMES)]


def test_rows_come_as_they_are_given_and_gaps_are_named(tmp_path) -> None:
    named = pictures(tmp_path)
    found = read_photos(NAMES, lambda: [named[2], named[0]], (4, 4), "key", False, None, 1.0)
    assert found.rows.tolist() == [2, 0] and found.skipped == (1,)
    assert found.images[:, 0, 0, 0].tolist() == [2, 0] and found.images.shape == (2, 4, 4, 3)
    with pytest.raises(DamagedArtifact, match=r"b\.png"):
        read_photos(NAMES, lambda: [named[2], named[0]], (4, 4), "key", True, None, 1.0)


def test_a_cache_that_holds_nothing_readable_says_so_each_time(tmp_path) -> None:
    for _ in range(2):
        with pytest.raises(MissingResource, match="none of 3"):
            read_photos(NAMES, lambda: [(0, b"none")], (4, 4), "key", False, tmp_path / "c.npy", 1.0)


def test_more_than_memory_takes_is_refused_without_a_cache(tmp_path) -> None:
    named = pictures(tmp_path)
    with pytest.raises(UsageError, match=r"cache=FILE\.npy"):
        read_photos(NAMES, lambda: named, (400, 400), "key", False, None, 1e-4)
    found = read_photos(NAMES, lambda: named, (400, 400), "key", False, tmp_path / "c.npy", 1e-4)
    again = read_photos(NAMES, lambda: [], (400, 400), "key", False, tmp_path / "c.npy", 1e-4)  # from the file alone
    assert isinstance(again.images, np.memmap) and np.array_equal(found.images, again.images)
    other = read_photos(NAMES, lambda: named[:1], (400, 400), "other", False, tmp_path / "c.npy", 1e-4)
    assert other.rows.tolist() == [0]
