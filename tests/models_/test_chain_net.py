from pathlib import Path

import pytest
import torch

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.models.chain_net import Frame, Slot, build, edges_of, layer, parse
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.models.genotype import Genotype

SMALL = Frame(size=8, stem=8, stem_stride=1, stages=((8, 2, 1), (16, 2, 2)), last=16, embedding=8, act="relu")
OPERATIONS = ["mb-k3-e2-relu", "conv-k3-relu", "identity"]


def genotype(**changes) -> Genotype:
    options = {**records.to_json(SMALL), "operations": OPERATIONS}
    choices = {"layer00": "identity", "layer01": "conv-k3-relu", "layer02": "mb-k3-e2-relu", "layer03": "identity"}
    return Genotype(**{"space": "chain", "options": options, "choices": choices, **changes})


def saved(folder: Path, record: Genotype) -> str:
    records.save(folder / "genotype.json", record)
    return str(folder / "genotype.json")


def test_mobilefacenet_is_a_chain() -> None:
    """The published counts (1,003,136 and 220,965,376) less the depthwise layer of its stem, which a chain has not."""
    expansions = [2] * 5 + [4] + [2] * 6 + [4] + [2] * 2
    net, card = build([f"mb-k3-e{e}-prelu" for e in expansions])
    assert count_parameters(net) == 1_003_136 - (576 + 128 + 64)
    assert count_macs(net, torch.zeros(card.inputs[0].concrete())) == 220_965_376 - 56 * 56 * 576


@pytest.mark.parametrize("pool", ["gdconv", "average"])
@pytest.mark.parametrize("size", [8, 32, (12, 20)])
def test_a_chain_of_every_kind_of_layer(pool, size) -> None:
    choices = ["identity", "conv-k3-prelu", "conv-k5-e2-hardswish", "mb-k7-e6-relu"]
    net, card = build(choices, Frame(size, 8, 1, ((8, 2, 1), (16, 2, 2)), 16, pool, 8, "relu"), classes=3)
    x = torch.randn(2, *card.inputs[0].concrete()[1:])
    z = net.embed(x)
    assert z.shape == (2, 8) and torch.equal(net(x), net.head(z)) and net(x).shape == (2, 3)


def test_seeds_and_choices_make_the_weights() -> None:
    same, other = build(["conv-k3-relu"] * 4, SMALL, seed=1)[0], build(["conv-k3-relu"] * 4, SMALL, seed=2)[0]
    again = build(["conv-k3-relu"] * 4, SMALL, seed=1)[0]
    weights = [net.state_dict()["body.stem.conv.weight"] for net in (same, other, again)]
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])


def test_a_genotype_file_is_its_choices(tmp_path) -> None:
    found, card = build(genotype=saved(tmp_path, genotype()), classes=4)
    written, _ = build(list(genotype().choices.values()), SMALL, classes=4)
    assert {k: v.shape for k, v in found.state_dict().items()} == {k: v.shape for k, v in written.state_dict().items()}
    assert card.inputs[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("name", ["mb-k3-relu", "mb-k4-e2-relu", "conv-k3-gelu", "depthwise", "", "mb-k3-e2-relu "])
def test_an_unknown_name_is_refused_with_the_names_there_are(name) -> None:
    with pytest.raises(UsageError, match="no such choice; write identity, mb-k"):
        parse(name)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="its shape changes"):
        layer("identity", Slot(8, 16, 2, 8, 8))
    with pytest.raises(UsageError, match="4 layers"):
        build(["identity"], SMALL)
    with pytest.raises(UsageError, match="none of"):
        edges_of(SMALL, ["identity"])  # an edge without an operation
    with pytest.raises(UsageError, match="pool 'max'"):
        Frame(pool="max")
    with pytest.raises(UsageError, match="at least one stage"):
        Frame(stages=((8, 0, 1),))


def test_a_genotype_that_is_not_this_space_s_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="a genotype of the space 'cells'"):
        build(genotype=saved(tmp_path, genotype(space="cells")))
    with pytest.raises(DamagedArtifact, match="no choice for edge 'layer03'"):
        build(genotype=saved(tmp_path, genotype(choices=dict(list(genotype().choices.items())[:3]))))
    with pytest.raises(DamagedArtifact, match="'mb-k9-e1-relu' on edge 'layer00'"):
        build(genotype=saved(tmp_path, genotype(choices={**genotype().choices, "layer00": "mb-k9-e1-relu"})))
    with pytest.raises(UsageError, match="a genotype and a frame"):
        build(frame=SMALL, genotype=saved(tmp_path, genotype()))
    with pytest.raises(MissingResource, match="no such file"):
        build(genotype=str(tmp_path / "absent.json"))
