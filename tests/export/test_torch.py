import torch

from edgesmith.export.torch import export
from edgesmith.graph.capture import capture
from edgesmith.graph.trust import load_program
from edgesmith.targets import target
from tests.models import tiny


def test_it_is_the_original_with_its_batch_norms_and_loads_without_trust(tmp_path):
    net = tiny("depthwise")
    exported = export(capture(net, {"x": torch.zeros(1, 3, 8, 8)}), None, target("torch-fp32"), tmp_path)
    program = load_program(exported.file)
    operators = [str(node.target) for node in program.graph.nodes]
    assert sum("batch_norm" in name for name in operators) == 3
    assert sum("prelu" in name for name in operators) == 2
    x = torch.randn(1, 3, 8, 8)
    (found,) = program.module()(x)
    torch.testing.assert_close(found, net(x), rtol=0, atol=0)


def test_every_layer_can_be_found_and_holds_that_layers_value(tmp_path):
    net = tiny("depthwise")
    exported = export(capture(net, {"x": torch.zeros(1, 3, 8, 8)}), None, target("torch-fp32"), tmp_path)
    assert set(exported.layer_names) == {name for name, _ in net.named_children()}
    x = torch.randn(1, 3, 8, 8)
    interpreter = Recorder(load_program(exported.file).module())
    interpreter.run(x)
    torch.testing.assert_close(interpreter.values[exported.layer_names["expand_bn"]], net.expand_bn(net.expand(x)))


def test_no_path_of_this_machine_is_in_the_file(tmp_path):
    exported = export(capture(tiny("linear"), {"x": torch.zeros(1, 3, 8, 8)}), None, target("torch-fp32"), tmp_path)
    assert b"/tests/models.py" not in exported.file.read_bytes()


class Recorder(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, torch.Tensor] = {}

    def run_node(self, n: torch.fx.Node) -> object:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.values[n.name] = value
        return value
