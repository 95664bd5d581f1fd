"""Golden numbers and properties of ASAP: schedule, weights, when a gap is decisive, sizes of the networks."""

import math

import pytest
import torch

from edgesmith.compress.asap.anneal import Annealing, prune, survivors
from edgesmith.compress.asap.architecture import Architecture
from edgesmith.models.asap_net import GENOTYPES, build
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.models.genotype import Edge

OPERATIONS = tuple("abcdefgh")


def phi(alphas: list[float], temperature: float) -> list[float]:
    made = Architecture([Edge("e", OPERATIONS[: len(alphas)])]).double()
    with torch.no_grad():
        made.alphas["e"].copy_(torch.tensor(alphas, dtype=torch.float64))
        made.temperature.fill_(temperature)
    return made.operation_weights("e").tolist()


@pytest.mark.parametrize(
    ("epoch", "temperature"),
    [(0, 1.60), (9, 1.008), (10, 0.958), (20, 0.574), (30, 0.343), (40, 0.206), (50, 0.123)],
)
def test_the_schedule(epoch, temperature) -> None:
    assert Annealing().temperature(epoch) == pytest.approx(temperature, abs=6e-4)


def test_ten_epochs_of_grace() -> None:
    assert [Annealing().in_grace(epoch) for epoch in range(12)] == [True] * 10 + [False] * 2


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, (0.3616, 0.3272, 0.3112)), (0.5, (0.3907, 0.3199, 0.2894)), (0.2, (0.4810, 0.2918, 0.2272))],
)
def test_the_gibbs_weights(temperature, expected) -> None:
    found = phi([0.10, 0.0, -0.05], temperature)
    assert found == pytest.approx(expected, abs=5e-5)
    assert survivors(found, 0.4) == [0, 1, 2]  # 0.4 / 3 = 0.1333


@pytest.mark.parametrize(("temperature", "gap"), [(1.0, 2.565), (0.5, 1.282), (0.2, 0.513), (0.123, 0.316)])
def test_the_gap_that_decides_for_one_of_eight(temperature, gap) -> None:
    # The winner leaves less than 0.05 to each of the others: exp(-g / T) < 0.05 (1 + 7 exp(-g / T)).
    exact = temperature * math.log((1 - 7 * 0.05) / 0.05)
    assert exact == pytest.approx(gap, abs=1e-3)
    assert survivors(phi([exact + 1e-3] + [0.0] * 7, temperature), 0.4) == [0]
    assert len(survivors(phi([exact - 1e-3] + [0.0] * 7, temperature), 0.4)) == 8


@pytest.mark.parametrize("count", range(1, 9))
def test_equal_weights_are_never_pruned(count) -> None:
    for temperature in (1.6, 0.5, 0.05):
        assert len(survivors(phi([0.3] * count, temperature), 0.4)) == count


@pytest.mark.parametrize("seed", range(5))
def test_pruning_is_monotone_and_ends_with_the_strongest(seed) -> None:
    torch.manual_seed(seed)
    made = Architecture([Edge(f"e{i}", OPERATIONS) for i in range(6)])
    for alpha in made.alphas.values():
        torch.nn.init.normal_(alpha, std=0.3)
    winners = {edge: OPERATIONS[int(alpha.argmax())] for edge, alpha in made.alphas.items()}
    alive = dict(made.operations)
    for epoch in range(10, 250):
        made.temperature.fill_(Annealing().temperature(epoch))
        prune(made, 0.4)
        for edge, names in made.operations.items():
            assert set(names) <= set(alive[edge]) and winners[edge] in names
        alive = dict(made.operations)
    assert made.decided and {edge: names[0] for edge, names in alive.items()} == winners


def test_each_edge_has_its_own_threshold() -> None:
    """An edge's rule does not depend on how many edges there are, or on their order."""
    alphas = torch.tensor([1.0, 0.0, -2.0, 0.5, -3.0, 0.2, 0.1, 0.0])
    alone, many = (Architecture([Edge(f"e{i}", OPERATIONS) for i in range(n)]) for n in (1, 14))
    for made in (alone, many):
        for alpha in made.alphas.values():
            alpha.data.copy_(alphas)
        prune(made, 0.4)
    assert set(many.operations.values()) == {alone.alive("e0")} and len(alone.alive("e0")) < 8


@pytest.mark.parametrize(
    ("channels", "parameters", "mmacs"),
    [(36, 2_538_046, 401), (44, 3_757_126, 592), (50, 4_827_760, 759), (56, 6_032_386, 948)],
)
def test_sizes_of_the_cifar_networks(channels, parameters, mmacs) -> None:
    with torch.device("meta"):
        net, card = build(channels=channels)
        macs = count_macs(net, torch.zeros(card.inputs[0].concrete()))
    assert count_parameters(net) == parameters and round(macs / 1e6) == mmacs


def test_size_of_the_imagenet_network() -> None:
    with torch.device("meta"):
        net, card = build(channels=56, cells=14, layout="imagenet", classes=1000)
        macs = count_macs(net, torch.zeros(card.inputs[0].concrete()))
    assert count_parameters(net) == 5_041_252  # 5.04 M
    assert int((macs - 1000 * net.embedding) / 1e6) == 568  # without the classifier


def test_the_published_cell() -> None:
    kept = GENOTYPES["asap"].kept()
    assert len(kept) == 16 and all(len(names) == 2 for names in GENOTYPES["asap"].inputs.values())
    assert sorted(op for edge, op in kept.items() if edge.startswith("normal")) == ["sep3"] * 3 + ["skip"] * 5
    assert kept["reduce_2_3"] == "dil5" and kept["reduce_1_4"] == "max3" and kept["normal_0_3"] == "skip"
