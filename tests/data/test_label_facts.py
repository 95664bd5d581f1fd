import numpy as np
import pytest

from edgesmith.data.label_facts import Facts, table
from edgesmith.errors import DamagedArtifact, UsageError

IMAGES = ("a.jpg", "b.jpg", "c.jpg")


def facts(found, classes=("cat", "dog"), rest=0, images=IMAGES) -> Facts:
    return Facts("some.file", images, classes, found, rest)


def test_what_is_said_and_the_rest() -> None:
    found = table(facts([(0, "cat", 1), (2, "dog", 1), (2, "cat", -1)]))
    assert found.labels.dtype == np.int8 and found.labels.tolist() == [[1, 0], [0, 0], [-1, 1]]
    partial = table(facts([(0, "cat", 1), (1, "dog", 0)], rest=-1))
    assert partial.labels.tolist() == [[1, -1], [-1, 0], [-1, -1]]
    mixed = table(facts([(0, "cat", 1)], rest=[0, -1, 0]))
    assert mixed.labels.tolist() == [[1, 0], [-1, -1], [0, 0]]


@pytest.mark.parametrize("turn", [1, -1])
def test_the_larger_of_two_contradicting_values_counts(turn) -> None:
    said = [(0, "cat", 1), (0, "cat", 0), (1, "dog", 0), (1, "dog", -1)][::turn]
    assert table(facts(said, rest=-1)).labels.tolist() == [[1, -1], [-1, 0], [-1, -1]]


def test_classes_that_are_not_listed_are_found_and_sorted() -> None:
    found = table(facts([(0, "dog", 1), (1, "cat", 1)], classes=()))
    assert found.classes == ("cat", "dog") and found.labels[0].tolist() == [0, 1]


def test_chosen_classes_and_their_order() -> None:
    said = [(0, "cat", 1), (1, "dog", 1), (2, "eel", 1)]
    found = table(facts(said, ("cat", "dog", "eel")), classes=["eel", "cat"])
    assert found.classes == ("eel", "cat") and found.labels.tolist() == [[0, 1], [0, 0], [1, 0]]
    with pytest.raises(UsageError, match=r"classes it does not have: .'cow'"):
        table(facts(said, ("cat", "dog", "eel")), classes=["cow"])
    assert table(facts(said, ()), classes=["cow", "dog"]).labels[:, 0].tolist() == [0, 0, 0]


def test_another_part_must_have_the_classes_of_the_training_part() -> None:
    found = table(facts([(0, "dog", 1)], ()), known=("cat", "dog"))
    assert found.classes == ("cat", "dog") and found.labels[0].tolist() == [0, 1]
    with pytest.raises(UsageError, match=r"training part does not have: .'eel'"):
        table(facts([(0, "eel", 1)], ()), known=("cat", "dog"))
    with pytest.raises(UsageError, match=r"does not have: .'dog'"):
        table(facts([], ("cat",)), known=("cat", "dog"))


def test_wrong_values_and_doubled_names() -> None:
    with pytest.raises(DamagedArtifact, match=r"values \[2\]"):
        table(facts([(0, "cat", 2)]))
    with pytest.raises(UsageError, match=r"image 'a.jpg' comes twice"):
        table(facts([], images=("a.jpg", "a.jpg")))
    with pytest.raises(UsageError, match=r"class 'cat' comes twice"):
        table(facts([], ("cat", "cat")))
    with pytest.raises(UsageError, match=r"no class"):
        table(facts([], ()))


def test_a_table_that_memory_cannot_hold_is_refused_before_it_is_made(monkeypatch) -> None:
    monkeypatch.setattr("edgesmith.data.label_facts.LARGEST_TABLE", 5)
    with pytest.raises(UsageError, match=r"3 images x 2 classes"):
        table(facts([(0, "cat", 1)]))
