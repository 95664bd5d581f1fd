import numpy as np
import pytest
import torch

from edgesmith.compress.class_prior import FOLDER, class_prior, prior_of
from edgesmith.compress.csl import csl
from edgesmith.compress.task import Batch, Parts
from edgesmith.errors import UsageError
from tests.compress.multilabels import CLASSES, scenes, tensors
from tests.compress.training import net, trained


def test_it_is_the_mean_probability_and_leaves_the_mode_as_it_was() -> None:
    asked, other = net(classes=CLASSES).train(), torch.randn(10, 3, 16, 16)
    found = class_prior(asked, [Batch((other[:7],), None), Batch((other[7:],), None)])
    assert asked.training and torch.allclose(found, asked.eval()(other).sigmoid().mean(0))
    with pytest.raises(UsageError, match="no samples"):
        class_prior(asked, [])


def task_of(prior):
    return csl(Parts(net(classes=CLASSES), None, CLASSES, prior=prior), eta=0.5, top_k=0)


def test_it_is_estimated_once_without_augmentation_and_kept(tmp_path, monkeypatch) -> None:
    split, prior = scenes(hide=0.5), net(classes=CLASSES, seed=5)
    first = task_of(prior)
    trained(first, tmp_path / "one", split, epochs=1, augment="flip+shift")
    (kept,) = (tmp_path / FOLDER).iterdir()
    expected = prior.eval()(tensors(split)).sigmoid().mean(0).detach().numpy()
    assert np.allclose(np.load(kept / "prior.npy"), expected, atol=1e-6)
    assert torch.equal(first.loss.rare, torch.from_numpy(np.load(kept / "prior.npy") <= 0.5).float())
    asked = []
    prior.register_forward_hook(lambda *call: asked.append(call))
    trained(task_of(prior), tmp_path / "two", split, epochs=1)
    assert asked == []  # read back
    trained(task_of(prior), tmp_path / "three", scenes(seed=3), epochs=1)
    assert len(asked) == 1 and len(list((tmp_path / FOLDER).iterdir())) == 2  # other samples, another prior


def test_a_damaged_prior_is_estimated_again(tmp_path) -> None:
    split, prior = scenes(hide=0.5), net(classes=CLASSES, seed=5)
    trained(task_of(prior), tmp_path / "one", split, epochs=1)
    (kept,) = (tmp_path / FOLDER).iterdir()
    before = np.load(kept / "prior.npy")
    np.save(kept / "prior.npy", before * 0)
    trained(task_of(prior), tmp_path / "two", split, epochs=1)
    assert np.array_equal(np.load(kept / "prior.npy"), before)


def test_the_source_of_a_prior_is_every_sample_in_order(tmp_path) -> None:
    class Counting:
        count, digest, folder, device = 3, "d", tmp_path, torch.device("cpu")

        def in_order(self):
            yield Batch((torch.zeros(3, 3, 16, 16),), None)

    found = prior_of(net(classes=2).eval(), Counting())
    assert found.shape == (2,) and torch.equal(found, prior_of(net(classes=2).eval(), Counting()))
