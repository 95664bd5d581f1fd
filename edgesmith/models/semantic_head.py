"""A head that scores labels by their word vectors: M directions an image, and a label's best match among them.

The label bank can be changed at any time, so a net answers for labels it was never trained on.
Source: Ben-Cohen et al. 2021 (SDL), arXiv 2105.05926, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.models import MODELS
from edgesmith.models.card import Card
from edgesmith.models.layers import seeded
from edgesmith.tensors import TensorSpec


def label_scores(directions: Tensor, bank: Tensor) -> Tensor:
    """The highest inner product of a label's vector with one of the directions. Shape: (N, M, d), (C, d) -> (N, C)."""
    return (directions @ bank.transpose(0, 1)).amax(1)


class SemanticHead(nn.Module):
    """One linear layer from an embedding to M directions in the space of word vectors, and a bank of labels.

    Shape: embedding (N, e), bank (C, d) -> scores (N, C), to be ranked; they are no probabilities.
    differs from the authors' code: row m * d + k of the layer is number k of direction m (theirs is k * M + m).
    """

    bank: Tensor

    def __init__(self, embedding: int, bank: Tensor, rows: int = 2) -> None:
        super().__init__()
        if bank.dim() != 2 or not len(bank) or rows < 1:
            found = f"a bank of shape {tuple(bank.shape)}, {rows} rows"
            raise UsageError("a semantic head", found, "give a vector a label, (C, d), and one row at least")
        self.in_features, self.rows, self.width = embedding, rows, bank.shape[1]
        self.principal = nn.Linear(embedding, rows * self.width, bias=False)
        self.register_buffer("bank", bank.float().clone())

    def directions(self, z: Tensor) -> Tensor:
        """The directions of each image. Shape: (N, e) -> (N, M, d)."""
        return self.principal(z).unflatten(1, (self.rows, self.width))

    def forward(self, z: Tensor) -> Tensor:
        return label_scores(self.directions(z), self.bank)

    def use(self, bank: Tensor) -> None:
        """Answer for other labels from now on. Shape: (C, d). Raises: UsageError for vectors of another length."""
        if bank.dim() != 2 or bank.shape[1] != self.width or not len(bank):
            found = f"a bank of shape {tuple(bank.shape)}"
            raise UsageError(f"labels with vectors of {self.width} numbers", found, "take vectors of the same source")
        self.bank = bank.to(self.principal.weight.device, torch.float32).clone()


class SemanticNet(nn.Module):
    """A net's embedding under a semantic head; a projector between them carries it to another net's head."""

    def __init__(self, body: nn.Module, head: SemanticHead, projector: nn.Linear | None = None) -> None:
        super().__init__()
        self.body, self.head, self.projector = body, head, projector
        self.embedding = head.in_features

    def embed(self, x: Tensor) -> Tensor:
        z = self.body.embed(x)  # type: ignore[operator]
        return z if self.projector is None else self.projector(z)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


class OpenBank(nn.Module):
    """A SemanticNet that takes its labels as a second input, for an exported file that answers for any of them."""

    def __init__(self, net: SemanticNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, bank: Tensor) -> Tensor:
        return label_scores(self.net.head.directions(self.net.embed(image)), bank)


def build(
    words: str = "",
    only: str = "",
    rows: int = 2,
    backbone: str = "resnet",
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[SemanticNet, Card]:
    """Build a backbone under a semantic head; `options` and `weights` are the backbone's.

    words is a .npz with `vectors` (C, d) and `names` (C,); `only` names an array in it, of row numbers or of names,
    that picks labels (e.g. those seen in training). Raises: UsageError, MissingResource, DamagedArtifact.
    """
    given = dict(options or {})
    if {"weights", "classes"} & set(given):
        raise UsageError("options of a backbone", f"{sorted(given)}", "give weights beside options, and no classes")
    names, vectors = read_words(Path(words), only)
    try:
        body, card = MODELS.get(backbone)(**given, classes=0, weights=weights, trust_pickle=trust_pickle)
    except TypeError as error:
        raise UsageError(f"backbone {backbone!r}", str(error), "see the options of that model") from error
    if not callable(getattr(body, "embed", None)):
        raise UsageError(f"backbone {backbone!r}", "it has no embed()", "use a net with embed()")
    with seeded(seed):
        head = SemanticHead(int(card.outputs[0].shape[1]), torch.from_numpy(vectors), rows)
    scores = TensorSpec("scores", (1, len(names)))
    made = Card("semantic", card.inputs, (scores,), card.preprocessing, names, card.notes)
    return SemanticNet(body, head).eval(), made


def read_words(path: Path, only: str = "") -> tuple[tuple[str, ...], np.ndarray]:
    """Labels and their vectors, float32 (C, d). Raises: UsageError, MissingResource, DamagedArtifact."""
    if not path.is_file():
        raise MissingResource(f"read word vectors {path}", "no such file", "give words=FILE.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        names, vectors = [str(name) for name in arrays["names"]], arrays["vectors"].astype(np.float32)
    except (KeyError, ValueError, OSError) as error:
        todo = "write an .npz with names (C,) and vectors (C, d)"
        raise DamagedArtifact(f"read word vectors {path}", f"{type(error).__name__}: {error}", todo) from error
    if vectors.ndim != 2 or len(vectors) != len(names) or not np.isfinite(vectors).all():
        found = f"{len(names)} names, vectors {vectors.shape}"
        raise DamagedArtifact(f"read word vectors {path}", found, "give every name one vector of finite numbers")
    if not only:
        return tuple(names), vectors
    if only not in arrays:
        raise UsageError(f"labels {only!r} of {path.name}", f"it holds {sorted(arrays)}", "name one of its arrays")
    rows = _rows(arrays[only], names, f"labels {only!r} of {path.name}")
    return tuple(names[row] for row in rows), vectors[rows]


def _rows(chosen: np.ndarray, names: Sequence[str], asked: str) -> list[int]:
    """Row numbers of an array of row numbers or of names."""
    if chosen.dtype.kind in "iu":
        rows = [int(row) for row in chosen]
        strange = [str(row) for row in rows if not 0 <= row < len(names)]
    else:
        place = {name: row for row, name in enumerate(names)}
        strange = [str(name) for name in chosen if str(name) not in place]
        rows = [place[str(name)] for name in chosen if str(name) in place]
    if strange or not rows:
        found = f"not among the labels: {', '.join(strange[:5])}" if strange else "it is empty"
        raise UsageError(asked, found, "correct the list")
    return rows
