"""Photo albums: an encoder for each photo, and a pooling that gives the event and the importance of each photo.

An album net takes photos as a decoder gives them (uint8) and a mask that says which of them are there; normalisation
is part of the net. Source: Glaser et al. 2021, arXiv 2109.12499 (PETA).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models import MODELS
from edgesmith.models.album_pooling import Norm, TransformerPooling, shares
from edgesmith.models.card import Card, image_size
from edgesmith.models.layers import seeded
from edgesmith.models.weights import load_strict, read_weights
from edgesmith.tensors import Preprocessing, TensorSpec

Pooling = Literal["transformer", "embeddings", "scores"]
# The sizes of the released model, and ours for a phone.
PAPER: Mapping[str, Any] = {"dim": 2048, "layers": 6, "heads": 8, "ffn": 2048, "photos": 32, "positions": True}
EDGE: Mapping[str, Any] = {"dim": 256, "layers": 1, "heads": 4, "ffn": 512, "photos": 16}
NO_SCORE = 1e-9
Answer = tuple[Tensor, Tensor | None, Tensor]


class FrameEncoder(nn.Module):
    """The embedding of each photo of each album.

    Shape: photos uint8 RGB (N, S, H, W, 3), mask (N, S), 0 where there is no photo -> (N, S, d), bool (N, S).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: nn.Module, bottleneck: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder, self.bottleneck, self.size = encoder, bottleneck, preprocessing.size
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, photos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Raises: UsageError for photos of another size, or a mask of another shape."""
        self._check(photos, mask)
        kept, flat = mask.to(torch.float32) > 0.5, photos.flatten(0, 1)
        if self.training:  # batch norms must not see what only fills a short album
            there = kept.flatten()
            found = self._embed(flat[there])
            embeddings = found.new_zeros(len(flat), found.shape[1]).index_put((there,), found)
        else:
            embeddings = self._embed(flat)
        return embeddings.reshape(*kept.shape, embeddings.shape[1]), kept

    def _embed(self, photos: Tensor) -> Tensor:
        # Contiguous: without, torch writes the mean of a map as a walk over its memory (as_strided) into the export.
        images = photos.permute(0, 3, 1, 2).to(torch.float32).contiguous() * self.scale + self.shift
        return self.bottleneck(self.encoder.embed(images))  # type: ignore[operator]

    def _check(self, photos: Tensor, mask: Tensor) -> None:
        wanted = (*self.size, 3)
        if photos.dim() != 5 or tuple(photos.shape[2:]) != wanted or not photos.shape[1]:
            found, todo = (
                f"photos {tuple(photos.shape)}",
                "give the data and the net one size of photos, and one photo or more an album",
            )
            raise UsageError(f"albums of photos (N, S, {', '.join(map(str, wanted))})", found, todo)
        if mask.dim() != 2 or mask.shape[1] != photos.shape[1] or mask.shape[0] != photos.shape[0]:
            found = f"mask {tuple(mask.shape)} for photos {tuple(photos.shape[:2])}"
            raise UsageError("a mask (N, S), 1 where there is a photo", found, "give one number a photo")


class AlbumNet(nn.Module):
    """PETA: frames, transformer pooling, a linear head.

    Shape: photos (N, S, H, W, 3), mask (N, S) -> logits (N, C) (without head the embedding (N, d)), importance (N, S).
    An album whose mask is all 0 gets the answer of CLS alone, and no importance anywhere.
    """

    def __init__(self, frames: FrameEncoder, pooling: TransformerPooling, head: nn.Linear | None, photos: int) -> None:
        super().__init__()
        self.frames, self.pooling, self.head, self.photos = frames, pooling, head, photos

    def answer(self, photos: Tensor, mask: Tensor) -> Answer:
        """The album's embedding (N, d), logits (None without a head), importance of the photos (N, S)."""
        embeddings, kept = self.frames(photos, mask)
        if self.pooling.positions is not None and kept.shape[1] != self.photos:
            found, todo = f"{kept.shape[1]} photos", "sample or pad to that number, or leave positions out"
            raise UsageError(f"an album of {self.photos} photos with positions", found, todo)
        z, importance = self.pooling(embeddings, kept)
        return z, None if self.head is None else self.head(z), importance

    def embed(self, photos: Tensor, mask: Tensor) -> Tensor:
        return self.answer(photos, mask)[0]

    def forward(self, photos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        z, logits, importance = self.answer(photos, mask)
        return (z if logits is None else logits), importance


class AverageNet(nn.Module):
    """The baselines: mean embedding, or mean softmax scores, of the photos; the order of photos does not matter.

    A photo's importance is how far its own scores agree with the album's: sum over classes of p_photo p_album.
    Shape: as AlbumNet; with mean scores the logits are their logarithms.
    """

    def __init__(self, frames: FrameEncoder, head: nn.Linear, photos: int, scores: bool) -> None:
        super().__init__()
        self.frames, self.head, self.photos, self.scores = frames, head, photos, scores

    def answer(self, photos: Tensor, mask: Tensor) -> Answer:
        """The mean embedding (N, d), logits, importance of the photos (N, S)."""
        embeddings, kept = self.frames(photos, mask)
        share = shares(kept)[:, :, None]
        logits = self.head(embeddings)
        own = logits.softmax(2)
        if self.scores:
            album = (own * share).sum(1)
            whole = album.clamp(min=NO_SCORE).log()
        else:
            whole = (logits * share).sum(1)
            album = whole.softmax(1)
        importance = (own * album[:, None, :]).sum(2) * kept.to(own.dtype)
        return (embeddings * share).sum(1), whole, importance

    def embed(self, photos: Tensor, mask: Tensor) -> Tensor:
        return self.answer(photos, mask)[0]

    def forward(self, photos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        _, logits, importance = self.answer(photos, mask)
        return logits, importance  # type: ignore[return-value]


def build(
    encoder: str = "resnet",
    encoder_options: Mapping[str, Any] | None = None,
    encoder_weights: str | None = None,
    pooling: Pooling = "transformer",
    photos: int = 16,
    size: int | Sequence[int] = 64,
    dim: int = 256,
    layers: int = 1,
    heads: int = 4,
    ffn: int = 512,
    norm: Norm = "post",
    positions: bool = False,
    dropout: float = 0.1,
    classes: int = 0,
    weights: str | None = None,
    labels: Sequence[str] = (),
    seed: int = 0,
    trust_pickle: bool = False,
) -> tuple[AlbumNet | AverageNet, Card]:
    """Build an album net on any model of MODELS that gives an embedding.

    `dim` is the size photos are pooled at: an encoder of another size gets a linear bottleneck. `photos` is what an
    exported model takes; a net without positions is trained and run with any number.
    Raises: UsageError, MissingResource, UntrustedFile, DamagedArtifact.
    """
    if photos < 1 or (labels and len(labels) != classes):
        found = f"{photos} photos, {len(labels)} labels, {classes} classes"
        raise UsageError("an album net", found, "give one photo at least, and one label a class or none")
    options = dict(encoder_options or {})
    if encoder_weights:
        options |= {"weights": encoder_weights, "trust_pickle": trust_pickle}
    with seeded(seed):
        frames, notes = _frames(encoder, options, image_size(size), dim, seed)
        net = _net(frames, pooling, photos, classes, Sizes(dim, layers, heads, ffn, norm, positions, dropout))
    if weights:
        load_strict(net, read_weights(weights, trust_pickle), weights)
    return net.eval(), card(f"album-{pooling}", frames.size, photos, dim, classes, labels, () if weights else notes)


@dataclass(frozen=True)
class Sizes:
    """What a transformer pooling is made of."""

    dim: int
    layers: int
    heads: int
    ffn: int
    norm: Norm
    positions: bool
    dropout: float


def _frames(
    name: str, options: Mapping[str, Any], size: tuple[int, int], dim: int, seed: int
) -> tuple[FrameEncoder, tuple[str, ...]]:
    try:
        encoder, card = MODELS.get(name)(**{"classes": 0, "size": size, "seed": seed, **options})
    except TypeError as error:
        raise UsageError(
            f"an album net on {name!r}", str(error), "give encoder_options that this model takes"
        ) from error
    if not callable(getattr(encoder, "embed", None)) or card.preprocessing is None or card.preprocessing.color != "rgb":
        raise UsageError(f"an album net on {name!r}", "it gives no embedding of an RGB picture", "choose another model")
    with torch.no_grad():
        found = encoder.embed(torch.zeros(1, 3, *card.preprocessing.size)).shape[1]
    bottleneck = nn.Identity() if found == dim else nn.Linear(found, dim)
    return FrameEncoder(encoder, bottleneck, card.preprocessing), card.notes


def _net(frames: FrameEncoder, pooling: Pooling, photos: int, classes: int, sizes: Sizes) -> AlbumNet | AverageNet:
    head = nn.Linear(sizes.dim, classes) if classes else None
    if pooling == "transformer":
        s = sizes
        places = photos if s.positions else 0
        made = TransformerPooling(s.dim, s.layers, s.heads, s.ffn, s.norm, places, s.dropout)
        return AlbumNet(frames, made, head, photos)
    if head is None:
        raise UsageError(f"album pooling {pooling!r}", "0 classes", "say how many, or pool by the transformer")
    return AverageNet(frames, head, photos, scores=pooling == "scores")


def card(
    name: str, size: tuple[int, int], photos: int, dim: int, classes: int, labels: Sequence[str], notes: Sequence[str]
) -> Card:
    """The interface of an album net at a photo size and a number of photos; one without positions takes any number."""
    inputs = (TensorSpec("photos", (1, photos, *size, 3), "uint8"), TensorSpec("mask", (1, photos), "uint8"))
    first = TensorSpec("logits", (1, classes)) if classes else TensorSpec("embedding", (1, dim))
    outputs = (first, TensorSpec("importance", (1, photos)))
    return Card(name, inputs, outputs, None, tuple(labels), tuple(notes))
