import pytest
import torch

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.errors import ExportFailed, UsageError
from edgesmith.export.exporter import decomposed, failure, module_path, prepared, quiet, user_outputs
from edgesmith.graph.capture import capture, exported_program
from edgesmith.targets import target
from tests.export.quantized import planned
from tests.export.unsupported import Det, Net
from tests.models import tiny


def operators(program) -> list[str]:
    return [str(node.target) for node in program.module.graph.nodes if node.op == "call_function"]


@pytest.fixture(scope="module")
def depthwise():
    return capture(tiny("depthwise"), {"x": torch.zeros(1, 3, 8, 8)})


def test_onnx_runtime_gets_no_prelu_and_the_same_values(depthwise):
    lowered = prepared(depthwise, None, target("ort-fp32"))
    assert not [name for name in operators(lowered) if "prelu" in name or "batch_norm" in name]
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(lowered.module(x)[0], depthwise.module(x)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["openvino-fp32", "coreml-fp16"])
def test_others_fuse_prelu_and_keep_it(depthwise, name):
    lowered = operators(prepared(depthwise, None, target(name)))
    assert sum("prelu" in operator for operator in lowered) == 2
    assert not any("batch_norm" in operator for operator in lowered)


def test_the_capture_itself_is_left_alone(depthwise):
    before = operators(depthwise)
    prepared(depthwise, None, target("ort-fp32"))
    assert operators(depthwise) == before


def test_int8_needs_a_plan_of_its_own_family():
    program, plan = planned("linear", "openvino")
    with pytest.raises(UsageError, match="no quantization plan"):
        prepared(program, None, target("ort-int8"))
    with pytest.raises(UsageError, match="a plan for openvino"):
        prepared(program, plan, target("ort-int8"))
    assert any("quantize_per_tensor" in name for name in operators(prepared(program, plan, target("openvino-int8"))))


def test_output_nodes_bear_the_programs_names():
    program = capture(tiny("two"), {"image": torch.zeros(1, 3, 8, 8), "context": torch.zeros(1, 4)})
    assert user_outputs(decomposed(program), program) == {"linear": "output_0", "mean": "output_1"}


@pytest.mark.parametrize(
    "message",
    [
        "Error when translating node %linalg_det : [num_users=1] = call_function[target=torch.ops.aten.linalg_det]",
        "Unsupported fx node linalg_det, kind linalg_det",
        "PyTorch convert function for op 'linalg_det' not implemented.",
        "%part : [num_users=1] = call_function[target=torch.ops.prims.det.default](args = ())",
    ],
)
def test_every_way_in_which_a_converter_names_an_operator(message):
    program = capture(Net(Det()), {"x": torch.zeros(1, 3, 4, 4)})
    found = failure(RuntimeError(message), program, decomposed(program), target("ort-fp32"))
    assert isinstance(found, ExportFailed)
    assert "aten.linalg_det.default in 'block.0.act'" in found.found


def test_an_error_that_names_nothing_is_passed_on():
    program = capture(tiny("linear"), {"x": torch.zeros(1, 3, 8, 8)})
    found = failure(RuntimeError("disk on fire"), program, decomposed(program), target("ort-fp32"))
    assert "RuntimeError: disk on fire" in found.found


def test_a_convolution_with_a_folded_batch_norm_is_called_by_its_own_path():
    program = prepared(capture(Net(Det()), {"x": torch.zeros(1, 3, 4, 4)}), None, target("openvino-fp32"))
    exported = decomposed(program)
    node = next(node for node in exported.graph.nodes if "conv2d" in str(node.target))
    assert module_path(node, program, exported) == "block.0.conv"


def test_quiet_keeps_what_was_said(capsys):
    with quiet() as heard:
        print("noise")
    assert heard.getvalue() == "noise\n"
    assert capsys.readouterr().out == ""


class Counting(torch.nn.Module):
    """Asks for the batch size of its input as vision transformers do: a reader of the value that decomposing drops."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = x.shape[0]
        return self.second(self.first(x)).reshape(batch, -1)


def test_names_are_those_that_another_decomposition_would_give():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 8, 8)
    program = capture(Counting().eval(), {"x": images[:1]})
    plan = derive(program, observe(program, [(images,)]), "ort", "x86-vnni")
    lowered = prepared(program, plan, target("ort-int8"))
    with quiet():
        once = exported_program(lowered).run_decompositions({})
        again = once.run_decompositions({})
    assert names(once) != names(again), "the net no longer shows what this test is about"
    assert names(decomposed(lowered)) == names(again) == names(again.run_decompositions({}))


def names(exported) -> list[str]:
    return [node.name for node in exported.graph.nodes]
