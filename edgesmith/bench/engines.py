"""Engines that are built on the device: by the worker, from the ONNX file of the artefact."""

from __future__ import annotations

from dataclasses import replace

from edgesmith.artifact import Exported, save_exported
from edgesmith.errors import ExportFailed
from edgesmith.export import engine
from edgesmith.runtimes.cuda import Cuda

ENGINE, CACHE = "model.engine", "timing.cache"
_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


def with_engine(exported: Exported, rebuild: bool) -> Exported:
    """The artefact with an engine for this GPU: built if it has none yet, or if that is asked; else as it is.

    Raises: MissingPackage, MissingResource without a GPU, ExportFailed where the library refuses the model.
    """
    module = _MODULES.get(exported.runtime)
    if module is None or not exported.source or (exported.engines and not rebuild):
        return exported
    asked = f"build the engine of {exported.target} here"
    trt = engine.library(module, asked)
    capability = Cuda().capability()
    try:
        model = (exported.root / exported.source).read_bytes()
        made, record = engine.build(trt, model, exported.inputs, capability, exported.root / CACHE)
    except engine.NotParsed as error:
        raise ExportFailed(asked, f"the ONNX parser refused it ({error})", "drop this target") from error
    (exported.root / ENGINE).write_bytes(made)
    built = replace(exported, main=ENGINE, engines=(replace(record, file=ENGINE),))
    return save_exported(exported.root, built, exported.golden())
