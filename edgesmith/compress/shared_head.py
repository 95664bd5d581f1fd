"""Layers that carry an embedding to another net's head: projector, fold, ensemble, and a borrowed head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError

SMALLEST = 1e-7  # a probability whose log fp16 can still take
Start = Literal["procrustes", "orthogonal", "linear"]
HeadMode = Literal["shared_frozen", "shared_init", "free"]


def procrustes(student: Tensor, teacher: Tensor) -> Tensor:
    """The (semi-)orthogonal P that brings student embeddings closest to the teacher's: U V^T of T^T S.

    Shape: student (N, d_s), teacher (N, d_t) -> P (d_t, d_s). Source: Schoenemann 1966.
    """
    u, _, v = torch.linalg.svd(teacher.double().T @ student.double(), full_matrices=False)
    return (u @ v).to(student.dtype)


def make_projector(size_in: int, size_out: int, start: Start, seed: int) -> nn.Linear:
    """A projector without bias: a random (semi-)orthogonal matrix (also until it is aligned), or a plain layer's.

    Raises: UsageError for an unknown start.
    """
    if start not in get_args(Start):
        raise UsageError("a projector", f"start {start!r}", f"choose one of {get_args(Start)}")
    if start != "linear":
        return orthogonal(size_in, size_out, seed)
    projector = nn.Linear(size_in, size_out, bias=False)
    nn.init.kaiming_uniform_(projector.weight, a=5**0.5, generator=torch.Generator().manual_seed(seed))
    return projector


def orthogonal(size_in: int, size_out: int, seed: int) -> nn.Linear:
    """A random (semi-)orthogonal projector without bias."""
    projector = nn.Linear(size_in, size_out, bias=False)
    nn.init.orthogonal_(projector.weight, generator=torch.Generator().manual_seed(seed))
    return projector


def fold(head: nn.Linear, projector: nn.Linear | None) -> nn.Linear:
    """One layer that does what projector and head do one after the other: W_t P, b_t; a copy."""
    if projector is None:
        return copy.deepcopy(head)
    weight = (head.weight.double() @ projector.weight.double()).to(head.weight.dtype)
    folded = nn.Linear(projector.in_features, head.out_features, head.bias is not None).to(weight.device)
    with torch.no_grad():
        folded.weight.copy_(weight)
        if head.bias is not None:
            folded.bias.copy_(head.bias)
    return folded


class HeadEnsemble(nn.Module):
    """Log of (1 - a) softmax(own) + a softmax(shared): logits whose softmax is equation (4).

    several: several classes an image, each a coin: logits whose sigmoid is that mean of sigmoids.
    """

    def __init__(self, own: nn.Linear, shared: nn.Linear, a_th: float, several: bool = False) -> None:
        super().__init__()
        self.own, self.shared, self.a_th, self.several = own, shared, a_th, several

    def forward(self, z: Tensor) -> Tensor:
        own, shared = self.own(z), self.shared(z)
        if self.several:
            return self._log_mean(own.sigmoid(), shared.sigmoid()) - self._log_mean(
                (-own).sigmoid(), (-shared).sigmoid()
            )
        return self._log_mean(own.softmax(1), shared.softmax(1))

    def _log_mean(self, own: Tensor, shared: Tensor) -> Tensor:
        return ((1 - self.a_th) * own + self.a_th * shared).clamp_min(SMALLEST).log()


class EnsembleNet(nn.Module):
    """A student that answers with its own head and the teacher's."""

    def __init__(self, student: nn.Module, head: HeadEnsemble) -> None:
        super().__init__()
        self.student, self.head = student, head

    def embed(self, x: Tensor) -> Tensor:
        return self.student.embed(x)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


class ProjectedNet(nn.Module):
    """A net whose embedding a projector carries into another net's space, under that net's head if there is one.

    Once finished, logits take one matrix, head and projector folded; the embedding stays the projected one.
    """

    def __init__(
        self, student: nn.Module, projector: nn.Linear, head: nn.Linear | None = None, align: bool = False
    ) -> None:
        super().__init__()
        self.student, self.projector, self.head, self.align = student, projector, head, align
        self.embedding = projector.out_features
        self.folded: nn.Linear | None = None

    def embed(self, x: Tensor) -> Tensor:
        return self.projector(self.student.embed(x))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        if self.folded is not None:
            return self.folded(self.student.embed(x))  # type: ignore[operator]
        z = self.embed(x)
        return z if self.head is None else self.head(z)


def borrow_head(net: nn.Module, head: nn.Linear | None, mode: HeadMode, start: Start, seed: int) -> nn.Module:
    """The net under a copy of another net's head: frozen, or only started from it; "free" and no head change nothing.

    Another embedding size gets a projector on the net's own side; started by "procrustes" it turns the embeddings
    towards the head's class vectors (align_projector). Raises: UsageError for a head that does not fit.
    """
    if mode not in get_args(HeadMode):
        raise UsageError("share a head", f"head_mode {mode!r}", f"choose one of {get_args(HeadMode)}")
    if head is None or mode == "free":
        return net
    size = embedding_size(net, "net that is to share a head")
    own = getattr(net, "head", None)
    if isinstance(own, nn.Linear) and own.out_features != head.out_features:
        found = f"the shared head has {head.out_features} classes, the net {own.out_features}"
        raise UsageError("share a head", found, "build both nets with the same classes")
    shared = copy.deepcopy(head).requires_grad_(mode == "shared_init")
    if size == head.in_features:
        net.head = shared
        return net
    projector = make_projector(size, head.in_features, start, seed)
    net.head = None  # type: ignore[assignment]
    return ProjectedNet(net, projector, shared, start == "procrustes")


def align_projector(net: nn.Module, samples: Callable[[], Any]) -> None:
    """Turn a borrowed head's projector, before training, from the net's embeddings to the class vectors of labels.

    An image of several labels has the sum of its positive labels' vectors.
    """
    if not (isinstance(net, ProjectedNet) and net.align and net.head is not None):
        return
    batch = samples()
    if batch.labels is None:
        raise UsageError("align a projector with a shared head", "the training data have no labels", "give labels")
    was_training = net.training
    with torch.no_grad():
        z = net.eval().student.embed(*batch.inputs)  # type: ignore[operator]
        several, weight = batch.labels.dim() == 2, net.head.weight
        vectors = (batch.labels == 1).to(weight.dtype) @ weight if several else weight[batch.labels]
        net.projector.weight.copy_(procrustes(z.float(), vectors))
    net.train(was_training)


def finished(net: nn.Module) -> nn.Module:
    """A copy to deploy, in eval mode; where projector and head follow each other they are one matrix there."""
    copied = copy.deepcopy(net).eval()
    if isinstance(copied, ProjectedNet) and copied.head is not None:
        copied.folded = fold(copied.head, copied.projector)
    return copied


def bare_head(size: int, classes: int) -> nn.Linear:
    """A frozen classifier without bias whose weights are still to be given."""
    return nn.Linear(size, max(classes, 1), bias=False).requires_grad_(False)


def embedding_size(net: nn.Module, role: str) -> int:
    """Length of a net's embedding, from its linear head or its `embedding`. Raises: UsageError, naming the role."""
    if not callable(getattr(net, "embed", None)):
        raise UsageError("head sharing", f"the {role} has no embed()", "use a net with embed() and a linear head")
    head = getattr(net, "head", None)
    size = head.in_features if isinstance(head, nn.Linear) else getattr(net, "embedding", None)
    if not isinstance(size, int):
        raise UsageError("head sharing", f"the {role} has no linear head", "build it with classes=...")
    return size
