"""Public MobileFaceNet checkpoints: their authors' key names, one by one, in ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edgesmith.models.weights import load_strict, read_weights

BLOCKS = 15
BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def load_pretrained(net: nn.Module, path: str, layout: str, trust_pickle: bool = False) -> tuple[str, ...]:
    """Load a checkpoint in our key names or in those of the layout's author; gives notes for the card.

    A public checkpoint has no classifier: a head the net has stays random, and a note says so.
    Raises: UsageError listing keys that do not fit; MissingResource, UntrustedFile, DamagedArtifact.
    """
    return load_renamed(net, path, KEYS[layout]() if layout in KEYS else {}, layout, trust_pickle)


def load_renamed(
    net: nn.Module, path: str, names: Mapping[str, str], author: str, trust_pickle: bool = False
) -> tuple[str, ...]:
    """Load a checkpoint in our key names or in an author's, `names` being theirs -> ours; gives notes for the card.

    Raises: UsageError listing keys that do not fit; MissingResource, UntrustedFile, DamagedArtifact.
    """
    state = read_weights(path, trust_pickle)
    if not (set(state) & set(names) - set(net.state_dict())):
        load_strict(net, state, path)
        return ()
    renamed = {names.get(key, key): value for key, value in state.items()}
    head = [key for key in net.state_dict() if key.startswith("head.") and key not in renamed]
    load_strict(net, _flat_slopes(renamed), path, optional=head)
    return (f"the head is random: {author}'s checkpoint has none",) if head else ()


def _flat_slopes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.reshape(-1) if key.endswith("act.weight") else value for key, value in state.items()}


def _foamliu() -> dict[str, str]:
    keys = unit_keys("conv1.0", "conv1.1", None, "body.stem")
    keys |= unit_keys("dw_conv.depthwise", "dw_conv.bn1", None, "body.depthwise")
    keys |= unit_keys("dw_conv.pointwise", "dw_conv.bn2", None, "body.pointwise")
    for index in range(BLOCKS):
        theirs, ours = f"features.{index}.conv", f"body.blocks.{index}"
        keys |= unit_keys(f"{theirs}.0.0", f"{theirs}.0.1", None, f"{ours}.expand")
        keys |= unit_keys(f"{theirs}.1.0", f"{theirs}.1.1", None, f"{ours}.depthwise")
        keys |= unit_keys(f"{theirs}.2", f"{theirs}.3", None, f"{ours}.project")
    keys |= unit_keys("conv2.0", "conv2.1", None, "body.expand")
    keys |= unit_keys("gdconv.depthwise", "gdconv.bn", None, "body.gdconv")
    keys |= unit_keys("conv3", "bn", None, "body.embedding")
    return keys | {"conv3.bias": "body.embedding.conv.bias"}


def _xiaoccer() -> dict[str, str]:
    keys = unit_keys("conv1.conv", "conv1.bn", "conv1.prelu", "body.stem")
    keys |= unit_keys("dw_conv1.conv", "dw_conv1.bn", "dw_conv1.prelu", "body.depthwise")
    for index in range(BLOCKS):
        theirs, ours = f"blocks.{index}.conv", f"body.blocks.{index}"
        keys |= unit_keys(f"{theirs}.0", f"{theirs}.1", f"{theirs}.2", f"{ours}.expand")
        keys |= unit_keys(f"{theirs}.3", f"{theirs}.4", f"{theirs}.5", f"{ours}.depthwise")
        keys |= unit_keys(f"{theirs}.6", f"{theirs}.7", None, f"{ours}.project")
    keys |= unit_keys("conv2.conv", "conv2.bn", "conv2.prelu", "body.expand")
    keys |= unit_keys("linear7.conv", "linear7.bn", None, "body.gdconv")
    return keys | unit_keys("linear1.conv", "linear1.bn", None, "body.embedding")


def unit_keys(conv: str, bn: str, act: str | None, ours: str) -> dict[str, str]:
    """Keys of one ConvBnAct: an author's names of its parts -> ours."""
    keys = {f"{conv}.weight": f"{ours}.conv.weight"} | {f"{bn}.{name}": f"{ours}.bn.{name}" for name in BN}
    return keys | ({f"{act}.weight": f"{ours}.act.weight"} if act else {})


KEYS = {"foamliu": _foamliu, "xiaoccer": _xiaoccer}
