"""Sensitivity of layers: planted faults are found, sums hold, bad input is refused."""

import json

import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.compress.quantize.sensitivity import Sensitivities, sensitivities, task_loss
from edgesmith.errors import UsageError
from edgesmith.graph.capture import Program, capture
from edgesmith.records import from_json, to_json
from tests.compress.quantize.test_plan import planned
from tests.graph.test_capture import captured, example


class Chain(nn.Module):
    """Four linear layers; one input channel of `wide` is a thousand times the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide = nn.Linear(8, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x) * torch.tensor([1000.0] + [1.0] * 7)
        return self.last(torch.relu(self.wide(y)))


def chain() -> Program:
    torch.manual_seed(0)
    net = Chain().eval()
    with torch.no_grad():
        net.wide.weight[:, 0] = 0.0  # so that the wide channel costs resolution and carries nothing
    return capture(net, (torch.randn(1, 8),))


def measured(program: Program, labels: Tensor | None = None, **options) -> Sensitivities:
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(3))
    plan = derive(program, observe(program, [(x,)]), "ort", "x86-vnni", **options)
    halves = [
        ((x[:16],), None if labels is None else labels[:16]),
        ((x[16:],), None if labels is None else labels[16:]),
    ]
    return sensitivities(program, plan, halves)


def test_the_layer_with_a_planted_fault_is_the_most_sensitive() -> None:
    found = measured(chain(), corrections=())
    noise = {row.layer: row.noise for row in found.layers}
    assert max(noise, key=noise.__getitem__) == "wide"
    assert noise["wide"] > 10 * max(noise["first"], noise["last"])
    assert found.together.noise == pytest.approx(noise["wide"], rel=0.3)
    assert found.samples == 32 and found.seconds > 0 and found.sum_of_noise == pytest.approx(sum(noise.values()))


def test_rows_say_own_noise_loss_and_work() -> None:
    program = chain()
    with torch.no_grad():
        labels = program.module(torch.randn(32, 8, generator=torch.Generator().manual_seed(3)))[0].argmax(1)
    rows = {row.layer: row for row in measured(program, labels, corrections=()).layers}
    assert [row.macs for row in rows.values()] == [64, 64, 32]
    assert rows["wide"].sqnr_db == pytest.approx(-10 * torch.log10(torch.tensor(rows["wide"].noise)).item(), abs=1e-3)
    assert rows["wide"].own_sqnr_db < rows["last"].own_sqnr_db
    assert rows["wide"].loss is not None and abs(rows["wide"].loss) > abs(rows["last"].loss or 0.0)
    assert all(row.loss is None for row in measured(program).layers)


def test_two_outputs_and_two_inputs() -> None:
    program = captured("two")
    found = sensitivities(program, planned(program), [(example("two", 8), None)])
    assert [row.layer for row in found.layers] == ["body.conv", "mix"] and found.together.sqnr_db > 20


def test_a_record_survives_json() -> None:
    found = measured(chain())
    assert from_json(Sensitivities, json.loads(json.dumps(to_json(found)))) == found


def test_losses_by_the_shape_of_labels() -> None:
    outputs = (torch.tensor([[2.0, -1.0]]),)
    assert float(task_loss(outputs, torch.tensor([0]))) == pytest.approx(0.048587, abs=1e-5)
    assert float(task_loss(outputs, torch.tensor([[1, -1]]))) == pytest.approx(0.126928, abs=1e-5)


def test_nothing_to_measure_on_is_refused() -> None:
    program = captured("linear")
    plan = planned(program)
    with pytest.raises(UsageError, match="no samples"):
        sensitivities(program, plan, [])
    with pytest.raises(UsageError, match="not finite"):
        sensitivities(program, plan, [((torch.full((1, 3, 8, 8), float("nan")),), None)])
