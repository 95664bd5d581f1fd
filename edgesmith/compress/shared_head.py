"""Layers that carry a student's embedding to another net's head: projector, fold, ensemble."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

SMALLEST = 1e-7  # a probability whose log fp16 can still take


def procrustes(student: Tensor, teacher: Tensor) -> Tensor:
    """The (semi-)orthogonal P that brings student embeddings closest to the teacher's: U V^T of T^T S.

    Shape: student (N, d_s), teacher (N, d_t) -> P (d_t, d_s). Source: Schoenemann 1966.
    """
    u, _, v = torch.linalg.svd(teacher.double().T @ student.double(), full_matrices=False)
    return (u @ v).to(student.dtype)


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
    """Log of (1 - a) softmax(own) + a softmax(shared): logits whose softmax is equation (4)."""

    def __init__(self, own: nn.Linear, shared: nn.Linear, a_th: float) -> None:
        super().__init__()
        self.own, self.shared, self.a_th = own, shared, a_th

    def forward(self, z: Tensor) -> Tensor:
        own, shared = self.own(z).softmax(1), self.shared(z).softmax(1)
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
    """A student without a head whose embedding is carried into the teacher's space."""

    def __init__(self, student: nn.Module, projector: nn.Linear) -> None:
        super().__init__()
        self.student, self.projector, self.head = student, projector, None

    def embed(self, x: Tensor) -> Tensor:
        return self.projector(self.student.embed(x))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


def orthogonal(size_in: int, size_out: int, seed: int) -> nn.Linear:
    """A random (semi-)orthogonal projector without bias."""
    projector = nn.Linear(size_in, size_out, bias=False)
    nn.init.orthogonal_(projector.weight, generator=torch.Generator().manual_seed(seed))
    return projector
