import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgesmith.compress.augment import AUGMENTS, augmented, cutout, mirrors, randaugment
from edgesmith.compress.fit import fit
from edgesmith.compress.task import plain
from tests.compress.training import CONFIG, PREPROCESSING, images, parts

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 16, 12, 3)).astype(np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_combination_has_one_name() -> None:
    parts = ("flip", "shift", "randaugment", "cutout")
    names = ["+".join(chosen) for size in range(1, 5) for chosen in itertools.combinations(parts, size)]
    assert sorted(AUGMENTS) == sorted([*names, "none"])


def test_flip_mirrors_some_pictures_and_leaves_the_others() -> None:
    images = torch.from_numpy(IMAGES)
    chosen = mirrors(9, "flip", torch.Generator().manual_seed(0))
    moved = augmented(images, "flip", chosen, torch.Generator())
    mirrored = [torch.equal(a, b.flip(1)) for a, b in zip(moved, images)]
    kept = [torch.equal(a, b) for a, b in zip(moved, images)]
    assert all(m != k for m, k in zip(mirrored, kept)) and 0 < sum(mirrored) < 9
    assert mirrored == chosen.tolist()


def test_shift_moves_by_at_most_two_sixteenths_and_repeats_the_border() -> None:
    rows = torch.arange(16, dtype=torch.uint8)[:, None].expand(16, 16)
    image = torch.stack([rows, rows.T, rows], -1).repeat(64, 1, 1, 1)
    moved = augmented(image, "shift", torch.zeros(64, dtype=torch.bool), torch.Generator().manual_seed(0)).int()
    dy, dx = moved[:, 8, 8, 0] - 8, moved[:, 8, 8, 1] - 8
    assert set(dy.tolist()) == set(dx.tolist()) == {-2, -1, 0, 1, 2}
    expected = (torch.arange(16) + dy[:, None]).clamp(0, 15)
    assert torch.equal(moved[:, :, 0, 0], expected.int())


def test_flip_and_shift_together_are_a_mirror_image_moved() -> None:
    columns = torch.arange(16, dtype=torch.uint8).expand(16, 16)[..., None].expand(16, 16, 3)
    chosen = mirrors(64, "flip+shift", torch.Generator().manual_seed(1))
    moved = augmented(columns.repeat(64, 1, 1, 1), "flip+shift", chosen, torch.Generator().manual_seed(0)).int()
    steps = moved[:, 0, 8, 0] - moved[:, 0, 7, 0]
    assert set(steps.tolist()) == {-1, 1}


def test_cutout_is_one_rectangle_of_one_colour() -> None:
    images = torch.full((200, 16, 12, 3), 255, dtype=torch.uint8)
    images[..., 0] = 0  # cyan: a random colour is very likely another one
    changed = cutout(images, generator())
    different = (changed != images).any(-1)
    sizes = set()
    for index in different.flatten(1).any(1).nonzero().flatten().tolist():
        rows, columns = different[index].any(1), different[index].any(0)
        assert torch.equal(different[index], rows[:, None] & columns[None, :])
        assert len(changed[index][different[index]].unique(dim=0)) == 1
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert max(sizes) == (8, 6) and min(sizes) >= (4, 3)  # at the border a part of it lies outside
    colours = changed[different].unique(dim=0)
    assert len(colours) > 150 and (images[0] == torch.tensor([0, 255, 255])).all()


def test_randaugment_changes_groups_by_their_own_operations() -> None:
    images = torch.from_numpy(IMAGES[:1]).repeat(64, 1, 1, 1)
    changed = randaugment(images, generator())
    assert changed.dtype == torch.uint8 and changed.shape == images.shape
    groups = {group[0].numpy().tobytes() for group in changed.split(8)}
    assert len(groups) >= 6
    assert (changed.float() - images.float()).abs().mean() > 5


def test_the_generator_alone_decides() -> None:
    images, chosen = torch.from_numpy(IMAGES), torch.zeros(9, dtype=torch.bool)
    for name in AUGMENTS:
        torch.manual_seed(1)
        first = augmented(images, name, chosen, generator(5))
        state = torch.random.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(first, augmented(images, name, chosen, generator(5)))
        torch.manual_seed(1)
        assert torch.equal(state, torch.random.get_rng_state())  # the caller's own numbers are untouched
        assert name in ("none", "flip") or not torch.equal(first, augmented(images, name, chosen, generator(6)))


class Killed(Exception):
    """What stops the first training."""


def test_a_training_that_was_interrupted_ends_the_same(tmp_path) -> None:
    def weights(folder, stop: int = 0) -> dict[str, torch.Tensor]:
        def report(epoch) -> None:
            if epoch.epoch == stop:
                raise Killed

        task = plain(parts())
        changed = replace(CONFIG, augment="flip+shift+randaugment+cutout")
        fit(task, images(), PREPROCESSING, changed, folder, report)
        return task.deployable().state_dict()

    expected = weights(tmp_path / "whole")
    with pytest.raises(Killed):
        weights(tmp_path / "broken", stop=1)
    found = weights(tmp_path / "broken")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
