"""Order: the largest elements, the order of all, and boxes that do not overlap."""

from __future__ import annotations

import torch

from edgesmith.runtimes.mil.limits import check_size
from edgesmith.runtimes.mil.registry import Tensor, op


@op("argsort")
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """The positions in the order of their values; equal values keep their order."""
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


@op("topk")
def topk(x: Tensor, k: int = 1, axis: int = -1, ascending: bool = False) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements in order, and their positions; of equal ones the first."""
    values, places = torch.sort(x, dim=axis, descending=not ascending, stable=True)
    if k == -1:
        k = x.shape[axis]
    return values.narrow(axis, 0, k), places.narrow(axis, 0, k)


@op("topk", since="ios16")
def topk_ios16(
    x: Tensor, k: int = 1, axis: int = -1, ascending: bool = False, sort: bool = True, return_indices: bool = True
) -> Tensor | tuple[Tensor, Tensor]:
    """Without `sort` any order is right; here they are sorted."""
    values, places = topk(x, k, axis, ascending)
    return (values, places) if return_indices else values


@op("topk", since="ios17")
def topk_ios17(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """k = -1 takes all; the plan gives the positions their declared type."""
    return topk_ios16(x, k, axis, ascending, sort, return_indices)


@op("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    score_threshold: float,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes (n, B, 4) as centre and size and scores (n, B, K) of those that remain, their positions, how many they are.

    A box has the score, and the class, of its best class. Rows that remain free are 0, positions there -1. Where no
    score reaches the threshold, the best box is taken all the same: the number is never 0.
    """
    check_size([len(boxes), max_boxes, max(4, scores.shape[-1])])
    found = []
    for box, score in zip(boxes, scores):
        best, label = score.max(-1)
        kept = _suppressed(box, best, label if per_class_suppression else None, iou_threshold, score_threshold)
        found.append(torch.tensor(kept[:max_boxes] or [int(best.argmax())][:max_boxes], dtype=torch.int64))
    counts = torch.tensor([len(places) for places in found])
    free = [max_boxes - len(places) for places in found]
    return (
        torch.stack([_padded(box[places], n) for box, places, n in zip(boxes, found, free)]),
        torch.stack([_padded(score[places], n) for score, places, n in zip(scores, found, free)]),
        torch.stack([torch.cat([places, torch.full((n,), -1)]) for places, n in zip(found, free)]),
        counts,
    )


@op("non_maximum_suppression", since="ios17")
def non_maximum_suppression_ios17(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_boxes: int, per_class_suppression: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """As before with boxes (n, 4, B) and scores (n, K, B), without a least score and without the number."""
    lowest = -float("inf")
    picked, values, places, _ = non_maximum_suppression(
        boxes.mT, scores.mT, iou_threshold, lowest, max_boxes, per_class_suppression
    )
    return picked.mT, values.mT, places


def _padded(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, torch.zeros(count, rows.shape[1], dtype=rows.dtype)])


def _suppressed(boxes: Tensor, best: Tensor, label: Tensor | None, most_overlap: float, least: float) -> list[int]:
    """Positions of the boxes that no better box overlaps too much, best first."""
    order = [i for i in torch.argsort(best, descending=True, stable=True).tolist() if best[i] >= least]
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    area = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for i in order:
        if not alive[i]:
            continue
        kept.append(i)
        sides = (torch.minimum(high[i], high) - torch.maximum(low[i], low)).clamp(min=0)
        shared = sides.prod(-1)
        overlaps = shared / (area[i] + area - shared) > most_overlap
        alive &= ~(overlaps if label is None else overlaps & (label == label[i]))
    return kept
