"""The contrastive loss against its formula, computed with numpy in double precision."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgesmith.compress.contrastive import Contrast, contrastive_loss


def test_the_loss_of_two_anchors() -> None:
    scores = np.array([[2.0, 0.5, 0.1], [0.3, 1.2, 0.7]])
    count, share = 5, 2 / 5
    expected = 0.0
    for positive, *negatives in scores:
        expected -= math.log(positive / (positive + share))
        expected -= sum(math.log(share / (value + share)) for value in negatives)
    found = contrastive_loss(torch.from_numpy(scores), count)
    assert float(found) == pytest.approx(expected / 2, abs=1e-6) and expected / 2 == pytest.approx(2.230794, abs=1e-6)


def test_a_step_is_the_papers_objective_with_one_negative_drawn() -> None:
    """Three samples of three classes, negatives drawn by the module, everything else written out."""
    contrast = Contrast((4, 5), 3, 2, 0.07, 0.5, seed=1)
    contrast.fill(torch.tensor([0, 1, 2]), torch.device("cpu"))
    bank_s, bank_t = contrast.bank_s.clone().double(), contrast.bank_t.clone().double()
    z_s, z_t, rows = torch.randn(2, 4), torch.randn(2, 5), torch.tensor([2, 0])
    torch.manual_seed(3)
    picked = torch.cat([rows[:, None], contrast.draw(rows)], 1)
    torch.manual_seed(3)
    found = float(contrast(z_s, z_t, rows))
    expected = 0.0
    for layer, z, bank in ((contrast.student, z_s, bank_t), (contrast.teacher, z_t, bank_s)):
        v = F.normalize(layer(z), dim=1).double()
        raw = torch.exp(torch.stack([bank[p] @ a for a, p in zip(v, picked)]) / 0.07)
        s, share = raw / (raw.mean() * 3), 2 / 3
        expected += float(
            -(s[:, 0] / (s[:, 0] + share)).log().mean() - (share / (s[:, 1:] + share)).log().sum(1).mean()
        )
    assert found == pytest.approx(expected, rel=1e-4)
    v = F.normalize(contrast.student(z_s), dim=1).double()
    assert torch.allclose(contrast.bank_s[2].double(), F.normalize(0.5 * bank_s[2] + 0.5 * v[0], dim=0), atol=1e-6)
    assert torch.equal(contrast.bank_s[1].double(), bank_s[1])
