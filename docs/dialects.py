"""Whether the numbers in every family's file are its plan's, by making and reading files; writes docs/dialects.md.

python docs/dialects.py
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # tests/ is not installed

from edgesmith.export import EXPORTERS  # noqa: E402
from edgesmith.export.exporter import decomposed, prepared  # noqa: E402
from edgesmith.export.onnx import to_onnx  # noqa: E402
from edgesmith.graph.capture import Program  # noqa: E402
from edgesmith.plugins import is_installed  # noqa: E402
from edgesmith.quant import QuantPlan  # noqa: E402
from edgesmith.targets import FAMILIES, target  # noqa: E402
from tests.export.quantized import planned  # noqa: E402
from tests.export.stored import READERS, Numbers, in_onnx, in_pte, of_plan  # noqa: E402
from tests.models import TINY  # noqa: E402

# Family -> the file, and what reads it.
SOURCES = {
    "ort": ("model.onnx", "initialisers, by onnx"),
    "openvino": ("model.xml, model.bin", "constants and FakeQuantize, by openvino"),
    "tensorrt": ("the ONNX that its parser is given", "initialisers, by onnx"),
    "coreml": ("model.mlpackage", "constexpr_affine_dequantize and quantize, by coremltools"),
    "executorch": ("model.pte", "found as bytes: the format has no public reader"),
}


INTRODUCTION = """# Dialects: what is in the files

Written by `python docs/dialects.py`; do not edit. The tiny nets of `tests/models.py` are calibrated once; each family
derives its plan from that one record and writes its file. Here the file is read back and compared with integers
computed in numpy from the plan alone (`edgesmith/quant.py`). Equal means bit for bit: every integer of a weight, its
scales and its zero points; for values, scale, zero point and sign. In a .pte only the scales of values can be looked
for. `tests/export/test_dialects.py` asks the same of each net and family.
"""


@dataclass(frozen=True)
class Row:
    """How much of a family's numbers was found in its files, over all tiny nets."""

    family: str
    weights: int
    integers: int
    equal_weights: int
    grids: int
    equal_grids: int

    @property
    def exact(self) -> bool:
        return self.weights > 0 and (self.equal_weights, self.equal_grids) == (self.weights, self.grids)


def stored(family: str, program: Program, plan: QuantPlan, folder: Path) -> Numbers:
    """The numbers in the file of one net."""
    row = target(f"{family}-int8")
    if family == "tensorrt":
        lowered = prepared(program, plan, row)
        return in_onnx(to_onnx(lowered, decomposed(lowered), row))
    exported = EXPORTERS.get(row.exporter)(program, plan, row, folder)
    return in_pte(exported, of_plan(program, plan)) if family == "executorch" else READERS[family](exported)


def row_of(family: str) -> Row:
    """Export every tiny net for a family and read the files back."""
    counts = np.zeros(5, int)
    for net in TINY:
        with tempfile.TemporaryDirectory() as folder:
            program, plan = planned(net, family)
            wanted, found = of_plan(program, plan), stored(family, program, plan, Path(folder))
        same = (
            wanted.weights & found.weights if wanted.weights.total() == found.weights.total() else type(found.weights)()
        )
        equal_grids = len(wanted.grids & found.grids) if wanted.grids >= found.grids else 0
        sizes = sum(len(weight[1]) * count for weight, count in wanted.weights.items())
        counts += [wanted.weights.total(), sizes, same.total(), len(wanted.grids), equal_grids]
    return Row(family, *map(int, counts))


def lines(rows: list[Row]) -> Iterator[str]:
    """The page."""
    yield INTRODUCTION
    yield "| family | file | read from | weights equal | their integers | grids of values equal |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        file, reader = SOURCES[row.family]
        cells = (row.family, file, reader, f"{row.equal_weights} of {row.weights}", f"{row.integers:,}")
        yield f"| {' | '.join(cells)} | {row.equal_grids} of {row.grids} |"


def main() -> int:
    """Write the page; 1 if a file differs from its plan, or a package to look is absent."""
    if not is_installed("executorch"):
        print("executorch is not installed: pip install 'edgesmith[executorch]'", file=sys.stderr)
        return 1
    rows = [row_of(family) for family in FAMILIES]
    text = "\n".join(lines(rows)) + "\n"
    print(text)
    (ROOT / "docs" / "dialects.md").write_text(text, encoding="utf-8")
    return int(not all(row.exact for row in rows))


if __name__ == "__main__":
    sys.exit(main())
