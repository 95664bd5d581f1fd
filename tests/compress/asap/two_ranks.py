"""What test_ranks.py runs by torchrun: one search in two processes; each leaves what it ended with."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from edgesmith.compress.asap.anneal import Annealing
from edgesmith.compress.asap.cells import CellSpace
from edgesmith.compress.asap.methods import search
from edgesmith.compress.asap.search import Rules
from edgesmith.compress.fit import fit
from edgesmith.compress.task import Parts
from tests.compress.training import CONFIG, PREPROCESSING, images


def main(folder: Path) -> None:
    space = CellSpace(3, 2, 3, ("sep3", "max3", "skip"))
    task = search(Parts(space.supernet(), None, 3), Rules(Annealing(1.5, 0.4)), alpha_lr=0.1)
    fit(task, images(), PREPROCESSING, replace(CONFIG, epochs=3), folder)
    weights = {name: parameter.detach() for name, parameter in task.supernet.named_parameters()}
    operations = {edge: list(alive) for edge, alive in task.supernet.architecture.operations.items()}
    torch.save({"weights": weights, "operations": operations}, folder / f"rank{dist.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
