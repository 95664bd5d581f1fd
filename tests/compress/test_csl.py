import pytest
import torch

from edgesmith.compress.csl import SelectiveLoss, csl
from edgesmith.compress.task import Parts
from edgesmith.errors import UsageError
from tests.compress.multilabels import CLASSES, scenes
from tests.compress.training import net, trained


def test_an_image_without_any_annotation() -> None:
    y = torch.tensor([[-1, -1, -1]])
    for mode, adds in (("ignore", False), ("normalized", False), ("negative", True), ("selective", True)):
        z = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)
        SelectiveLoss(mode, eta=None, top_k=1)(z, y).backward()
        assert bool(z.grad.any()) is adds
    assert z.grad[0, 0] == 0  # selective: the likeliest is left out


def test_the_prior_comes_from_an_earlier_net(tmp_path) -> None:
    split = scenes(hide=0.5)
    first = csl(Parts(net(classes=CLASSES), None, CLASSES), mode="ignore", gamma_neg=0.0)
    trained(first, tmp_path / "ignore", split, epochs=1)
    task = csl(Parts(net(classes=CLASSES), None, CLASSES, prior=first.deployable()), eta=0.3, top_k=1)
    result = trained(task, tmp_path / "selective", split)
    assert task.loss.rare.shape == (CLASSES,) and len(result.history) == 2
    assert not any("prior" in name for name in task.deployable().state_dict())


def test_without_a_prior_selective_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="prior_from"):
        csl(Parts(net(classes=CLASSES), None, CLASSES))
    csl(Parts(net(classes=CLASSES), None, CLASSES), eta=None)
    csl(Parts(net(classes=CLASSES), None, CLASSES), mode="negative")


def test_a_prior_of_other_classes_is_refused() -> None:
    z, y = torch.zeros(2, 3), torch.zeros(2, 3)
    with pytest.raises(UsageError, match="4 classes, the logits have 3"):
        SelectiveLoss(prior=torch.rand(4))(z, y)
    for wrong in (torch.rand(2, 3), torch.tensor([0.5, 1.5]), torch.tensor([float("nan")])):
        with pytest.raises(UsageError, match="one share in"):
            SelectiveLoss(prior=wrong)
    with pytest.raises(UsageError, match=r"\(2, 3\), targets \(2, 4\)"):
        SelectiveLoss(eta=None)(z, torch.zeros(2, 4))


@pytest.mark.parametrize("wrong", [{"mode": "some"}, {"over": "all"}, {"top_k": -1}])
def test_wrong_options(wrong) -> None:
    with pytest.raises(UsageError, match="a selective loss"):
        SelectiveLoss(**wrong)
