"""Which targets can be made and run on this machine, by making and running them; writes docs/compatibility.md.

    python docs/compatibility.py

Every row of targets.TARGETS is exported for the five tiny nets of tests/models.py and run against the PyTorch module.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # tests/ is not installed

import edgesmith  # noqa: E402
from edgesmith import metrics  # noqa: E402
from edgesmith.artifact import Exported  # noqa: E402
from edgesmith.devices.facts import this_machine  # noqa: E402
from edgesmith.pipeline.judge import REFERENCE  # noqa: E402
from edgesmith.pipeline.run import version_of  # noqa: E402
from edgesmith.runtimes import RUNTIMES  # noqa: E402
from edgesmith.runtimes.session import RunOptions  # noqa: E402
from edgesmith.targets import TARGETS  # noqa: E402
from tests.models import TINY, tiny  # noqa: E402

PACKAGES = (
    "torch",
    "torchao",
    "lightning-fabric",
    "safetensors",
    "numpy",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "coremltools",
    "executorch",
    "tensorrt",
    "tensorrt-rtx",
    "timm",
)
SHAPE = (3, 8, 8)
BATCHES, SAMPLES = 8, 8
LEAST_COSINE = {"int8": 0.9}
LEAST_COSINE_FLOAT = 0.99
# Weights in fewer bits, without any training afterwards: what is asked is that nothing is broken.
LEAST_COSINE_WEIGHTS = {"w8": 0.99, "pal8": 0.99, "w4": 0.9, "pal4": 0.9, "pal2": 0.5, "sparse": 0.5, "sparse8": 0.5}
FACTS = """
- ONNX Runtime 1.32: convolutions run in integers with u8 activations, s8 weights a channel and a quantized output.
  Without VNNI u8 x s8 saturates. It quantizes biases by itself.
- OpenVINO 2026.4: an average pool that counts its padding is wrong at the borders when its input is quantized with a
  zero point that is not 0: the padding is the integer 0 (`test_openvino_pads_averages_with_the_integer_zero`).
- Core ML runs on macOS only. Elsewhere *yes* is what our own interpreter of the file computed
  (`docs/coreml-without-a-mac.md`).
- Core ML (coremltools 9.0): scales are stored in fp16, so plans for it hold fp16 values. Integers of 4 bits, blocks and
  tables for groups of channels need iOS 18. coremltools quantizes weights in fp16 arithmetic: an integer near a
  border may be the next one.
- ExecuTorch 1.5: installs beside all pinned versions and keeps torch; XNNPACK takes an integer layer only with a
  quantized output, and has one pool of threads a process. Batches are bounded by 64. It is an extra of its own,
  `pip install 'edgesmith[executorch]'`, and not part of `make test`.
- TensorRT and TensorRT-RTX: symmetric s8 only, no int32 bias; what their parser is given is compared with the plan
  (`docs/dialects.md`), and nothing is known here of what they execute.
- LiteRT (litert-torch 0.10) would replace pinned versions of pydantic and typing-extensions, and needs an environment
  of its own; it is no target yet, and ncnn is none either.
