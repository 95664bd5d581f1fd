from __future__ import annotations

import torch

from edgesmith.models.album_pooling import Attention, TransformerPooling, shares


def test_shares_are_those_of_the_photos_that_are_there() -> None:
    kept = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0]]).bool()
    assert torch.allclose(shares(kept), torch.tensor([[1 / 3, 1 / 3, 0, 1 / 3], [0, 0, 0, 0]]))


def test_attention_never_looks_at_what_is_not_there() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0)
    missing = torch.tensor([[False, True, False]])
    _, weights = attention(torch.randn(1, 2, 8), 100 * torch.randn(1, 3, 8), missing)
    assert not weights[..., 1].any() and torch.allclose(weights.sum(3), torch.ones(1, 2, 2))
    nothing, weights = attention(torch.randn(1, 1, 8), torch.randn(1, 3, 8), torch.ones(1, 3, dtype=torch.bool))
    assert nothing.isfinite().all() and torch.allclose(weights, torch.full_like(weights, 1 / 3))


def test_half_precision_survives_the_mask() -> None:
    pooling = TransformerPooling(8, 1, 2, 8, "post", 0, 0.0).half().eval()
    with torch.no_grad():
        album, importance = pooling(torch.randn(1, 3, 8).half(), torch.tensor([[True, False, True]]))
    assert album.isfinite().all() and importance[0, 1] == 0
