"""What a search was like, epoch by epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgesmith.compress.asap.anneal import operation_table
from edgesmith.compress.asap.architecture import Architecture
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.compress.asap.space import architecture_of
from edgesmith.models.count import count_parameters

MIB = 1 << 20


@dataclass(frozen=True)
class SearchEpoch:
    """The end of an epoch (counted from 1), after its pruning.

    weights: edge -> operation alive -> weight; one operation: 1. inputs: node -> input edge alive -> weight, of the
    nodes that choose. strongest: operation -> on how many edges it is the first. parameters: of the whole supernet.
    peak_memory_mb: the most that tensors took on a GPU during the epoch, in MiB; None elsewhere.
    """

    epoch: int
    temperature: float
    grace: bool
    weights: Mapping[str, Mapping[str, float]]
    inputs: Mapping[str, Mapping[str, float]]
    strongest: Mapping[str, int]
    operations: int
    parameters: int
    latency_ms: float | None = None
    peak_memory_mb: float | None = None


@torch.no_grad()
def look(supernet: nn.Module, epoch: int, grace: bool, table: LatencyTable | None) -> SearchEpoch:
    """Note the state of a search after an epoch (counted from 1)."""
    architecture = architecture_of(supernet)
    weights = operation_table(architecture)
    return SearchEpoch(
        epoch,
        float(architecture.temperature),
        grace,
        weights,
        _inputs(architecture),
        dict(Counter(max(of, key=of.__getitem__) for of in weights.values())),
        sum(len(of) for of in weights.values()),
        count_parameters(supernet),
        None if table is None else float(table.expected(architecture.shares())),
        _peak_memory(architecture.temperature.device),
    )


def _inputs(architecture: Architecture) -> dict[str, dict[str, float]]:
    gated = architecture.gates
    return {node: dict(zip(architecture.inputs[node], architecture.node_weights(node).tolist())) for node in gated}


def _peak_memory(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / MIB
    torch.cuda.reset_peak_memory_stats(device)
    return peak
