"""Checkpoints in their authors' key names, made here by renaming our own; the public files are tried elsewhere."""

import pytest
import torch
from safetensors.torch import save_file

from edgesmith.errors import UsageError
from edgesmith.models.mobilefacenet import build
from edgesmith.models.pretrained import KEYS

FOREIGN = {
    "foamliu": {
        "conv1.0.weight": (64, 3, 3, 3),
        "dw_conv.pointwise.weight": (64, 64, 1, 1),
        "features.14.conv.2.weight": (128, 256, 1, 1),
        "gdconv.depthwise.weight": (512, 1, 7, 7),
        "conv3.bias": (128,),
        "bn.running_var": (128,),
    },
    "xiaoccer": {
        "conv1.prelu.weight": (64,),
        "blocks.12.conv.5.weight": (512,),
        "linear7.conv.weight": (512, 1, 7, 6),
        "linear1.bn.running_mean": (128,),
    },
}


def foreign(layout: str) -> dict[str, torch.Tensor]:
    state = build(layout=layout, seed=3)[0].state_dict()
    return {theirs: state[ours].clone() for theirs, ours in KEYS[layout]().items()}


@pytest.mark.parametrize("layout", sorted(KEYS))
def test_names_and_shapes_are_the_authors(layout) -> None:
    state = foreign(layout)
    assert len(state) == len(build(layout=layout)[0].state_dict()) == {"foamliu": 307, "xiaoccer": 333}[layout]
    assert {key: tuple(state[key].shape) for key in FOREIGN[layout]} == FOREIGN[layout]


@pytest.mark.parametrize("layout", sorted(KEYS))
def test_a_public_checkpoint_loads_into_the_right_places(layout, tmp_path) -> None:
    path = tmp_path / "public.safetensors"
    save_file(foreign(layout), path)
    expected, _ = build(layout=layout, seed=3)
    net, card = build(layout=layout, seed=4, weights=str(path))
    x = torch.randn(card.inputs[0].concrete())
    assert torch.equal(net(x), expected(x))


def test_the_preprocessing_is_the_authors() -> None:
    foamliu, xiaoccer = (build(layout=layout)[1].preprocessing for layout in ("foamliu", "xiaoccer"))
    assert foamliu.size == (112, 112) and foamliu.mean == (0.485, 0.456, 0.406)
    assert xiaoccer.size == (112, 96) and xiaoccer.std == (128 / 255,) * 3


def test_a_missing_and_an_unknown_key_are_named(tmp_path) -> None:
    state = foreign("foamliu")
    state["surprise"] = state.pop("features.3.conv.2.weight")
    save_file(state, tmp_path / "public.safetensors")
    with pytest.raises(UsageError, match=r"body.blocks.3.project.conv.weight.*surprise"):
        build(layout="foamliu", weights=str(tmp_path / "public.safetensors"))


def test_a_new_head_stays_random_and_the_card_says_so(tmp_path) -> None:
    save_file(foreign("xiaoccer"), tmp_path / "public.safetensors")
    _, card = build(layout="xiaoccer", classes=5, weights=str(tmp_path / "public.safetensors"))
    assert "head is random" in card.notes[0]
