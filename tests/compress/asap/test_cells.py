import pytest
import torch

from edgesmith.compress.asap import SPACES
from edgesmith.compress.asap.anneal import settle
from edgesmith.compress.asap.cells import CellSpace, cells
from edgesmith.compress.asap.mixed_op import mixed_ops
from edgesmith.compress.asap.space import inherit, prune_modules
from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.models.cell_ops import OPERATIONS, sources
from edgesmith.models.genotype import Genotype, check_genotype

SMALL = CellSpace(3, 2, 3, ("sep3", "max3", "skip"))


def test_the_space_by_name_is_the_space() -> None:
    assert SPACES.get("cells") is cells and cells(3, 2, 3, ["sep3", "max3", "skip"]) == SMALL
    assert len(SMALL.edges) == 28 and {edge.group for edge in SMALL.edges} == {"normal", "reduce"}


def test_alphas_are_shared_by_all_cells_of_a_type() -> None:
    net = CellSpace(3, 2, 5).supernet()
    assert len(net.architecture.alphas) == 28
    assert len(list(mixed_ops(net))) == 5 * 14 and net(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_a_uniform_supernet_is_the_mean_of_the_operations() -> None:
    net = SMALL.supernet().eval()
    edge, x = net.cells[0].edges["normal_0_2"], torch.randn(2, 2, 8, 8)
    mean = sum(op(x) for op in edge.ops.values()) / 3
    assert torch.allclose(edge(x, weights=net.architecture.weights()["normal_0_2"]), mean, atol=1e-6)


@pytest.mark.parametrize("operations", [tuple(OPERATIONS), ("sep3", "skip")])
@pytest.mark.parametrize("inputs", ["gates", "top2"])
@pytest.mark.parametrize("affine", [True, False])
def test_a_decided_supernet_equals_its_network_bit_for_bit(operations, inputs, affine) -> None:
    space = CellSpace(3, 2, 4, operations, inputs, affine)
    torch.manual_seed(1)
    net, x = space.supernet(), torch.randn(4, 3, 8, 8)
    for parameter in net.architecture.parameters():
        torch.nn.init.normal_(parameter)
    net(x)  # moves the statistics of the batch norms
    settle(net.architecture)
    prune_modules(net)
    genotype = space.read(net)
    found = inherit(space.network(genotype), net, genotype)
    assert torch.equal(found.eval()(x), net.eval()(x)) and torch.equal(found.train()(x), net.train()(x))
    assert genotype.choices == {edge: alive[0] for edge, alive in net.architecture.operations.items() if alive}


def test_weights_of_an_operation_that_was_pruned_cannot_be_inherited() -> None:
    net = SMALL.supernet()
    settle(net.architecture)
    prune_modules(net)
    genotype = SMALL.read(net)
    edge = next(iter(genotype.kept()))
    other = "sep3" if genotype.choices[edge] != "sep3" else "max3"
    changed = Genotype(genotype.space, genotype.options, {**genotype.choices, edge: other}, genotype.inputs)
    with pytest.raises(UsageError, match="not alive"):
        inherit(SMALL.network(changed), net, changed)


def test_random_members_are_valid_differ_and_repeat() -> None:
    found = [SMALL.random(seed) for seed in range(4)]
    assert SMALL.random(2) == found[2] and len({str(g) for g in found}) == 4
    for genotype in found:
        check_genotype(genotype, "cells", SMALL.edges, sources("normal") | sources("reduce"))
    assert SMALL.network(found[0])(torch.randn(2, 3, 8, 8)).shape == (2, 3)


def test_a_supernets_forward_runs_only_what_is_alive() -> None:
    net = SMALL.supernet()
    before = sum(p.numel() for p in net.parameters())
    ran: list[str] = []
    net.architecture.restrict({edge.name: ["skip"] for edge in SMALL.edges}, {"normal_5": ["normal_0_5", "normal_4_5"]})
    prune_modules(net)
    for path, module in mixed_ops(net):
        module.register_forward_hook(lambda *_, path=path: ran.append(path))
    net(torch.randn(2, 3, 8, 8))
    assert sum(p.numel() for p in net.parameters()) < before
    assert len(ran) == 14 * 3 - 3 and not any("normal_1_5" in path for path in ran)


@pytest.mark.parametrize(
    "wrong",
    [{"operations": ()}, {"operations": ("none",)}, {"operations": ("sep9",)}, {"cells": 2}, {"channels": 1},
     {"classes": 1}, {"inputs": "top3"}],
)  # fmt: skip
def test_spaces_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match="a cell space"):
        CellSpace(**{"classes": 3, **wrong})


def test_genotypes_of_other_spaces_are_refused() -> None:
    with pytest.raises(UsageError, match="'chain'"):
        SMALL.network(Genotype("chain", {}, {}))
    with pytest.raises(DamagedArtifact, match="normal_2"):
        SMALL.network(Genotype("cells", {}, {}))
