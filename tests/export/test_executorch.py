"""ExecuTorch's file against PyTorch and against the plan; needs the package."""

import numpy as np
import pytest
import torch

from edgesmith.export.exporter import prepared
from edgesmith.graph import rewrite
from edgesmith.graph.capture import capture
from edgesmith.plugins import is_installed
from edgesmith.quant import EdgeQuant, quantize
from edgesmith.quant_reference import conv2d
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import target
from edgesmith.tensors import random_feed
from tests.export.quantized import planned
from tests.export.stored import planned_weights
from tests.models import TINY, tiny

pytestmark = pytest.mark.needs("executorch")
if is_installed("executorch"):
    from edgesmith.export.executorch import LARGEST_BATCH, export


def run(exported, feed):
    with RUNTIMES.get("executorch").open(exported, RunOptions()) as session:
        return session.run(feed)


@pytest.mark.parametrize("net", sorted(TINY))
def test_int8_is_the_simulation_to_a_step_and_all_of_it_runs_in_xnnpack(net, tmp_path):
    program, plan = planned(net, "executorch")
    exported = export(program, plan, target("executorch-int8"), tmp_path)
    assert exported.notes == () and exported.plan_digest == plan.digest()
    torch.manual_seed(7)
    x = torch.randn(1, 3, 8, 8)
    wanted = prepared(program, plan, target("executorch-int8")).module(x)[0].detach().numpy()
    found = next(iter(run(exported, {"x": x.numpy()}).values()))
    last = plan.resolve(next(edge for edge in reversed(plan.edges) if edge.endswith(":out")))
    step = float(last.scale)
    assert np.abs(found - wanted).max() <= 1.01 * step
    assert (np.abs(found - wanted) < 0.01 * step).mean() > 0.97
    assert len(np.unique(found)) > 4


def test_a_layer_computes_the_integer_reference(tmp_path):
    program, plan = planned("conv-bn-relu", "executorch")
    exported = export(program, plan, target("executorch-int8"), tmp_path)
    x_quant, out = plan.resolve("input:x"), plan.resolve("act:out")
    assert int(out.zero_point) == out.spec.qmin  # so the clamp to the grid is the ReLU
    x = np.random.default_rng(5).normal(size=(1, 3, 8, 8)).astype(np.float32)
    ((integers, scale, zero),) = planned_weights(program, plan)
    layer = rewrite.planned(program, plan).nodes["conv"]
    bias = rewrite.planned(program, plan).module.get_parameter(str(layer.args[2].target)).detach().numpy()
    weight = EdgeQuant(plan.resolve("conv:weight").spec, scale, zero)
    wanted = conv2d(quantize(x, x_quant), x_quant, integers, weight, bias, out, padding=(1, 1))
    found = quantize(next(iter(run(exported, {"x": x}).values())), out)
    assert np.abs(found - wanted).max() <= 1 and (found == wanted).mean() >= 0.99
    assert len(np.unique(wanted)) > 50


def test_the_output_of_an_integer_layer_has_numbers_of_its_own():
    _, plan = planned("linear", "executorch")
    assert plan.resolve("fc2:out") is not None
    assert plan.resolve("fc2:out").spec.signed and not plan.resolve("fc2:out").spec.symmetric


def test_a_dynamic_batch_has_a_bound_and_every_size_below_it_runs(tmp_path):
    example = {"image": torch.zeros(1, 3, 8, 8), "context": torch.zeros(1, 4)}
    program = capture(tiny("two"), example, dynamic_batch=True)
    exported = export(program, None, target("executorch-fp32"), tmp_path)
    for size in (1, 3, LARGEST_BATCH):
        feed = random_feed(program.inputs, 0, batch=size)
        wanted = program.module(*map(torch.from_numpy, feed.values()))
        for value, found in zip(wanted, run(exported, feed).values(), strict=True):
            np.testing.assert_allclose(found, value.detach().numpy(), atol=2e-5)


def test_what_xnnpack_leaves_is_said(tmp_path):
    class Sines(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.relu(x).erf()

    exported = export(capture(Sines(), {"x": torch.zeros(1, 4)}), None, target("executorch-fp32"), tmp_path)
    assert "portable kernels: aten.erf.default" in exported.notes[0]
    found = run(exported, {"x": np.array([[-1, 0, 0.5, 2]], np.float32)})
    np.testing.assert_allclose(next(iter(found.values())), [[0, 0, 0.5205, 0.9953]], atol=1e-4)
