"""Which engine of an artefact can be loaded here, and why the others cannot."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgesmith.artifact import Engine, Exported, building, load_exported, save_exported
from edgesmith.errors import EngineFailed, UsageError

REBUILD = "rebuild it on the device (`edgesmith bench --rebuild`)"


@dataclass(frozen=True)
class Here:
    """What an engine would be loaded by. capability: of the GPU, like "8.6"."""

    library: str
    version: str
    capability: str
    system: str


def mismatch(engine: Engine, here: Here) -> str:
    """Why an engine cannot be loaded here, in words; "" where nothing speaks against it."""
    found = []
    if engine.library != here.library:
        found.append(f"it is of {engine.library}, here is {here.library}")
    elif engine.version != here.version:
        found.append(f"built by {engine.library} {engine.version}, here is {here.version}")
    if engine.capabilities and here.capability not in engine.capabilities:
        built = ", ".join(engine.capabilities)
        found.append(f"built for compute capability {built}, here is {here.capability}")
    if engine.system != here.system:
        found.append(f"built on {engine.system}, here is {here.system}")
    return "; ".join(found)


def choose(exported: Exported, here: Here) -> Engine:
    """The first engine that fits; one without a record is tried. Raises: EngineFailed saying why none does."""
    if not exported.engines and exported.main != exported.source:
        return Engine(exported.main, here.library, here.version, (here.capability,), here.system)
    fitting = next((engine for engine in exported.engines if not mismatch(engine, here)), None)
    if fitting is not None:
        return fitting
    asked = f"load an engine of {exported.target} with {here.library}"
    reasons = [f"{engine.file}: {mismatch(engine, here)}" for engine in exported.engines]
    todo = REBUILD if exported.source else "export it again on the device"
    raise EngineFailed(asked, " | ".join(reasons) or f"there is none yet, only {exported.source}", todo)


def fat(parts: Sequence[Exported], folder: Path, fallback: str = "ort") -> Exported:
    """One artefact with the engines of several, and their ONNX file for where none of them fits.

    parts: the same model and plan, built for different GPUs, versions or systems. fallback: the runtime that opens the
    ONNX file. Raises: UsageError for parts of different models.
    """
    first = parts[0]
    asked = f"put the engines of {len(parts)} artefacts into one"
    for part in parts:
        same = (part.target, part.inputs, part.outputs, part.plan_digest, part.products)
        if same != (first.target, first.inputs, first.outputs, first.plan_digest, first.products):
            raise UsageError(asked, f"{part.root} is not of the model of {first.root}", "export the same model")
        if not part.engines or not part.source:
            raise UsageError(asked, f"{part.root} has no engine with a record", "export it again, or build it there")
    with building(folder) as temporary:
        engines: list[Engine] = []
        for engine, root in ((engine, part.root) for part in parts for engine in part.engines):
            name = f"model-{len(engines)}{Path(engine.file).suffix}"
            shutil.copy2(root / engine.file, temporary / name)
            engines.append(replace(engine, file=name))
        shutil.copy2(first.root / first.source, temporary / first.source)
        made = replace(first, main=engines[0].file, engines=tuple(engines), fallback=fallback, root=temporary)
        save_exported(temporary, made, first.golden())
    return load_exported(folder)
