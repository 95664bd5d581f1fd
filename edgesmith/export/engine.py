"""Builds engines out of ONNX by TensorRT or TensorRT-RTX, on the host or by the worker on the device.

Needs numpy and the vendor's library alone. Source: NVIDIA's TensorRT and TensorRT-RTX documentation, "Python API".
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesmith.artifact import Engine, engine_system
from edgesmith.errors import ExportFailed
from edgesmith.plugins import missing_package
from edgesmith.tensors import TensorSpec

LARGEST_BATCH = 64  # an engine with a dynamic batch is tuned for 1 to this many
_RTX = "tensorrt_rtx"
# Of an engine that is built for no chosen GPU. Source: TensorRT-RTX documentation, "Support matrix"; 9.0 is in no list.
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
RTX_DEFAULT = ("8.0", "8.6", "8.9", "12.0")


@dataclass(frozen=True)
class Refusal:
    """What the vendor's ONNX parser says of a node; node: its name in the file, "" where it names none."""

    node: str
    reason: str


class NotParsed(Exception):
    """The vendor's parser does not take the model."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(f"{one.node}: {one.reason}" if one.node else one.reason for one in refusals)[:480])
        self.refusals = tuple(refusals)


def library(module: str, asked: str) -> Any:
    """The vendor's module. Raises: MissingPackage, ExportFailed when its shared libraries do not load."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error, asked) from error
    except (ImportError, OSError) as error:
        found = f"{module} is installed but its libraries do not load ({error})"
        raise ExportFailed(asked, found, f"install {module} again with its libraries") from error


def build(
    trt: Any, model: bytes, inputs: Sequence[TensorSpec], capability: str = "", cache: Path | None = None
) -> tuple[bytes, Engine]:
    """An engine and its record, whose `file` is for the caller to fill in.

    capability: the compute capability to build for. TensorRT builds for the GPU that is here, so it is that one's;
    TensorRT-RTX without one builds for RTX_DEFAULT. cache: file of TensorRT's timing cache, read if there and written
    anew: with it the same layers are not timed again. Raises: NotParsed, ExportFailed.
    """
    logger = _listener(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise NotParsed([_refusal(parser.get_error(index)) for index in range(parser.num_errors)])
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or nobody can say what ran where
    if any(spec.dynamic for spec in inputs):
        config.add_optimization_profile(_profile(builder, inputs))
    rtx = trt.__name__ == _RTX
    if rtx and capability:
        _aim(trt, config, capability)
    # TensorRT-RTX times nothing when it builds, and a timing cache makes it ask for a GPU.
    timings = None if rtx or cache is None else _read_cache(config, cache)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        found = "; ".join(logger.heard[-3:]) or "the builder gave no reason"
        raise ExportFailed(f"build an engine by {trt.__name__}", f"none was built ({found})", "drop this target")
    if timings is not None and cache is not None:
        cache.write_bytes(bytes(timings.serialize()))
    capabilities = (capability,) if capability else RTX_DEFAULT if rtx else ()
    flags = ("strongly typed", *((f"batch 1 to {LARGEST_BATCH}",) if config.num_optimization_profiles else ()))
    return bytes(engine), Engine("", trt.__name__, str(trt.__version__), capabilities, engine_system(), flags)


def _aim(trt: Any, config: Any, capability: str) -> None:
    known = {name: value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    wanted = f"SM{capability.replace('.', '')}"
    if wanted not in known:
        found = f"it knows {', '.join(known)}, and not {wanted}"
        raise ExportFailed(f"build an engine for compute capability {capability} by {_RTX}", found, "use tensorrt")
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[wanted], 0)


def _network_flags(trt: Any) -> int:
    """Types as the ONNX file states them, where the vendor still asks (RTX knows nothing else)."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _profile(builder: Any, inputs: Sequence[TensorSpec]) -> Any:
    """Any batch up to the largest; tuned for one, which is what devices are asked for."""
    profile = builder.create_optimization_profile()
    for spec in inputs:
        profile.set_shape(spec.name, spec.concrete(1), spec.concrete(1), spec.concrete(LARGEST_BATCH))
    return profile


def _read_cache(config: Any, cache: Path) -> Any:
    """The timing cache of earlier builds; one of another version or GPU is left aside, as the vendor asks."""
    kept = cache.read_bytes() if cache.exists() else b""
    timings = config.create_timing_cache(kept)
    if timings is None or not config.set_timing_cache(timings, ignore_mismatch=False):
        timings = config.create_timing_cache(b"")
        config.set_timing_cache(timings, ignore_mismatch=False)
    return timings


def _refusal(error: Any) -> Refusal:
    """For an operator without an importer the description is only a condition ("false")."""
    return Refusal(error.node_name(), f"{error.desc().strip()[:200]}, {error.code()}")


def _listener(trt: Any) -> Any:
    class Listener(trt.ILogger):  # the vendor calls a logger of its own class
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.heard: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.heard.append(message)

    return Listener()
