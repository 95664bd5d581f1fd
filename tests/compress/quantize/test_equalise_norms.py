"""Layer norms take factors: channels of transformers that are far larger than the others cost the others no steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith import intervals
from edgesmith.compress.quantize.corrections import CORRECTIONS, Correction
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.export import EXPORTERS
from edgesmith.graph.capture import capture, exported_program, named_values
from edgesmith.graph.channels import channel_groups, scale_channels
from edgesmith.graph.program import Program
from edgesmith.graph.qdq import apply_plan
from edgesmith.graph.rewrite import planned, simplify
from edgesmith.quant import QuantPlan
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import target

WIDTH, TOKENS = 16, 6
LARGE = (3, 11)


class Block(nn.Module):
    """Two steps of a pre-norm transformer without its attention, and a head. Shape: (N, 6, 16) -> (N, 5)."""

    def __init__(self, outliers: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm1, self.fc1, self.fc2 = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.norm2, self.query, self.value = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8)
        self.act, self.drop, self.head = nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 5)
        with torch.no_grad():
            for norm, readers in ((self.norm1, (self.fc1,)), (self.norm2, (self.query, self.value))):
                norm.bias.uniform_(-0.3, 0.3)
                norm.weight[list(LARGE)] *= outliers
                for reader in readers:  # what reads a large channel is small, as training leaves it
                    reader.weight[:, list(LARGE)] /= outliers

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.fc2(self.act(self.fc1(self.drop(self.norm1(x)))))
        y = self.norm2(x)
        return self.head((self.query(y) * torch.sigmoid(self.value(y))).mean(1))


def data(count: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(count, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


def program_of(outliers: float = 40.0) -> Program:
    return capture(Block(outliers).eval(), {"x": data(1)})


def plan_of(program: Program, *corrections: Correction, family: str = "ort") -> QuantPlan:
    return derive(program, observe(program, [(data(),)]), family, "x86-vnni", corrections=corrections)


def sqnr_db(program: Program, plan: QuantPlan, x: Tensor) -> np.ndarray:
    """Of each sample. Shape: (N,)."""
    with torch.no_grad():
        exact, rounded = program.module(x)[0], apply_plan(program, plan).module(x)[0]
    return (10 * torch.log10(exact.square().sum(1) / (exact - rounded).square().sum(1))).numpy()


@pytest.mark.parametrize("family", ["ort", "openvino"])
def test_planted_outliers_cost_less_paired_over_samples(family: str) -> None:
    program, x = program_of(), data(128, seed=2)
    gain = sqnr_db(program, plan_of(program, "equalise", family=family), x) - sqnr_db(
        program, plan_of(program, family=family), x
    )
    low = intervals.mean(gain).low
    assert low is not None and low > 10.0


def test_channels_of_one_size_lose_nothing() -> None:
    program, x = program_of(1.0), data(128, seed=2)
    gain = sqnr_db(program, plan_of(program, "equalise"), x) - sqnr_db(program, plan_of(program), x)
    assert intervals.mean(gain).value > -0.5


def test_the_factors_make_the_large_channels_small_and_keep_the_function() -> None:
    program = program_of()
    plan = plan_of(program, *CORRECTIONS[:1])
    assert set(plan.factors) == {"norm1", "norm2"}
    for factor in plan.factors.values():
        assert set(np.argsort(factor)[:2]) == set(LARGE)
    with torch.no_grad():
        torch.testing.assert_close(planned(program, plan).module(data())[0], program.module(data())[0])


def test_any_factor_of_a_norm_leaves_the_function_as_it_is() -> None:
    program = simplify(program_of())
    groups = {group.name: group for group in channel_groups(program)}
    assert {name: (group.channels, group.axis, len(group.readers)) for name, group in groups.items()} == {
        "norm1": (WIDTH, 2, 1),
        "norm2": (WIDTH, 2, 2),
    }
    draw = np.random.default_rng(0)
    scaled = scale_channels(program, {name: draw.uniform(0.1, 10, WIDTH) for name in groups})
    with torch.no_grad():
        torch.testing.assert_close(scaled.module(data())[0], program.module(data())[0], rtol=1e-4, atol=1e-5)
    scaled_norms = [scaled.origins[node.name] for path, node in scaled.nodes.items() if path in groups]
    assert [origin.axis for origin in scaled_norms] == [2, 2]


class Refused(nn.Module):
    """Norms whose readers are not linear layers alone: a sum that carries on, an output, a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.carried, self.given, self.bent = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.plain = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.fc1, self.fc2, self.fc3, self.fc4 = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.carried(x)
        b = self.bent(a + self.fc1(a))
        c = self.fc4(self.plain(torch.sigmoid(b) + self.fc2(b)))
        d = self.given(c)
        return self.fc3(d), d


def test_norms_that_others_read_too_are_left_alone() -> None:
    program = simplify(capture(Refused().eval(), {"x": data(1)}))
    assert [group.name for group in channel_groups(program)] == []


def test_calibration_sees_features_and_not_tokens() -> None:
    program = program_of()
    seen = observe(program, [(data(),)]).edges["norm1:out"]
    assert len(seen.low) == WIDTH and seen.seen == 64 * TOKENS
    with torch.no_grad():
        found = Block(40.0).eval().norm1(data())
    assert np.allclose(seen.high, found.amax((0, 1)).numpy(), rtol=1e-5)


def test_a_scaled_norm_is_no_place_to_compare_layers_at() -> None:
    program = program_of()
    with_factors = planned(program, plan_of(program, "equalise"))
    assert "norm1" in named_values(program, exported_program(program))
    names = named_values(with_factors, exported_program(with_factors))
    assert "norm1" not in names and "fc1" in names


@pytest.mark.needs("onnxruntime")
def test_a_runtime_computes_the_same_with_the_factors(tmp_path: Path) -> None:
    program, row, x = program_of(), target("ort-int8"), data(64, seed=2)
    made = EXPORTERS.get(row.exporter)(program, plan_of(program, *CORRECTIONS), row, tmp_path)
    with RUNTIMES.get("ort").open(made, RunOptions(threads=1)) as session, torch.no_grad():
        given = np.concatenate([session.run({"x": one[None].numpy()})["output"] for one in x])
        wanted = program.module(x)[0].numpy()
    noise = ((given - wanted) ** 2).sum() / (wanted**2).sum()
    assert -10 * np.log10(noise) > 30.0
