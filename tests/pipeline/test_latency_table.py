from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesmith.compress.asap.chain import chain_space
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.models.chain_net import Frame
from edgesmith.pipeline import latency_table as lt
from edgesmith.results import BenchRecord, DeviceInfo, Latency, Measurement
from edgesmith.tensors import TensorSpec

FRAME = Frame(size=8, stem=8, stem_stride=1, stages=((8, 2, 1), (16, 2, 2)), last=16, embedding=8, act="relu")
SPACE = chain_space(4, FRAME, ("mb-k3-e2-relu", "conv-k3-relu", "identity"))
IMAGE = TensorSpec("image", (1, 3, 8, 8))
DEVICE = DeviceInfo("desk", "Linux", "Some CPU", 2, 1 << 30, "x86", "3.11")
MEASURING = lt.Measuring("torch-fp32", networks=6, blocks=2, block_size=5)


def true_ms(genotype) -> float:
    """A made-up machine on which latency is a sum, and a small map is slower than its MACs say."""
    return 0.05 + sum(
        1e-7 * SPACE.macs(e, op) + (0.01 if "s1-4x4" in SPACE.shape(e) else 0.0) * (op != "identity")
        for e, op in genotype.choices.items()
    )


def made_up() -> LatencyTable:
    members = lt.design(SPACE, 12, 0)
    return lt.table_from(SPACE, members, np.array([true_ms(m) for m in members]), MEASURING, DEVICE)[0]


def test_a_design_is_balanced_and_seeded() -> None:
    members = lt.design(SPACE, 12, 0)
    assert all(
        set(Counter(m.choices[e.name] for m in members).values()) == {12 // len(e.operations)} for e in SPACE.edges
    )
    assert lt.design(SPACE, 12, 0) == members != lt.design(SPACE, 12, 1)


def test_a_table_predicts_networks_that_it_was_not_made_from() -> None:
    table = made_up()
    for seed in range(10):
        member = SPACE.random(seed)
        assert table.predict(member) == pytest.approx(true_ms(member), rel=0.01)
    assert table.entries["layer00"] == table.entries["layer01"]  # one shape, one measurement


def test_a_table_of_another_place_is_refused_naming_both() -> None:
    table = made_up()
    lt.check_table(table, SPACE, MEASURING, DEVICE)
    with pytest.raises(UsageError, match="for cpu 'Other CPU': it is of cpu 'Some CPU'"):
        lt.check_table(table, SPACE, MEASURING, replace(DEVICE, cpu="Other CPU"))
    with pytest.raises(
        UsageError, match="for target 'ort-int8', threads '2': it is of target 'torch-fp32', threads '1'"
    ):
        lt.check_table(table, SPACE, replace(MEASURING, target="ort-int8", threads=2), DEVICE)
    other = chain_space(4, replace(FRAME, stem=16), SPACE.operations)
    with pytest.raises(UsageError, match="for space 'chain-"):
        lt.check_table(table, other, MEASURING, DEVICE)
    short = replace(table, entries={**table.entries, "layer01": {}})
    with pytest.raises(UsageError, match="it lacks"):
        lt.check_table(short, SPACE, MEASURING, DEVICE)


def test_a_budget_below_the_cheapest_network_is_refused_naming_it() -> None:
    table = made_up()
    least = min(true_ms(SPACE.random(seed)) for seed in range(50))
    lt.check_budget(table, SPACE, 1.05 * least)
    with pytest.raises(
        UsageError, match=r"cheapest network of the space takes .* ms: layer00 identity, layer01 identity"
    ):
        lt.check_budget(table, SPACE, 0.9 * least)


def test_a_machine_that_slows_down_from_job_to_job_changes_no_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [SPACE.random(seed) for seed in range(25)]
    jobs: list[int] = []

    def measure(device, folder, exported, inputs, schedule, reference, threads) -> BenchRecord:
        jobs.append(len(exported))
        slower = 1 + 0.2 * len(jobs) + 0.1 * np.arange(2)  # by job, and by block within a job
        rows = [
            Measurement(name, "measured", latency=Latency(tuple((s * true_ms(m),) * 3 for s in slower), 3))
            for name, m in exported.items()
        ]
        return BenchRecord(DEVICE, tuple(rows), reference, (1.0, 1.0))

    monkeypatch.setattr(lt, "measure", measure)
    monkeypatch.setattr(lt, "_exported", lambda space, genotype, bench: genotype)
    bench = lt.Bench(LocalDevice(), IMAGE, MEASURING, tmp_path, lambda text: None)
    times, device = lt.time_networks(SPACE, members, bench)
    assert jobs == [11, 11, 5] and device == DEVICE
    assert times / times[0] == pytest.approx([true_ms(m) / true_ms(members[0]) for m in members])


@pytest.mark.slow
def test_a_table_is_measured_from_whole_networks_and_its_artefacts_are_kept(tmp_path: Path) -> None:
    said: list[str] = []
    bench = lt.Bench(LocalDevice(), IMAGE, MEASURING, tmp_path, said.append)
    table, fitted = lt.measured_table(SPACE, bench)
    assert table.target == "torch-fp32" and table.threads == 1 and table.device["cpu"] == LocalDevice().info().cpu
    assert fitted["networks"] == 6 and all(ms > 0 for ms in fitted["times_ms"])
    assert all(table.predict(SPACE.random(seed)) > 0 for seed in range(5))
    exported = [line for line in said if "exported" in line]
    lt.time_networks(SPACE, lt.design(SPACE, 2, MEASURING.seed)[:1], bench)
    lt.measured_p50(SPACE, lt.design(SPACE, 6, 0)[0], bench)
    assert len([line for line in said if "exported" in line]) <= len(exported) + 1  # what is there is taken


def test_a_target_that_does_not_build_here_says_why(tmp_path: Path) -> None:
    bench = lt.Bench(LocalDevice(), IMAGE, replace(MEASURING, target="tensorrt-rtx-fp32"), tmp_path, lambda text: None)
    with pytest.raises(EngineFailed, match="tensorrt"):
        lt.measured_table(SPACE, bench)
    with pytest.raises(UsageError, match="take 4 or more"):
        lt.measured_table(SPACE, replace(bench, measuring=replace(MEASURING, networks=2)))
