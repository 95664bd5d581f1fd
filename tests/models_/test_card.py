import pytest

from edgesmith.errors import UsageError
from edgesmith.models.card import image_card, image_size
from edgesmith.tensors import Preprocessing, TensorSpec

GRAY = Preprocessing((8, 6), (0.5,), (0.5,), "gray")


def test_a_net_with_classes_gives_logits() -> None:
    card = image_card("net", GRAY, embedding=16, classes=2, labels=("cat", "dog"))
    assert card.inputs == (TensorSpec("image", (1, 1, 8, 6)),)
    assert card.outputs == (TensorSpec("logits", (1, 2)),)


def test_a_net_without_classes_gives_an_embedding() -> None:
    assert image_card("net", GRAY, 16, 0).outputs == (TensorSpec("embedding", (1, 16)),)


def test_labels_must_be_as_many_as_classes() -> None:
    with pytest.raises(UsageError, match="one label a class"):
        image_card("net", GRAY, 16, 3, labels=("cat", "dog"))


@pytest.mark.parametrize("size", [7, (7, 7), [7, 7]])
def test_one_number_is_a_square(size) -> None:
    assert image_size(size) == (7, 7)


@pytest.mark.parametrize("size", [0, (1, 2, 3), (4, "5")])
def test_odd_sizes_are_refused(size) -> None:
    with pytest.raises(UsageError):
        image_size(size)
