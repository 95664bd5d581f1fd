"""From the embeddings of an album's photos to one embedding and the importance of each photo.

Every operator exports: fixed shapes, no branch on a value, and a mask instead of missing photos.
Source: Glaser et al. 2021, arXiv 2109.12499 (PETA).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError

Norm = Literal["post", "pre"]
# The score of a photo that is not there: exp() of it is exactly 0, and fp16 can hold it.
NOT_THERE = -1e4
INIT_STD = 0.02


class Attention(nn.Module):
    """Multi-head attention that also tells where it looked.

    Shape: queries (N, Q, d), tokens (N, T, d), missing bool (N, T) -> (N, Q, d) and attention (N, heads, Q, T).
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.project = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self._split(self.query(queries)), self._split(self.key(tokens)), self._split(self.value(tokens))
        scores = (q * self.scale) @ k.transpose(2, 3)
        # A choice, not a sum: int8 families quantize sums, and -1e4 would take the whole grid.
        attention = scores.masked_fill(missing[:, None, None, :], NOT_THERE).softmax(3)
        mixed = (self.dropout(attention) @ v).transpose(1, 2).flatten(2)
        return self.project(mixed), attention

    def _split(self, values: Tensor) -> Tensor:
        """Shape: (N, T, d) -> (N, heads, T, d / heads)."""
        return values.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """One encoder layer; norms after the sums ("post", as in the released weights) or before the branches ("pre").

    Source: Vaswani et al. 2017; the paper's figure draws "pre".
    """

    def __init__(self, dim: int, heads: int, ffn: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.pre = norm == "pre"
        self.attention = Attention(dim, heads, dropout)
        self.expand, self.act, self.contract = nn.Linear(dim, ffn), nn.ReLU(), nn.Linear(ffn, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, missing: Tensor, first_only: bool) -> tuple[Tensor, Tensor]:
        """All tokens, or only the first one as it would come out. Also the attention of these tokens."""
        tokens = self.norm1(x) if self.pre else x
        asking, x = (tokens[:, :1], x[:, :1]) if first_only else (tokens, x)
        mixed, attention = self.attention(asking, tokens, missing)
        x = x + self.dropout(mixed)
        if self.pre:
            return x + self._feed(self.norm2(x)), attention
        x = self.norm1(x)
        return self.norm2(x + self._feed(x)), attention

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(self.dropout(self.act(self.expand(x)))))


class TransformerPooling(nn.Module):
    """A CLS token and the photos' embeddings through encoder layers; CLS is the album.

    A photo's importance is the attention CLS pays to it in the last layer, the mean over heads. `positions` (a learned
    table for a fixed number of photos) makes the order matter; without, an album is a set. The last layer is computed
    for CLS alone: nothing reads the other tokens.
    Shape: embeddings (N, S, d), kept bool (N, S) -> album (N, d), importance (N, S).
    """

    def __init__(self, dim: int, layers: int, heads: int, ffn: int, norm: Norm, positions: int, dropout: float) -> None:
        super().__init__()
        if min(dim, layers, heads, ffn) < 1 or dim % heads or not 0 <= dropout < 1:
            found = f"dim {dim}, layers {layers}, heads {heads}, ffn {ffn}, dropout {dropout}"
            raise UsageError("pool by a transformer", found, "give positive sizes, and heads that divide dim")
        self.cls = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=INIT_STD))
        self.positions = None
        if positions:
            self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, positions + 1, dim), std=INIT_STD))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, ffn, norm, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, embeddings: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        x = self._led_by_cls(embeddings)
        if self.positions is not None:
            x = x + self.positions
        # CLS is always there, so that an album without photos still has one token to look at.
        weights = kept.to(x.dtype)  # joined as numbers: Core ML has no concatenation of truth values
        missing = torch.cat([torch.ones_like(weights[:, :1]), weights], 1) < 0.5
        x = self.dropout(x)
        *front, last = self.blocks
        for block in front:
            x, _ = block(x, missing, first_only=False)
        x, attention = last(x, missing, first_only=True)
        return self.norm(x[:, 0]), attention.mean(1)[:, 0, 1:]

    def _led_by_cls(self, embeddings: Tensor) -> Tensor:
        """CLS before the photos. Shape: (N, S, d) -> (N, S + 1, d).

        A choice of rows, as OpenVINO 2026.4 cannot compile a quantized torch.cat with a constant part (it crashes), and
        computes nonsense behind a quantized pad.
        """
        places = torch.arange(embeddings.shape[1] + 1, device=embeddings.device)
        behind = (places > 0).to(places.dtype)  # not clamp, whose integers Core ML takes for floats
        return torch.where((places == 0)[None, :, None], self.cls, embeddings.index_select(1, places - behind))


def shares(kept: Tensor) -> Tensor:
    """1 / n for each of the n photos that are there, else 0. Shape: bool (N, S) -> float32 (N, S)."""
    weights = kept.to(torch.float32)
    return weights / weights.sum(1, keepdim=True).clamp(min=1.0)
