import pytest
import torch

from edgesmith.errors import UsageError
from edgesmith.models.resnet import BasicBlock, build
from edgesmith.models.weights import save_weights


def test_head_and_embedding() -> None:
    net, card = build(width=8, blocks=(1, 2), embedding=12, size=32, classes=4, act="prelu")
    x = torch.randn(2, 3, 32, 32)
    assert net.embed(x).shape == (2, 12) and torch.equal(net(x), net.head(net.embed(x)))
    assert card.outputs[0].name == "logits" and len(net.body.stage2) == 2


def test_a_block_that_keeps_its_shape_adds_its_input() -> None:
    block = BasicBlock(4, 4, 1, "none").eval()
    torch.nn.init.zeros_(block.second.conv.weight)
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_own_weights_come_back(tmp_path) -> None:
    net, _ = build(width=8, blocks=(1,), size=16, seed=1)
    save_weights(tmp_path / "w.safetensors", net)
    again, _ = build(width=8, blocks=(1,), size=16, seed=2, weights=str(tmp_path / "w.safetensors"))
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(net(x), again(x))


@pytest.mark.parametrize("options", [{"width": 0}, {"blocks": ()}, {"blocks": (1, 0)}])
def test_wrong_options_are_usage_errors(options) -> None:
    with pytest.raises(UsageError):
        build(**options)
