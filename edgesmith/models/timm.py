"""Models of the timm package, split into a body and a linear head."""

from __future__ import annotations

import copy
import difflib
import importlib
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.errors import MissingResource, UsageError
from edgesmith.models.card import Card, image_card, image_size
from edgesmith.models.layers import seeded
from edgesmith.models.weights import load_strict, read_weights
from edgesmith.tensors import Preprocessing

RANDOM = "random weights: nothing was loaded, so outputs mean nothing until the net is trained"
# Operators whose absence stops `import torchvision` on a CPU torch; declaring them (never calling them) is enough.
NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # torch forgets a library's operators when the object dies


class TimmNet(nn.Module):
    """A timm net whose classifier was taken off and stands beside it.

    Shape: images (N, C, H, W) -> embedding (N, d), or logits (N, classes).
    """

    def __init__(self, body: nn.Module, head: nn.Linear | None) -> None:
        super().__init__()
        self.body, self.head = body, head

    def embed(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x)
        return z if self.head is None else self.head(z)


def build(
    model: str = "mobilenetv3_small_100",
    classes: int | None = None,
    weights: str | None = None,
    pretrained: bool = False,
    size: int | Sequence[int] | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[TimmNet, Card]:
    """Build a timm model; `weights` may have timm's key names or ours, classes=0 leaves the head off.

    Without weights they are random (seeded), the card says so and a warning is given.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact; ModuleNotFoundError without timm.
    """
    timm = import_timm()
    _check_name(timm, model)
    with seeded(seed):
        whole = _create(timm, model, classes, pretrained and not weights)
    state = read_weights(weights, trust_pickle) if weights else {}
    ours = any(key.startswith(("body.", "head.")) for key in state) and not set(state) <= set(whole.state_dict())
    if state and not ours:
        load_strict(whole, state, str(weights))
    preprocessing = _preprocessing(timm, whole, size)
    net = _split(whole.eval(), preprocessing)
    if ours:
        load_strict(net, state, str(weights))
    notes = () if weights or pretrained else (RANDOM,)
    for note in notes:
        warnings.warn(f"timm:{model}: {note}", stacklevel=2)
    return net, _card(net, f"timm:{model}", preprocessing, labels, notes)


def import_timm() -> ModuleType:
    """Import timm; where torchvision's compiled operators do not fit this torch, declare the two it stumbles on."""
    try:
        return importlib.import_module("timm")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error) or _declared:
            raise
    for name in [n for n in sys.modules if n.split(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]  # what the failed import left half-made
    library = torch.library.Library("torchvision", "DEF")
    library.define(f"nms{NMS}")
    library.define(f"qnms{NMS}")
    _declared.append(library)
    return importlib.import_module("timm")


def _check_name(timm: ModuleType, model: str) -> None:
    if timm.is_model(model.split(".")[0]):
        return
    near = difflib.get_close_matches(model, timm.list_models(), 3)
    todo = f"did you mean {', '.join(near)}?" if near else "timm.list_models() names them all"
    raise UsageError(f"timm model {model!r}", "no such model", todo)


def _create(timm: ModuleType, model: str, classes: int | None, pretrained: bool) -> Any:
    options = {} if classes is None else {"num_classes": classes}
    try:
        return timm.create_model(model, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise
        todo = "download the weights where there is a network and give weights=FILE.safetensors"
        raise MissingResource(
            f"timm:{model} with pretrained weights", f"{type(error).__name__}: {error}", todo
        ) from error


def _preprocessing(timm: ModuleType, net: Any, size: int | Sequence[int] | None) -> Preprocessing:
    config = timm.data.resolve_data_config({}, model=net)
    own = tuple(config["input_size"][1:])
    wanted = own if size is None else image_size(size)
    if wanted != own and net.pretrained_cfg.get("fixed_input_size"):
        raise UsageError(f"a timm model at size {wanted}", f"it only takes {own}", "leave size out")
    return Preprocessing(wanted, tuple(config["mean"]), tuple(config["std"]))


def _split(net: Any, preprocessing: Preprocessing) -> TimmNet:
    """Take the linear classifier off; where the parts would not add up to the net, it stays whole, without a head."""
    head, body = net.get_classifier(), copy.deepcopy(net)
    if not isinstance(head, nn.Linear):
        return TimmNet(net, None)
    body.reset_classifier(0)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((1, preprocessing.channels, *preprocessing.size), generator=rng)
    with torch.no_grad():
        z = body.eval()(x)
        fits = z.dim() == 2 and z.shape[1] == head.in_features and torch.equal(head(z), net(x))
    return TimmNet(body, head).eval() if fits else TimmNet(net, None)


def _card(net: TimmNet, name: str, preprocessing: Preprocessing, labels: Sequence[str], notes: Sequence[str]) -> Card:
    with torch.no_grad():
        width = net(torch.zeros((1, preprocessing.channels, *preprocessing.size))).shape[1]
    classes: int = net.head.out_features if net.head is not None else net.body.num_classes  # type: ignore[assignment]
    return image_card(name, preprocessing, width, classes, labels, notes)
