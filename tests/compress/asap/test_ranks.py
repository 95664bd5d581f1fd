import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[3]


def test_two_processes_come_to_the_same_decisions_and_weights(tmp_path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.compress.asap.two_ranks", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one["operations"] == other["operations"] and set(one["weights"]) == set(other["weights"])
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    assert sum(len(alive) for alive in one["operations"].values()) < 28 * 3
    assert any(one["weights"][name].any() for name in one["weights"] if "alphas" in name)
