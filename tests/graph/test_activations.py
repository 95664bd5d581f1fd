"""PReLU in every form is the same function, for slopes of every size."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.graph.activations import exact_forms, lower_activations, prelu_paths
from edgesmith.graph.capture import Program, capture, exported_program, node_names
from edgesmith.graph.naming import operator_name
from edgesmith.graph.rewrite import fold_batchnorm
from tests.graph.test_capture import example
from tests.graph.test_rewrite import assert_same, operators
from tests.models import tiny

FORMS = ["keep", "max", "affine", "depthwise"]


def wild(net: nn.Module) -> nn.Module:
    """Slopes as a trained net has them: -4 to 2.2."""
    for module in net.modules():
        if isinstance(module, nn.PReLU):
            module.weight.data = torch.linspace(-4, 2.2, module.num_parameters)
    return net.eval()


def depthwise_net() -> Program:
    return fold_batchnorm(capture(wild(tiny("depthwise")), example()))


def all_as(program: Program, form: str) -> Program:
    return lower_activations(program, dict.fromkeys(prelu_paths(program), form))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_exact(form: str) -> None:
    program = depthwise_net()
    lowered = all_as(program, form)
    assert_same(program, lowered, example(batch=16))
    assert ("prelu" in operators(lowered)) == (form == "keep")
    assert {"expand_act", "depthwise_act"} <= set(lowered.nodes)
    exported = exported_program(lowered)
    torch.testing.assert_close(exported.module()(*example())[0], lowered.module(*example())[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("slope", [-3.0, 0.25, 1.0, 2.0])
@pytest.mark.parametrize("flat", [False, True])
def test_a_single_slope_behind_convolution_or_linear(form: str, slope: float, flat: bool) -> None:
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(192, 6), nn.PReLU(init=slope), nn.Linear(6, 4))
    if not flat:
        layers = (nn.Conv2d(3, 6, 3), nn.PReLU(init=slope), nn.Conv2d(6, 4, 1, groups=2))
    program = capture(nn.Sequential(*layers).eval(), example())
    assert_same(program, all_as(program, form), example(batch=8))


def test_flipped_values_are_the_originals_times_their_factor() -> None:
    program = depthwise_net()
    lowered = all_as(program, "max")
    before, after = values(program, example(batch=3)), values(lowered, example(batch=3))
    scaled = {path for path, node in lowered.nodes.items() if lowered.origin(node).factor is not None}
    assert scaled == {"expand", "expand_act", "depthwise", "depthwise_act"}
    for path in scaled:
        factor = torch.from_numpy(lowered.origin(lowered.nodes[path]).factor).reshape(-1, 1, 1)
        torch.testing.assert_close(before[path] * factor, after[path].double(), check_dtype=False, rtol=1e-4, atol=1e-5)
    assert np.abs(lowered.origin(lowered.nodes["expand_act"]).factor).max() <= 1
    assert set(node_names(lowered, exported_program(lowered))) == {"project_bn"}  # the others cannot be compared


def values(program: Program, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    class Keep(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            result = super().run_node(n)
            found[n.name] = result
            return result

    found: dict[str, Tensor] = {}
    with torch.no_grad():
        Keep(program.module).run(*inputs)
    return {path: found[node.name].double() for path, node in program.nodes.items()}


class Unflippable(nn.Module):
    """The activation's value is also added to: no layer behind it can take a factor."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.conv, self.act, self.next = nn.Conv2d(3, 4, 1), nn.PReLU(4, slope), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv(x))
        return y + self.next(y)


@pytest.mark.parametrize(("slope", "form"), [(1.5, "affine"), (-1.5, "max"), (0.5, "max")])
def test_affine_takes_over_only_where_the_form_would_be_wrong(slope: float, form: str) -> None:
    program = capture(Unflippable(slope).eval(), example())
    forms, notes = exact_forms(program, {"act": "max"})
    assert forms == {"act": form} and bool(notes) == (form == "affine")
    assert all("act" in note and "above 1" in note for note in notes)
    assert_same(program, lower_activations(program, {"act": "max"}), example(batch=8))


def test_depthwise_is_a_convolution_on_maps() -> None:
    lowered = all_as(depthwise_net(), "depthwise")
    node = lowered.nodes["expand_act.scaled"]
    assert operator_name(node) == "conv2d" and node.args[6] == 8
    assert lowered.origin(node).layer is None


def test_wrong_names_are_refused() -> None:
    program = depthwise_net()
    with pytest.raises(UsageError, match="keep, max, affine, depthwise"):
        lower_activations(program, {"expand_act": "relu"})
    with pytest.raises(UsageError, match="no PReLU"):
        lower_activations(program, {"expand": "max"})
