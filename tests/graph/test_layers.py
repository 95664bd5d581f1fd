from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.layers import Original, layers
from tests.models import tiny

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_layer_is_read_from_the_nearest_places_that_can_be_seen() -> None:
    program = capture(tiny("depthwise"), (X,))
    found = {layer.path: layer for layer in layers(program, ["expand_bn", "expand_act", "project_bn", "no-such"])}
    assert list(found) == ["expand_bn", "expand_act", "project_bn"]
    assert found["expand_bn"].sources == ("input:x",)
    assert found["expand_bn"].members == ("expand", "expand_bn")
    assert found["project_bn"].sources == ("expand_act",)
    assert found["project_bn"].members[0] == "depthwise" and found["project_bn"].members[-1] == "project_bn"


def test_a_layer_alone_computes_what_it_computes_in_the_net() -> None:
    program = capture(tiny("residual"), (X,))
    places = layers(program, program.nodes)
    original = Original(program, {program.inputs[0].name: X.numpy()})
    truth = original.values(list(program.nodes))
    truth |= {f"input:{name}": array for name, array in original.feed.items()}
    for layer in places:
        alone = original.alone(layer, {name: truth[name] for name in layer.sources})
        np.testing.assert_allclose(alone, truth[layer.path], atol=1e-6)
    doubled = original.alone(places[0], {name: truth[name] for name in places[0].sources}, weight=lambda w: 2 * w)
    np.testing.assert_allclose(doubled, 2 * truth[places[0].path], atol=1e-5)


def test_a_layer_that_is_random_is_named() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    program = capture(Noisy(), (X,))
    with pytest.raises(UsageError, match="random"):
        layers(program, program.nodes)


def test_what_is_no_layer_is_named() -> None:
    program = capture(tiny("linear"), (X,))
    with pytest.raises(UsageError, match="fc9"):
        Original(program, {"x": X.numpy()}).values(["fc9"])
