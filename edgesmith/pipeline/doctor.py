"""What this machine can build and run, what a device is, what a folder holds."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgesmith
from edgesmith import records
from edgesmith.artifact import RECORD, load_exported, open_artifact
from edgesmith.devices.entry import DeviceEntry, open_device
from edgesmith.devices.facts import this_machine
from edgesmith.errors import EdgesmithError, EngineFailed, MissingResource, UsageError
from edgesmith.export.engine import RTX_CAPABILITIES
from edgesmith.kits.evidence import check_bundle
from edgesmith.plugins import EXTRA_OF, is_installed
from edgesmith.results import DeviceInfo
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.cuda import Cuda
from edgesmith.targets import TARGETS, Target

# What building and running a target needs: vendor modules by exporter, and by runtime.
_BUILD_NEEDS = {
    "torch": ("torch",),
    "onnx": ("torch", "onnx", "onnxscript"),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
    "coreml": ("torch", "coremltools"),
    "executorch": ("torch", "executorch"),
    "coreai": ("torch", "coreai_torch"),
    "tensorrt": ("torch", "onnx", "onnxscript", "tensorrt"),
    "tensorrt-rtx": ("torch", "onnx", "onnxscript", "tensorrt_rtx"),
}
_RUN_NEEDS = {
    "torch": ("torch",),
    "torch-cuda": ("torch",),
    "ort": ("onnxruntime",),
    "ort-cuda": ("onnxruntime",),
    "openvino": ("openvino",),
    "coreml": ("coremltools",),
    "executorch": ("torch", "executorch"),
    "coreai": ("coreai",),
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx",),
}


def examine(say: Callable[[str], None]) -> dict[str, Any]:
    """A row a target: built here? run here? and if not, why and the install line."""
    info = this_machine()
    rows = [_examine_target(row) for row in TARGETS.values()]
    warnings = []
    if info.instruction_set == "x86":
        warnings.append("this CPU has no VNNI: u8 x s8 products saturate, so int8 weights are planned with 7 bits")
    if is_installed("tensorrt_rtx"):
        warnings.append("TensorRT-RTX engines are for SM75 to SM89 and SM120 on: it has none for SM90 (H100, H200)")
    return {"version": edgesmith.__version__, "device": info, "targets": rows, "warnings": warnings}


def _examine_target(row: Target) -> dict[str, str]:
    build, run = _missing(_BUILD_NEEDS.get(row.exporter, ())), _missing(_RUN_NEEDS.get(row.runtime, ()))
    run = run or _cannot_run(row.runtime)
    reason = "; ".join(dict.fromkeys(text for text in (build, run) if text))
    return {"target": row.name, "build": "no" if build else "yes", "run": "no" if run else "yes", "reason": reason}


def _missing(modules: tuple[str, ...]) -> str:
    absent = [module for module in modules if not is_installed(module)]
    extras = sorted({EXTRA_OF[module] for module in absent})
    return f"{', '.join(absent)} not installed: pip install 'edgesmith[{','.join(extras)}]'" if absent else ""


def _cannot_run(runtime: str) -> str:
    """What stands in the way although the package is there, as far as it can be told without a model."""
    if runtime == "coreml" and platform.system() != "Darwin":
        return _missing(("torch",))  # our interpreter runs it: accuracy is measured, latency on a Mac only
    if runtime == "coreai":
        return "Core AI runs on macOS 27 and later, and edgesmith does not run it yet"
    if runtime.startswith("tensorrt") or runtime.endswith("-cuda"):
        return _gpu_for(runtime)
    try:
        RUNTIMES.get(runtime).version()
    except (EdgesmithError, ImportError, OSError) as error:
        return str(error)
    return ""


def _gpu_for(runtime: str) -> str:
    """Whether the GPU here is one that the library runs on."""
    try:
        capability = Cuda().capability()
    except EdgesmithError as error:
        return f"it runs on an NVIDIA GPU: {error.found}"
    if runtime == "tensorrt-rtx" and capability not in RTX_CAPABILITIES:
        known = ", ".join(RTX_CAPABILITIES)
        return f"TensorRT-RTX is made for compute capabilities {known}; here is {capability}: use tensorrt-*"
    return ""


def probe(entry: DeviceEntry) -> DeviceInfo:
    """Ask a device what it is, and see that a file comes back. Raises: EngineFailed, MissingResource."""
    device = open_device(entry)
    with tempfile.TemporaryDirectory() as folder:
        sent, back = Path(folder) / "sent", Path(folder) / "back"
        (sent / "inner").mkdir(parents=True)
        (sent / "inner" / "file").write_bytes(b"edgesmith")
        remote = device.place(sent)
        try:
            device.push(sent, remote)
            device.pull(f"{remote}/inner/file", back)
        finally:
            device.remove(remote)
        if back.read_bytes() != b"edgesmith":
            raise EngineFailed(f"probe device {entry.name!r}", "a file came back changed", "check the connection")
    return device.info()


def is_artifact(path: Path) -> bool:
    """Whether a folder is an exported artefact of ours."""
    return (path / RECORD).is_file()


def describe(path: Path, key: Path | None = None) -> dict[str, Any]:
    """The record of whatever stands at `path`, after its checksums held. Raises: DamagedArtifact, MissingResource.

    key: the public key that an evidence bundle must be signed by.
    """
    if not path.exists():
        raise MissingResource(f"inspect {path}", "no such file or folder", "check the path")
    if path.is_file() and path.suffix == ".zip":
        return {"kind": "evidence bundle", **records.to_json(check_bundle(path, key))}
    if key is not None:
        raise UsageError(f"inspect {path} --key", "only an evidence bundle is signed", "name the .zip, or drop --key")
    if is_artifact(path):
        artifact = open_artifact(path)
        facts = {"kind": artifact.kind, "key": artifact.key, "files": len(artifact.files), "checksums": "good"}
        if artifact.kind != "exported":
            return {**facts, **artifact.meta}
        exported = load_exported(path, check=False)
        return {**facts, **records.to_json(exported), "size_bytes": exported.size_bytes}
    if path.is_dir() and (path / "bundle.json").exists():
        from edgesmith.pipeline.produce import load_bundle

        bundle = load_bundle(path)
        built = {
            name: f"{exported.size_bytes / 1e6:.2f} MB, checksums good" for name, exported in bundle.exported.items()
        }
        return {"kind": "bundle", **built, **{name: absent.reason for name, absent in bundle.absent.items()}}
    from edgesmith.bench.adopt import adopt

    with tempfile.TemporaryDirectory() as folder:
        foreign = adopt(path, Path(folder))
        facts = records.to_json(foreign)
    return {"kind": "foreign", **{k: facts[k] for k in ("runtime", "inputs", "outputs", "precision")}}
