import pytest

from edgesmith.compress.asap.cells import CellSpace
from edgesmith.compress.asap.random_search import best, random_members
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Genotype

SPACE = CellSpace(3, 2, 3, ("sep3", "max3", "skip"))


class TwoNets:
    """A space with two members."""

    def random(self, seed: int) -> Genotype:
        return Genotype("two", {}, {"e": "ab"[seed % 2]})


def test_members_are_different_and_repeat_by_their_seed() -> None:
    found = random_members(SPACE, 5, seed=1)
    assert len({str(member) for member in found}) == 5 and found == random_members(SPACE, 5, seed=1)
    assert found != random_members(SPACE, 5, seed=2)


def test_a_small_space_gives_all_it_has_and_no_more() -> None:
    assert {member.choices["e"] for member in random_members(TwoNets(), 2)} == {"a", "b"}
    with pytest.raises(UsageError, match="about 2"):
        random_members(TwoNets(), 3)


def test_the_best_is_the_one_with_the_highest_score() -> None:
    members = random_members(SPACE, 4)
    skips = {str(m): list(m.choices.values()).count("skip") for m in members}
    found, score = best(members, lambda member: -skips[str(member)])
    assert score == -min(skips.values()) and skips[str(found)] == min(skips.values())
    with pytest.raises(UsageError, match="no networks"):
        best([], lambda member: 0.0)
