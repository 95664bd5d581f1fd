import pytest
import safetensors.torch
import torch

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.models.asap_net import GENOTYPES, build
from edgesmith.models.genotype import Genotype

SMALL = {"channels": 4, "cells": 3, "size": 16, "classes": 5}


def test_embedding_head_and_card() -> None:
    net, card = build(**SMALL)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(net(x), net.head(net.embed(x))) and net.embed(x).shape == (2, 4 * 16)
    assert card.inputs[0].shape == (1, 3, 16, 16) and card.outputs[0].shape == (1, 5) and not net.training


def test_the_auxiliary_head_looks_at_two_thirds_and_the_weights_do_without_it(tmp_path) -> None:
    net, _ = build(**SMALL, auxiliary=True)
    x = torch.randn(2, 3, 16, 16)
    logits, early = net.with_auxiliary(x)
    assert torch.equal(logits, net(x)) and early.shape == (2, 5) and not torch.equal(early, logits)
    deployed = {key: value for key, value in net.state_dict().items() if not key.startswith("auxiliary.")}
    safetensors.torch.save_file(deployed, tmp_path / "w.safetensors")
    for auxiliary in (False, True):
        again, _ = build(**SMALL, auxiliary=auxiliary, weights=str(tmp_path / "w.safetensors"), seed=1)
        assert torch.equal(again(x), net(x))
    with pytest.raises(UsageError, match="auxiliary: true"):
        build(**SMALL)[0].with_auxiliary(x)


def test_a_genotype_file_builds_the_same_net_as_its_name(tmp_path) -> None:
    records.save(tmp_path / "g.json", GENOTYPES["asap"])
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(build(str(tmp_path / "g.json"), **SMALL)[0](x), build("asap", **SMALL)[0](x))


def test_the_imagenet_layout_reduces_by_8_before_the_cells() -> None:
    net, card = build(channels=4, cells=3, layout="imagenet", classes=5)
    first, second = net.stem(torch.zeros(1, 3, 64, 64))
    assert first.shape == (1, 4, 16, 16) and second.shape == (1, 4, 8, 8)
    assert card.inputs[0].shape == (1, 3, 224, 224) and net(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_bad_input_is_refused(tmp_path) -> None:
    records.save(tmp_path / "g.json", Genotype("chain", {}, {"layer_1": "k3"}))
    with pytest.raises(UsageError, match="of the space 'chain'"):
        build(str(tmp_path / "g.json"))
    records.save(tmp_path / "g.json", Genotype("cells", {}, {"normal_0_2": "sep3"}))
    with pytest.raises(DamagedArtifact, match="reduce_5"):
        build(str(tmp_path / "g.json"))
    with pytest.raises(MissingResource):
        build("nothing.json")
    for wrong in ({"cells": 2}, {"channels": 1}, {"layout": "mnist"}):
        with pytest.raises(UsageError, match="network of cells"):
            build(**wrong)
