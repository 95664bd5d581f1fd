import numpy as np
import openvino
import pytest
import torch

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.devices.facts import this_machine
from edgesmith.errors import ExportFailed
from edgesmith.export.exporter import prepared
from edgesmith.export.openvino import export
from edgesmith.graph.capture import capture
from edgesmith.models.mobilefacenet import build
from edgesmith.targets import target
from tests.export.quantized import planned
from tests.export.unsupported import Det, Net
from tests.models import tiny


def constant_types(exported) -> list[str]:
    operations = openvino.Core().read_model(exported.file).get_ops()
    return [op.get_element_type().to_string() for op in operations if op.get_type_name() == "Constant"]


def test_weights_keep_their_precision_and_bf16_is_only_recorded(tmp_path):
    program = capture(tiny("depthwise"), {"x": torch.zeros(1, 3, 8, 8)})
    for name in ("openvino-fp32", "openvino-bf16"):
        (tmp_path / name).mkdir()
        exported = export(program, None, target(name), tmp_path / name)
        assert sorted(path.name for path in exported.root.iterdir()) == ["model.bin", "model.xml"]
        assert "f16" not in constant_types(exported)
        assert exported.precision == name.split("-")[1]
    assert "hint" in exported.notes[0]
    assert (tmp_path / "openvino-fp32/model.bin").read_bytes() == (tmp_path / "openvino-bf16/model.bin").read_bytes()


def test_int8_weights_are_stored_as_int8_and_it_agrees_with_the_simulation(tmp_path):
    program, plan = planned("residual", "openvino")
    exported = export(program, plan, target("openvino-int8"), tmp_path)
    assert constant_types(exported).count("i8") >= 2
    torch.manual_seed(7)
    x = torch.randn(1, 3, 8, 8)
    wanted = prepared(program, plan, target("openvino-int8")).module(x)[0].detach().numpy()
    compiled = openvino.Core().compile_model(exported.file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = compiled({"x": x.numpy()})[0]
    # OpenVINO keeps some sums in float that the simulation rounds: a step here and there, nothing more.
    assert np.abs(got - wanted).mean() < 0.01 * np.abs(wanted).max()


@pytest.mark.skipif(this_machine().instruction_set != "x86-vnni", reason="cpu: it has no VNNI")
def test_every_convolution_of_a_quantized_net_runs_in_8_bits(tmp_path):
    """Depthwise ones too: they are what another way of conversion silently puts back to float."""
    net, _ = build(width=0.25, act="relu6", size=32)
    torch.manual_seed(1)
    images = torch.randn(4, 3, 32, 32)
    program = capture(net, {"x": images[:1]})
    plan = derive(program, observe(program, [(images,)]), "openvino", "x86-vnni")
    exported = export(program, plan, target("openvino-int8"), tmp_path)
    compiled = openvino.Core().compile_model(exported.file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    found = [i["runtimePrecision"].astype(str) for i in layers if i["layerType"].astype(str) == "Convolution"]
    assert len(found) >= 49 and set(found) <= {"u8", "i8"}


def test_a_tensor_that_a_layer_name_promises_can_be_read(tmp_path):
    net = tiny("concat")
    exported = export(capture(net, {"x": torch.zeros(1, 3, 8, 8)}), None, target("openvino-fp32"), tmp_path)
    core = openvino.Core()
    model = core.read_model(exported.file)
    model.add_outputs([exported.layer_names["right"]])
    x = torch.randn(1, 3, 8, 8)
    found = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"x": x.numpy()})
    np.testing.assert_allclose(found[exported.layer_names["right"]], net.right(x).detach().numpy(), atol=1e-5)


def test_an_operator_that_onnx_has_and_openvino_lacks_is_named_with_its_module(tmp_path):
    program = capture(Net(Det()), {"x": torch.zeros(1, 3, 4, 4)})
    with pytest.raises(ExportFailed, match=r"ONNX Det in 'block\.0\.act'"):
        export(program, None, target("openvino-fp32"), tmp_path)
    assert not list(tmp_path.iterdir())
