"""Which file may import which vendor package: a literal table."""

from __future__ import annotations

import fnmatch
import sys

from tests.architecture import source

# Vendor package -> the files (patterns) that may import it.
ALLOWED = {
    "numpy": ["*"],
    "torch": [
        "models/*", "data/*", "graph/*", "compress/*", "export/*", "runtimes/torch.py", "runtimes/torch_cuda.py",
        "runtimes/executorch.py",
        "runtimes/mil/*", "pipeline/*",
    ],
    "torchao": ["graph/annotate.py", "graph/qdq.py", "compress/quantize/*"],
    "lightning": ["compress/engine.py"],
    "lightning_fabric": ["compress/engine.py"],
    "safetensors": ["models/*", "graph/trust.py", "graph/trust_weights.py", "compress/fit.py", "pipeline/*"],
    "timm": ["models/timm.py"],
    "torchvision": ["models/timm.py"],
    "scipy": ["compress/quantize/mixed.py"],
    "sklearn": ["data/digits.py"],
    "PIL": ["data/*"],
    "kornia": ["compress/augment.py"],
    "onnx": [
        "export/onnx.py",
        "export/integer_bias.py",
        "export/openvino.py",
        "export/tensorrt.py",
        "runtimes/ort.py",
        "bench/adopt.py",
    ],
    "onnxscript": ["export/onnx.py"],
    "onnxruntime": ["runtimes/ort.py", "runtimes/ort_cuda.py"],
    "openvino": ["export/openvino.py", "runtimes/openvino.py"],
    "tensorrt": ["export/engine.py", "runtimes/tensorrt.py"],
    "tensorrt_rtx": ["export/engine.py", "runtimes/tensorrt.py"],
    "google": ["runtimes/mil/package.py"],  # the error of protobuf, in which coremltools reads its files
    "coremltools": ["export/coreml.py", "export/coreml_weights.py", "runtimes/coreml_vendor.py"],
    "executorch": ["export/executorch.py", "runtimes/executorch.py"],
    "coreai_torch": ["export/coreai.py"],
    "pydantic": [
        "pipeline/recipe.py",
        "pipeline/quantize_section.py",
        "pipeline/options.py",
        "pipeline/device_file.py",
        "pipeline/fleet_file.py",
    ],
    "yaml": ["pipeline/recipe.py", "pipeline/sources.py", "pipeline/device_file.py", "pipeline/fleet_file.py"],
    "typer": ["cli/*"],
    "rich": ["cli/*"],
    "ray": ["pipeline/trials.py", "devices/fleet.py"],
    "jinja2": ["kits/app.py", "kits/model_card.py", "kits/recipe.py"],
    "cyclonedx": ["kits/bom.py"],
    "packageurl": ["kits/bom.py"],
    "securesystemslib": ["kits/signing.py"],
    "cryptography": ["kits/signing.py"],
}  # fmt: skip


def vendor_imports() -> list[tuple[str, str]]:
    pairs = {(source.name(file), dotted.split(".")[0]) for file in source.files() for dotted in source.imports(file)}
    ours = {*sys.stdlib_module_names, "edgesmith", "__future__"}
    return sorted((file, vendor) for file, vendor in pairs if vendor not in ours)


def test_every_vendor_import_is_in_the_table() -> None:
    wrong = [
        (file, vendor)
        for file, vendor in vendor_imports()
        if not any(fnmatch.fnmatch(file, pattern) for pattern in ALLOWED.get(vendor, []))
    ]
    assert wrong == []


def test_the_table_names_no_vendor_that_nobody_imports() -> None:
    used = {vendor for _, vendor in vendor_imports()}
    # The other spelling of a package, and runtimes that are only probed for where they are absent.
    assert set(ALLOWED) - used <= {"lightning", "tensorrt", "tensorrt_rtx", "onnxscript", "timm", "torchvision"}
