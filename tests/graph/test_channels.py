"""Groups of channels that can be scaled together: the model computes the same before and after."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.graph.capture import Program, capture
from edgesmith.graph.channels import channel_groups, scale_channels
from edgesmith.graph.rewrite import simplify
from edgesmith.models.mobilefacenet import build
from tests.models import TINY, tiny


def simplified(module: nn.Module, *example: Tensor) -> Program:
    return simplify(capture(module.eval(), example))


def outputs(program: Program, *inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return program.module(*inputs)[0]


def random_factors(program: Program, low: float = 0.2, high: float = 5.0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    groups = channel_groups(program)
    return {group.name: draw.uniform(low, high, group.channels) for group in groups if group.ceiling is None}


@pytest.mark.parametrize("activation", ["prelu", "relu"])
def test_any_factors_leave_the_function_as_it_is(activation: str) -> None:
    net, card = build(embedding=32, width=0.25, act=activation, size=32)
    x = torch.randn(2, *card.inputs[0].shape[1:], generator=torch.Generator().manual_seed(1))
    program = simplified(net, x)
    factors = random_factors(program)
    assert len(factors) > 30  # three layers a block and the trunk of each stage
    scaled = scale_channels(program, factors)
    assert not torch.equal(outputs(scaled, x), outputs(program, x))  # it is another graph
    torch.testing.assert_close(outputs(scaled, x), outputs(program, x), rtol=1e-3, atol=1e-4)


def test_origins_say_by_how_much_each_value_is_scaled() -> None:
    program = simplified(tiny("depthwise"), torch.randn(1, 3, 8, 8))
    factors = random_factors(program)
    scaled = scale_channels(program, factors)
    assert factors
    x = torch.randn(2, 3, 8, 8)
    before, after = values(program, x), values(scaled, x)
    touched = 0
    for path, node in scaled.nodes.items():
        origin = scaled.origins.get(node.name)
        if origin is not None and origin.factor is not None:
            factor = torch.from_numpy(origin.factor).float().reshape(-1, *[1] * (after[path].dim() - 2))
            torch.testing.assert_close(after[path], before[path] * factor, rtol=1e-4, atol=1e-5)
            touched += 1
    assert touched >= len(factors)


def values(program: Program, x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    class Keep(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value = super().run_node(n)
            if n.name in program.paths:
                found[program.paths[n.name]] = value
            return value

    with torch.no_grad():
        Keep(program.module).run(x)
    return found


@pytest.mark.parametrize("name", [name for name in TINY if name != "linear"])
def test_every_tiny_net_survives(name: str) -> None:
    x = torch.randn(2, 3, 8, 8)
    program = simplified(tiny(name), x)
    scaled = scale_channels(program, random_factors(program))
    torch.testing.assert_close(outputs(scaled, x), outputs(program, x), rtol=1e-3, atol=1e-4)


class Gate(nn.Module):
    """A sigmoid is no homogeneous function, and an output must not change."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.sigmoid(self.b(torch.relu(self.a(x)))))


def test_what_a_sigmoid_reads_and_what_the_model_gives_are_in_no_group() -> None:
    program = simplified(Gate(), torch.randn(1, 3, 4, 4))
    assert [group.name for group in channel_groups(program)] == ["a"]


def test_a_clip_has_a_ceiling_and_factors_below_it_are_exact() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1))
    x = torch.randn(2, 3, 4, 4)
    program = simplified(net, x)
    (group,) = channel_groups(program)
    assert group.ceiling == 6.0
    highest = values(program, x)["1"].amax((0, 2, 3)).double()
    assert float(highest.max()) < 6
    scaled = scale_channels(program, {"0": (5.9 / highest).numpy()})
    torch.testing.assert_close(outputs(scaled, x), outputs(program, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "factors", "named"),
    [
        ("nowhere", np.ones(4), "no such group"),
        ("0", np.ones(3), "4 channels"),
        ("0", np.array([1.0, 0, 1, 1]), "above 0"),
        ("0", np.array([1.0, np.nan, 1, 1]), "finite"),
    ],
)
def test_factors_that_do_not_fit_are_refused(name: str, factors: np.ndarray, named: str) -> None:
    program = simplified(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), torch.randn(1, 3, 4, 4))
    with pytest.raises(UsageError, match=named):
        scale_channels(program, {name: factors})


@pytest.mark.parametrize("grouped", [1, 4])
def test_a_layer_that_reads_and_feeds_one_sum_takes_a_factor_on_both_sides(grouped: int) -> None:
    class Short(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
            self.branch = nn.Conv2d(4, 4, 3, padding=1, groups=grouped)

        def forward(self, x: Tensor) -> Tensor:
            trunk = self.first(x).relu()
            return self.last((trunk + self.branch(trunk)).relu())

    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4)
    program = simplified(Short(), x)
    (group,) = channel_groups(program)
    nodes = program.nodes
    assert set(group.makers) == {nodes["first"], nodes["branch"]} and set(group.readers) == {
        nodes["branch"],
        nodes["last"],
    }
    scaled = scale_channels(program, random_factors(program))
    torch.testing.assert_close(outputs(scaled, x), outputs(program, x), rtol=1e-3, atol=1e-4)
