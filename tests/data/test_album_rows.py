from __future__ import annotations

import numpy as np
import pytest

from edgesmith.data.album_rows import Albums, album_data, check_album_options, chosen, held_out
from edgesmith.errors import MissingResource, UsageError
from edgesmith.tensors import Preprocessing


def rows(counts: list[int], labels: object = None, size: int = 2) -> Albums:
    """Albums with so many photos; photo p of album a is all a * 16 + p, its importance p."""
    shape = (len(counts), max(counts))
    photos, mask = np.zeros((*shape, size, size, 3), np.uint8), np.zeros(shape, np.uint8)
    importance = np.full(shape, np.nan, np.float32)
    for album, count in enumerate(counts):
        photos[album, :count] = (album * 16 + np.arange(count))[:, None, None, None]
        mask[album, :count], importance[album, :count] = 1, np.arange(count)
    names = tuple(f"a{album}" for album in range(len(counts)))
    return Albums(photos, mask, None if labels is None else np.asarray(labels), importance, names)


def test_uniform_keeps_the_order_and_both_ends() -> None:
    rng = np.random.default_rng(0)
    assert chosen(9, 5, "uniform", rng).tolist() == [0, 2, 4, 6, 8]
    assert chosen(3, 5, "uniform", rng).tolist() == [0, 1, 2]
    assert chosen(1000, 4, "uniform", rng).tolist() == [0, 333, 666, 999]
    assert chosen(7, 1, "uniform", rng).tolist() == [0] and chosen(0, 4, "uniform", rng, repeat=True).tolist() == []


def test_rand_permute_is_a_permutation_and_a_second_one_where_photos_are_repeated() -> None:
    rng = np.random.default_rng(0)
    many = [chosen(1000, 8, "rand_permute", rng) for _ in range(2)]
    assert all(len(set(rows.tolist())) == 8 for rows in many) and not np.array_equal(*many)
    assert sorted(chosen(3, 8, "rand_permute", rng).tolist()) == [0, 1, 2]
    filled = chosen(3, 8, "rand_permute", rng, repeat=True)
    assert sorted(filled[:3]) == sorted(filled[3:6]) == [0, 1, 2] and len(filled) == 8


def test_sampled_albums_keep_photos_mask_and_importance_together() -> None:
    albums = rows([1, 5, 12], [0, 1, 1]).sampled(4, "uniform", 0)
    assert albums.photos.shape == (3, 4, 2, 2, 3) and albums.mask.sum(1).tolist() == [1, 4, 4]
    for album, there in enumerate(albums.mask):
        photo = np.flatnonzero(there)
        assert np.array_equal(albums.photos[album, photo, 0, 0, 0], album * 16 + albums.importance[album, photo])
    assert not albums.photos[0, 1:].any() and np.isnan(albums.importance[0, 1:]).all()
    shown = rows([3], [0]).sampled(7, "rand_permute", 0, repeat=True)
    assert shown.mask.all() and np.isfinite(shown.importance).all()


def test_what_is_asked_depends_on_the_labels() -> None:
    assert rows([2, 3]).evaluation.protocol == "agreement"
    one, several = rows([2, 3], [0, 1]).evaluation, rows([2, 3], [[0, 1], [1, 1]]).evaluation
    assert (one.protocol, several.protocol) == ("albums", "albums-multilabel")
    assert set(one.arrays) == {"labels", "mask", "importance"} and set(one.split.inputs) == {"photos", "mask"}


def test_training_keeps_all_photos_and_the_rest_is_as_the_net_takes_it() -> None:
    train, judged = held_out(rows([6] * 20, np.arange(20) % 2), 0.5, 0)
    assert np.bincount(judged.labels).tolist() == [5, 5] and not set(train.names) & set(judged.names)
    data = album_data("x", train, judged, ("a", "b"), 3, "uniform", 4, 0)
    assert data.train.inputs["photos"].shape[:2] == (10, 6) and data.calibration.inputs["photos"].shape[:2] == (4, 3)
    assert data.evaluation.split.inputs["mask"].shape == (10, 3) and data.preprocessing is None
    other = album_data("x", train, judged, ("a", "b"), 3, "rand_permute", 4, 0)
    assert data.digest != other.digest
    everything, nothing = held_out(rows([2, 2]), 0.0, 0)
    assert nothing is None and album_data("x", everything, None, (), 2, "uniform", 4, 0).train is None


def test_refusals() -> None:
    with pytest.raises(MissingResource, match="no albums"):
        album_data("x", None, None, (), 3, "uniform", 4, 0)
    for wrong in ((Preprocessing((2, 2), (0.0,) * 3, (1.0,) * 3), 3, 4), (None, 0, 4), (None, 5, 4)):
        with pytest.raises(UsageError, match="load albums"):
            check_album_options(*wrong)
