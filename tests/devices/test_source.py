from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgesmith.devices.source import worker_files


def test_the_sources_that_travel_are_all_that_the_worker_imports(tmp_path: Path) -> None:
    for name, file in worker_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(file.read_bytes())
    code = "import edgesmith.bench.worker, edgesmith.bench.child; print(edgesmith.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.stdout.startswith(str(tmp_path)), ended.stderr