"""


@dataclass(frozen=True)
class Cell:
    """One target with one net. word: "yes", "no" or "built, not run here"; cosine is None where nothing ran."""

    word: str
    reason: str = ""
    cosine: float | None = None


def loader(seed: int) -> Iterable[tuple[torch.Tensor]]:
    """Random batches: calibration ranges of such nets mean something for such inputs only."""
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(SAMPLES, *SHAPE, generator=generator),) for _ in range(BATCHES)]


def try_net(name: str, folder: Path) -> dict[str, Cell]:
    """Export one net to every target, run what can be run here, and compare it with the module itself."""
    module, example = tiny(name), torch.zeros(1, *SHAPE)
    bundle = edgesmith.convert(module, example, list(TARGETS), calibration=loader(0), out=folder)
    table = edgesmith.check(bundle, against=module, data=loader(1), required=[], bench=False)
    cells = {t: Cell("no", absent.reason.removeprefix(f"export to {t}: ")) for t, absent in bundle.absent.items()}
    runs = {v.target: v for v in table.judgement.verdicts if v.check == "runs"}
    cosines: dict[str, float] = {a.target: a.cosine.value for a in table.judgement.agreements}
    cosines[REFERENCE] = _original(bundle.exported[REFERENCE], module)
    for target in bundle.exported:
        verdict = runs.get(target)
        if verdict is not None and verdict.state != "pass":
            word = "no" if verdict.state == "fail" else "built, not run here"
            cells[target] = Cell(word, verdict.found)
        else:
            cells[target] = _judged(target, cosines[target])
    return cells


def _original(exported: Exported, module: nn.Module) -> float:
    """The saved program against the module: everything else is compared with that program."""
    feed = loader(1)
    with RUNTIMES.get(exported.runtime).open(exported, RunOptions()) as session, torch.no_grad():
        rows = [x[i : i + 1] for (x,) in feed for i in range(len(x))]
        found = [next(iter(session.run({session.inputs[0].name: row.numpy()}).values())) for row in rows]
        wanted = [module(row).numpy() for row in rows]
    return float(metrics.cosine(np.concatenate(found), np.concatenate(wanted)).mean())


def _judged(target: str, cosine: float) -> Cell:
    row = TARGETS[target]
    least = LEAST_COSINE_WEIGHTS.get(row.weights or "", LEAST_COSINE.get(row.precision, LEAST_COSINE_FLOAT))
    if cosine >= least:  # NaN is not
        return Cell("yes", cosine=cosine)
    return Cell("no", f"cosine {cosine:.4f} to the original, less than {least}", cosine)


def page(cells: dict[str, dict[str, Cell]]) -> str:
    """The whole of docs/compatibility.md. cells: net -> target -> cell."""
    info = this_machine()
    nets = list(cells)
    reasons = list(dict.fromkeys(cells[net][t].reason for t in TARGETS for net in nets if cells[net][t].reason))
    facts = [
        ("edgesmith", edgesmith.__version__),
        ("Python", info.python),
        ("system", info.os),
        ("processor", f"{info.cpu}, {info.cores} cores"),
        ("instruction set (decides the int8 plans)", info.instruction_set),
        ("accelerator", info.accelerator or "none"),
        *((package, version_of(package).replace("absent", "not installed")) for package in PACKAGES),
    ]
    rows = [[f"`{target}`", *(_text(cells[net][target], reasons) for net in nets), _lowest(cells, target)]
            for target in TARGETS]  # fmt: skip
    lines = [
        "# Compatibility",
        "",
        f"Written by `python docs/compatibility.py` (`make docs`) on {time.strftime('%Y-%m-%d', time.gmtime())};",
        "do not edit. It says what was made and run on one machine, and nothing about others.",
        "",
        *_table(("what", "version"), facts),
        "",
        "## Targets and tiny nets",
        "",
        "Each net of `tests/models.py` was exported to each target, calibrated and compared with the PyTorch module on",
        f"random inputs ({BATCHES * SAMPLES} for each, one row at a time). *yes*: it ran, and the mean cosine of the",
        f"outputs was at least {LEAST_COSINE_FLOAT} (int8: {LEAST_COSINE['int8']}; weights of 4 bits 0.9, of 2 bits",
        "or sparse 0.5). *built, not run here*: the file was made, and nothing is known of what it computes. Numbers",
        "point to the reasons below.",
        "",
        *_table(("target", *nets, "lowest cosine"), rows),
        "",
        *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)),
        "",
        "## What was seen of the vendors' packages",
        FACTS.rstrip(),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _text(cell: Cell, reasons: list[str]) -> str:
    return f"{cell.word} ({reasons.index(cell.reason) + 1})" if cell.reason else cell.word


def _lowest(cells: dict[str, dict[str, Cell]], target: str) -> str:
    known = [cell.cosine for column in cells.values() if (cell := column[target]).cosine is not None]
    return f"{min(known):.4f}" if known else ""


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    header = list(header)
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *map(list, rows))]


def main() -> None:
    """Try everything, print the page and write it."""
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in TINY:
            print(f"{name} ...", file=sys.stderr, flush=True)
            cells[name] = try_net(name, Path(folder) / name)
    text = page(cells)
    print(text)
    (ROOT / "docs" / "compatibility.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
