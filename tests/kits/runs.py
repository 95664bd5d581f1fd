"""A small run on disk: its report, and the artefacts of its export step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgesmith import records
from tests.kits.artifacts import artifact
from tests.report.sample import report

KEY = "0123456789abcdef"
PROVENANCE = {
    "command": "edgesmith run r.yaml",
    "recipe": "name: small\n",
    "versions": {"torch": "2.13.0", "onnx": "1.19.0", "tensorrt": "absent"},
    "date": "2026-01-02",
    "data": "d1" * 32,
    "steps": {"export": KEY},
}


def run_folder(root: Path, **changes: Any) -> Path:
    """A run whose export step made ort-fp32 and openvino-fp32."""
    export = root / f"export-{KEY[:8]}"
    for runtime in ("ort", "openvino"):
        artifact(export / f"{runtime}-fp32", runtime)
    records.save(export / "bundle.json", {"exported": ["ort-fp32", "openvino-fp32"], "absent": {}})
    records.save(root / "report.json", report(**({"provenance": PROVENANCE} | changes)))
    return root
