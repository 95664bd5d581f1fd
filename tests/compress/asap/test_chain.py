from dataclasses import replace

import pytest
import torch

from edgesmith.compress.asap.chain import chain_space
from edgesmith.compress.asap.space import inherit, prune_modules
from edgesmith.errors import UsageError
from edgesmith.models.chain_net import Frame
from edgesmith.models.count import count_parameters

FRAME = Frame(size=8, stem=8, stem_stride=1, stages=((8, 2, 1), (16, 2, 2)), last=16, embedding=8, act="relu")
OPERATIONS = ("mb-k3-e2-relu", "conv-k3-relu", "identity")
SPACE = chain_space(4, FRAME, OPERATIONS)


def test_identity_stands_only_where_the_shape_stays() -> None:
    assert [edge.operations for edge in SPACE.edges] == [OPERATIONS, OPERATIONS, OPERATIONS[:2], OPERATIONS]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_supernet_with_one_operation_alive_is_the_discrete_network(seed: int) -> None:
    supernet, genotype = SPACE.supernet(), SPACE.random(seed)
    x = torch.randn(4, 3, 8, 8)
    supernet.train()(x)  # statistics that are not the trivial ones
    supernet.architecture.restrict({edge: [op] for edge, op in genotype.choices.items()}, {})
    prune_modules(supernet)
    network = inherit(SPACE.network(genotype), supernet, genotype).eval()
    assert torch.equal(supernet.eval()(x), network(x)) and torch.equal(supernet.embed(x), network.embed(x))
    assert SPACE.read(supernet) == genotype
    alphas = sum(alpha.numel() for alpha in supernet.architecture.parameters())
    assert count_parameters(supernet) == count_parameters(network) + alphas


def test_the_choices_have_gradients_through_the_mixed_layers() -> None:
    supernet = SPACE.supernet().train()
    supernet(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(alpha.grad is not None and alpha.grad.abs().sum() > 0 for alpha in supernet.architecture.parameters())


def test_random_members_differ_by_seed_and_only_by_seed() -> None:
    assert SPACE.random(3) == SPACE.random(3)
    assert len({tuple(SPACE.random(seed).choices.values()) for seed in range(10)}) > 5


def test_layers_of_one_shape_say_so_and_macs_are_counted() -> None:
    assert SPACE.shape("layer00") == SPACE.shape("layer01") == "8-8-s1-8x8"
    assert SPACE.shape("layer02") == "8-16-s2-8x8"
    assert SPACE.macs("layer00", "conv-k3-relu") == 8 * 8 * 9 * 64
    assert SPACE.macs("layer02", "mb-k3-e2-relu") == 64 * 8 * 16 + 16 * (16 * 9 + 16 * 16)
    assert SPACE.macs("layer01", "identity") == 0


def test_a_space_or_a_genotype_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="no such choice"):
        chain_space(4, FRAME, ("mb-k3-relu",))
    with pytest.raises(UsageError, match="give each once"):
        chain_space(4, FRAME, ("conv-k3-relu", "conv-k3-relu"))
    with pytest.raises(UsageError, match="none of"):
        chain_space(4, FRAME, ("identity",))
    wider = chain_space(4, replace(FRAME, stem=16), OPERATIONS)
    with pytest.raises(UsageError, match="it was searched with"):
        SPACE.network(wider.random(0))
