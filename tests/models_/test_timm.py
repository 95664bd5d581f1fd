import importlib.util
import sys
import warnings

import pytest
import torch

from edgesmith.errors import UsageError
from edgesmith.models.timm import RANDOM, build, import_timm
from edgesmith.models.weights import save_weights

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
SMALL = {"model": "test_resnet", "classes": 5}


def quiet(**options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(**options)


def test_timm_imports_with_this_torch_and_keeps_working() -> None:
    assert import_timm() is sys.modules["timm"] is import_timm()


def test_body_and_head_are_timms_net() -> None:
    net, card = quiet(**SMALL, seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        whole = import_timm().create_model("test_resnet", num_classes=5).eval()
    x = torch.randn(card.inputs[0].concrete())
    assert torch.equal(net(x), whole(x)) and torch.equal(net.head(net.embed(x)), whole(x))
    assert card.outputs[0].shape == (1, 5)


def test_preprocessing_is_timms() -> None:
    _, card = quiet(**SMALL)
    config = import_timm().data.resolve_data_config({}, model=import_timm().create_model("test_resnet"))
    assert card.preprocessing.size == config["input_size"][1:] and card.preprocessing.mean == tuple(config["mean"])


def test_random_weights_are_said_twice() -> None:
    with pytest.warns(UserWarning, match="random weights"):
        _, card = build(**SMALL)
    assert card.notes == (RANDOM,)


@pytest.mark.parametrize("names", ["ours", "timms"])
def test_weights_load_in_our_names_and_in_timms(tmp_path, names) -> None:
    net, card = quiet(**SMALL, seed=1)
    whole = import_timm().create_model("test_resnet", num_classes=5).eval()
    saved = net if names == "ours" else whole
    save_weights(tmp_path / "w.safetensors", saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, card = build(**SMALL, seed=2, weights=str(tmp_path / "w.safetensors"))
    x = torch.randn(card.inputs[0].concrete())
    assert torch.equal(again(x), saved(x)) and card.notes == ()


def test_without_classes_there_is_no_head() -> None:
    net, card = quiet(model="test_resnet", classes=0)
    assert net.head is None and card.outputs[0].name == "embedding"


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="mobilenetv3_small_100"):
        build(model="mobilenetv3_smal_100")


def test_a_net_of_fixed_size_refuses_another() -> None:
    with pytest.raises(UsageError, match="leave size out"):
        quiet(model="test_vit", size=64)


def test_another_size_for_a_convolutional_net() -> None:
    net, card = quiet(**SMALL, size=64)
    assert card.inputs[0].shape == (1, 3, 64, 64) and net(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
