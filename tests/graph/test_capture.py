"""Modules to programs and back to exported programs: names, batches, inputs, failures."""

import pytest
import torch
from torch import Tensor, nn

from edgesmith.errors import ExportFailed, UsageError
from edgesmith.graph.capture import Program, capture, exported_program, node_names
from edgesmith.graph.rewrite import fold_batchnorm
from tests.models import TINY, tiny

PATHS = {
    "conv-bn-relu": ["conv", "bn", "act"],
    "residual": ["first.conv", "first.bn", "first.act", "conv", "add", "relu"],
    "concat": ["left", "relu", "right", "relu_1", "cat", "pool"],
    "linear": ["flatten", "fc1", "relu", "fc2"],
}


def example(name: str = "", batch: int = 1) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    image = torch.randn(batch, 3, 8, 8)
    return (image, torch.randn(batch, 4)) if name == "two" else (image,)


def captured(name: str, **options) -> Program:
    return capture(tiny(name), example(name), **options)


@pytest.mark.parametrize("name", [*TINY, "two"])
def test_a_program_computes_what_the_module_does_at_any_batch(name: str) -> None:
    net, program = tiny(name), captured(name)
    assert program.batch_is_symbolic and not program.dynamic_batch
    for batch in (1, 5):
        inputs = example(name, batch)
        expected = net(*inputs)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for found, wanted in zip(program.module(*inputs), expected, strict=True):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_the_users(name: str) -> None:
    assert list(captured(name).paths.values()) == PATHS[name]


class Reused(nn.Module):
    """An in-place activation called twice, an in-place add, a dictionary of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])
        self.act = nn.ReLU(inplace=True)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        y = self.act(self.blocks[0](image))
        z = self.act(self.blocks[1](y))
        z += y
        return {"features": z + 1, "mean": z.mean((2, 3))}


def test_a_reused_module_and_repeated_operators_get_names_of_their_own() -> None:
    program = capture(Reused().eval(), example())
    assert list(program.paths.values()) == ["blocks.0", "act", "blocks.1", "act_1", "add", "add_1", "mean"]
    assert [spec.name for spec in program.outputs] == ["features", "mean"]
    assert [spec.name for spec in program.inputs] == ["image"]


def test_names_of_inputs_and_outputs() -> None:
    program = captured("two", input_names=["rgb", "side info"], output_names=["logits", "pooled"], dynamic_batch=True)
    assert [spec.name for spec in program.inputs] == ["rgb", "side info"]
    assert [(spec.name, spec.shape) for spec in program.outputs] == [("logits", ("batch", 5)), ("pooled", ("batch", 8))]
    by_name = capture(tiny("two"), dict(zip(("image", "context"), example("two"))))
    assert [spec.name for spec in by_name.inputs] == ["image", "context"]
    with pytest.raises(UsageError, match="returns 2"):
        captured("two", output_names=["one"])
    with pytest.raises(UsageError, match="2 example inputs"):
        captured("two", input_names=["one"])


def test_a_card_may_name_an_input_differently_from_forward() -> None:
    program = capture(tiny("linear"), {"pixels": example()[0]})
    assert program.inputs[0].name == "pixels"
    assert "pixels" in exported_program(program).graph_signature.user_inputs


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_exported_program_has_the_names_and_the_batch_that_were_asked_for(dynamic: bool) -> None:
    program = captured("two", dynamic_batch=dynamic)
    exported = exported_program(program)
    assert list(exported.graph_signature.user_inputs) == ["image", "context"]
    size = next(n for n in exported.graph.nodes if n.name == "image").meta["val"].shape[0]
    assert isinstance(size, int) != dynamic
    inputs = example("two", 3 if dynamic else 1)
    for found, wanted in zip(exported.module()(*inputs), tiny("two")(*inputs)):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("decompose", [False, True])
def test_node_names_lead_to_the_same_values(decompose: bool) -> None:
    program = fold_batchnorm(captured("residual"))
    exported = exported_program(program)
    exported = exported.run_decompositions({}) if decompose else exported
    names = node_names(program, exported)
    assert set(names) == {"first.bn", "first.act", "conv", "add", "relu"}  # a folded layer bears the batch norm's value
    shapes = {node.name: node for node in exported.graph.nodes}
    assert all(tuple(shapes[name].meta["val"].shape) == (1, 8, 8, 8) for name in names.values())
    assert shapes[names["first.act"]].target is torch.ops.aten.relu.default


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


def test_what_cannot_be_exported_is_told_with_reason_and_module() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), Branches()))
    with pytest.raises(ExportFailed) as caught:
        capture(net, example())
    assert "1.1" in caught.value.asked and "data-dependent" in caught.value.found
    assert "\n" not in caught.value.found
    assert not any(module._forward_hooks for module in net.modules())


class Reshapes(nn.Module):
    """(1, 192) cannot be reached from two samples, (1, -1) merges them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, self.size)


@pytest.mark.parametrize("size", [192, -1])
def test_a_model_of_one_batch_size_falls_back_to_it(size: int) -> None:
    program = capture(Reshapes(size), example())
    assert not program.batch_is_symbolic
    with pytest.raises(ExportFailed, match="dynamic batch"):
        capture(Reshapes(size), example(), dynamic_batch=True)


def test_capture_leaves_the_module_as_it_was() -> None:
    net = tiny("conv-bn-relu").train()
    net.act.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    program = capture(net, example())
    assert net.training and net.bn.training and not net.act.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    torch.testing.assert_close(program.module(*example())[0], net.eval()(*example()))


def test_inputs_must_be_tensors() -> None:
    with pytest.raises(UsageError, match="one tensor an input"):
        capture(tiny("linear"), (3.0,))


def test_inputs_the_model_itself_refuses_are_a_usage_error():
    with pytest.raises(UsageError, match=r"run Linear on \(1, 3, 9, 9\)"):
        capture(tiny("linear"), (torch.zeros(1, 3, 9, 9),))
