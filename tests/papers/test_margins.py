"""Golden numbers of the margin losses, computed by hand in double precision."""

import pytest
import torch

from edgesmith.compress.margins import AdaFace, MarginLogits, arcface, cosface

DOUBLE = torch.float64


def cosine(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=DOUBLE)


@pytest.mark.parametrize(("cos", "expected"), [(0.8, 0.414411), (0.0, -0.479426), (-0.9, -1.139713)])
def test_arcface_and_its_linear_branch(cos, expected) -> None:
    assert float(arcface(0.5)(cosine(cos), cosine(1.0))) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(("k", "expected"), [(-1.0, 0.503198), (0.0, 0.4), (1.0, 0.170500)])
def test_adaface(k, expected) -> None:
    assert float(AdaFace(0.4).moved(cosine(0.8), cosine(k))) == pytest.approx(expected, abs=5e-7)


def test_cosface() -> None:
    assert float(cosface(0.4)(cosine(0.8), cosine(1.0))) == pytest.approx(0.4, abs=1e-12)


def test_the_target_alone_is_moved_and_all_are_scaled() -> None:
    z, w = torch.tensor([[3.0, 4.0]], dtype=DOUBLE), torch.tensor([[0.0, 2.0], [5.0, 0.0]], dtype=DOUBLE)
    judged = MarginLogits(arcface(0.5), scale=10.0)(z, w, torch.tensor([0]))
    assert judged.logits[0].tolist() == pytest.approx([4.14411, 6.0], abs=5e-6)
    assert judged.target.tolist() == pytest.approx([8.0])
