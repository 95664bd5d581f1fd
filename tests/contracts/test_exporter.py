"""Every exporter is held to the same contract, on every tiny net, in every float precision it has."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from edgesmith.artifact import Exported, load_exported, save_exported, sha256
from edgesmith.errors import ExportFailed, MissingPackage
from edgesmith.export import EXPORTERS
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.trust import load_program
from edgesmith.plugins import is_installed
from edgesmith.targets import TARGETS, Target
from edgesmith.tensors import Arrays, random_feed
from tests.export.unsupported import Net, Odd
from tests.models import TINY, tiny

NETS = (*TINY, "two")
VENDOR = {"torch": "torch", "onnx": "onnx", "openvino": "openvino", "coreml": "coremltools", "tensorrt": "tensorrt"}
VENDOR |= {"tensorrt-rtx": "tensorrt_rtx", "executorch": "executorch", "coreai": "coreai_torch"}
PRESENT = [name for name in EXPORTERS.names() if is_installed(VENDOR[name])]
ABSENT = [name for name in EXPORTERS.names() if not is_installed(VENDOR[name])]


# What a format says nothing of cannot be looked up: its layers have no names in the file.
WITHOUT_NAMES = {"coreai"}


def target_of(exporter: str) -> Target:
    return next(row for row in TARGETS.values() if row.exporter == exporter and row.precision == "fp32")


def program_of(net: str) -> Program:
    if net == "two":
        return capture(tiny(net), {"image": torch.zeros(1, 3, 8, 8), "context": torch.zeros(1, 4)}, dynamic_batch=True)
    return capture(tiny(net), {"x": torch.zeros(1, 3, 8, 8)})


@dataclass(frozen=True)
class Made:
    program: Program
    exported: Exported
    net: str


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[[str, str], Made]:
    @cache
    def export(exporter: str, net: str) -> Made:
        program = program_of(net)
        out = tmp_path_factory.mktemp(f"{exporter}-{net}")
        return Made(program, EXPORTERS.get(exporter)(program, None, target_of(exporter), out), net)

    return export


every_export = pytest.mark.parametrize("exporter, net", [(e, n) for e in PRESENT for n in NETS])


def run_torch(file: Path, feed: Arrays) -> list[np.ndarray]:
    result = load_program(file).module()(*map(torch.from_numpy, feed.values()))
    return [tensor.detach().numpy() for tensor in (result if isinstance(result, tuple | list) else [result])]


def run_onnx(file: Path, feed: Arrays) -> list[np.ndarray]:
    import onnxruntime

    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feed)


def run_openvino(file: Path, feed: Arrays) -> list[np.ndarray]:
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled(feed)
    return [result[output] for output in compiled.outputs]


def run_executorch(file: Path, feed: Arrays) -> list[np.ndarray]:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(file).load_method("forward")
    return [tensor.numpy() for tensor in method.execute([torch.from_numpy(value) for value in feed.values()])]


RUN: dict[str, Callable[[Path, Arrays], list[np.ndarray]]] = {
    "torch": run_torch,
    "ort": run_onnx,
    "openvino": run_openvino,
    "executorch": run_executorch,
}


def tensors_torch(file: Path) -> set[str]:
    return {node.name for node in load_program(file).graph.nodes}


def tensors_onnx(file: Path) -> set[str]:
    import onnx

    return {name for node in onnx.load(file).graph.node for name in node.output}


def tensors_openvino(file: Path) -> set[str]:
    import openvino

    operations = openvino.Core().read_model(file).get_ops()
    return {name for op in operations for output in op.outputs() for name in output.get_names()}


def tensors_coreml(file: Path) -> set[str]:
    from edgesmith.export.coreml import ct

    main = ct.models.MLModel(str(file), skip_model_load=True).get_spec().mlProgram.functions["main"]
    block = main.block_specializations[main.opset]
    return {output.name for operation in block.operations for output in operation.outputs}


TENSORS = {"torch": tensors_torch, "ort": tensors_onnx, "openvino": tensors_openvino, "coreml": tensors_coreml}


@every_export
def test_the_record_says_what_the_program_is(make, exporter, net):
    made = make(exporter, net)
    exported, program = made.exported, made.program
    target = TARGETS[exported.target]
    assert (exported.runtime, exported.precision, exported.main) == (target.runtime, "fp32", f"model{target.suffix}")
    assert exported.inputs == program.inputs
    assert exported.outputs == program.outputs
    assert exported.plan_digest is None


@pytest.mark.parametrize("exporter", PRESENT)
def test_it_can_be_sealed_and_opened_again(make, exporter):
    made = make(exporter, "linear")
    sealed = save_exported(made.exported.root, made.exported, None)
    assert load_exported(sealed.root).file.exists()
    assert load_exported(sealed.root).layer_names == made.exported.layer_names
    (sealed.root / "artifact.json").unlink()


# Core ML and TensorRT files do not run on every host; tests/runtimes looks at what is in them.
@pytest.mark.parametrize("exporter, net", [(e, n) for e in PRESENT if target_of(e).runtime in RUN for n in NETS])
def test_outputs_equal_those_of_torch(make, exporter, net):
    made = make(exporter, net)
    feed = random_feed(made.program.inputs, seed=3, batch=3)
    with torch.no_grad():
        expected = tiny(made.net)(*map(torch.from_numpy, feed.values()))
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = RUN[made.exported.runtime](made.exported.file, feed)
    for wanted, got in zip(expected, found, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=2e-5)


@every_export
def test_layer_names_lead_to_tensors_in_the_file(make, exporter, net):
    made = make(exporter, net)
    assert made.exported.layer_names or exporter in WITHOUT_NAMES, "no layer can be found in the file"
    if made.exported.runtime in TENSORS:
        assert set(made.exported.layer_names.values()) <= TENSORS[made.exported.runtime](made.exported.file)


@every_export
def test_layer_names_are_the_users_module_paths(make, exporter, net):
    made = make(exporter, net)
    modules = {path for path, _ in tiny(made.net).named_modules()}
    for path in made.exported.layer_names:
        parent, _, last = path.rpartition(".")
        assert path in modules or (parent in modules and last.rstrip("_0123456789").isidentifier())


@pytest.mark.parametrize("net", ["depthwise", "two"])
@pytest.mark.parametrize("exporter", PRESENT)
def test_the_same_program_gives_the_same_bytes(exporter, net, tmp_path):
    digests = []
    for name in "ab":
        (tmp_path / name).mkdir()
        exported = EXPORTERS.get(exporter)(program_of(net), None, target_of(exporter), tmp_path / name)
        files = sorted(path for path in exported.root.rglob("*") if path.is_file())
        digests.append({str(path.relative_to(exported.root)): sha256(path) for path in files})
    assert digests[0] == digests[1]


@pytest.mark.parametrize("exporter", [name for name in PRESENT if name != "torch"])
def test_an_unknown_operator_is_named_with_its_module(exporter, tmp_path):
    program = capture(Net(Odd()), {"x": torch.zeros(1, 3, 4, 4)})
    with pytest.raises(ExportFailed) as failed:
        EXPORTERS.get(exporter)(program, None, target_of(exporter), tmp_path)
    assert failed.value.asked == f"export to {target_of(exporter).name}"
    assert "edgesmith_test.odd" in failed.value.found
    assert "'block.0.act'" in failed.value.found
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_on_stdout(tmp_path, capfd):
    for exporter in PRESENT:
        (tmp_path / exporter).mkdir()
        EXPORTERS.get(exporter)(program_of("linear"), None, target_of(exporter), tmp_path / exporter)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("exporter", ABSENT)
def test_an_absent_vendor_package_is_named_with_its_install_line(exporter, tmp_path):
    with pytest.raises(MissingPackage, match="pip install"):
        EXPORTERS.get(exporter)(program_of("linear"), None, target_of(exporter), tmp_path)
