"""Attention as one operation."""

from __future__ import annotations

import math

import torch

from edgesmith.runtimes.mil.numerics import matmul
from edgesmith.runtimes.mil.registry import Call, Tensor, op


@op("scaled_dot_product_attention", since="ios18")
def scaled_dot_product_attention(
    call: Call, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """softmax(query key^T / sqrt(E) + mask) value; a mask of truth values says what takes part.

    Shape: query (..., L, E), key (..., S, E), value (..., S, EV) -> (..., L, EV).
    """
    scores = matmul(query, key.transpose(-2, -1), call.numerics) / math.sqrt(query.shape[-1])
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return matmul(torch.softmax(scores, -1), value, call.numerics)
