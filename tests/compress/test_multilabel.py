import pytest
import torch

from edgesmith.compress.asl import asl
from edgesmith.compress.multilabel import check_multilabels, hit_at_1
from edgesmith.compress.task import Parts
from edgesmith.errors import UsageError
from tests.compress.multilabels import CLASSES, scenes
from tests.compress.training import images, net, trained


def test_a_hit_is_the_highest_annotated_logit_on_a_positive() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    targets = torch.tensor([[1, 0, 0], [-1, 1, 0], [0, 1, 0], [0, 0, -1]])  # hit, hit, miss, no positive
    assert float(hit_at_1(logits, targets)) == pytest.approx(2 / 3)
    assert float(hit_at_1(logits, 0 * targets)) == 0


@pytest.mark.parametrize(
    ("labels", "classes", "found"),
    [
        (torch.zeros(5), 3, "shape (5,)"), (torch.zeros(5, 4), 3, "4 columns"),
        (torch.tensor([[0, 1], [7, 0]]), 2, "7 at (1, 0)"),
    ],
)  # fmt: skip
def test_wrong_labels_are_named(labels, classes, found) -> None:
    with pytest.raises(UsageError) as caught:
        check_multilabels(labels, classes)
    assert found in str(caught.value)


def test_labels_are_looked_at_before_the_first_step(tmp_path) -> None:
    task = asl(Parts(net(classes=CLASSES), None, CLASSES))
    with pytest.raises(UsageError, match="a row an image"):
        trained(task, tmp_path, images())
    spoilt = scenes()
    spoilt.labels[30, 2] = 5
    with pytest.raises(UsageError, match="5"):
        trained(task, tmp_path, spoilt)
    check_multilabels(None, 3)
