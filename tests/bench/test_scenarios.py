"""Single-stream, multi-stream, offline and cold start by the worker, on the null runtime."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edgesmith import records
from edgesmith.bench import job as jobs
from edgesmith.bench import protocol
from edgesmith.bench.job import Schedule
from edgesmith.bench.worker import run_job
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.results import Measurement
from edgesmith.runtimes.null import NullModel, write
from edgesmith.tensors import TensorSpec
from tests.bench.samples import job, model, rows


def measured(folder: Path, schedule: Schedule, *names: str, **options) -> tuple[Measurement, ...]:
    for number, _ in enumerate(names):
        model(folder / f"model-{number}", **options)
    made = job(*names, schedule=schedule)
    jobs.write_job(folder, made, rows())
    result = run_job(folder, made, lambda text: None)
    jobs.write_result(folder, result)
    assert jobs.read_result(folder, made) == result  # what a device sends back is accepted
    return result.measurements


def test_streams_overlap(tmp_path: Path):
    many = Schedule(blocks=2, block_size=8, warmup=1, scenario="multi-stream", streams=4)
    (at_once,) = measured(tmp_path / "many", many, "a", delay_ms=20.0)
    (alone,) = measured(tmp_path / "one", Schedule(2, 8, 1), "a", delay_ms=20.0)
    assert (at_once.scenario, at_once.streams, alone.streams) == ("multi-stream", 4, 1)
    assert [len(block) for block in at_once.latency.blocks_ms] == [8, 8]
    assert at_once.wall_ms[0] < sum(at_once.latency.blocks_ms[0])  # they overlapped
    assert alone.wall_ms[0] >= sum(alone.latency.blocks_ms[0])


def test_a_cold_start_is_a_fresh_process_each_time(tmp_path: Path):
    first, second = measured(tmp_path, Schedule(3, 1, 1, scenario="cold-start"), "a", "b", delay_ms=5.0)
    assert [len(block) for block in first.latency.blocks_ms] == [1, 1, 1]
    assert min(first.latency.samples_ms) >= 5.0  # the first inference is in it
    assert len(first.load_ms) == 2 and first.latency.samples_ms[-1] == first.load_ms[0] + first.first_ms
    assert first.peak_bytes and second.state == "measured"


def test_a_cold_start_that_fails_is_a_row_with_its_reason(tmp_path: Path):
    (found,) = measured(tmp_path, Schedule(3, 1, 1, scenario="cold-start"), "a", accident="abort", at=1)
    assert (found.state, found.latency) == ("failed", None)
    assert "cold start 1" in found.reason


def test_offline_counts_rows_of_a_batch(tmp_path: Path):
    (found,) = measured(tmp_path, Schedule(2, 4, 1, batch=8, scenario="offline"), "a", delay_ms=1.0)
    assert found.batch == 8
    assert found.rows_per_s == tuple(1e3 * 4 * 8 / wall for wall in found.wall_ms)


def test_a_model_of_a_fixed_batch_is_not_timed_with_another(tmp_path: Path):
    fixed = NullModel((TensorSpec("x", (1, 2)),), (TensorSpec("y", (1, 1)),))
    write(tmp_path / "model-0", fixed)
    made = job("a", schedule=Schedule(2, 2, 1, batch=8))
    jobs.write_job(tmp_path, made, rows())
    (found,) = run_job(tmp_path, made, lambda text: None).measurements
    assert (found.state, found.batch) == ("not_measured", 8)
    assert "batches of 1" in found.reason and "dynamic" in found.reason


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Schedule(scenario="server"), "no such scenario"),  # type: ignore[arg-type]
        (Schedule(streams=2), "single-stream"),
        (Schedule(scenario="cold-start"), "cold once"),
        (Schedule(streams=0), "at least 1"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(schedule: Schedule, words: str):
    with pytest.raises(UsageError, match=words):
        jobs.check_job(job("a", schedule=schedule))


def test_every_run_of_the_streams_is_one_sample_and_a_failure_is_raised():
    seen, lock = [], threading.Lock()

    def run(feed):
        with lock:
            seen.append(feed["number"])

    feeds = [{"number": number} for number in range(4)]
    assert len(protocol.sample_streams([run, run, run], feeds, 2, 10)) == 10
    assert sorted(seen) == sorted((2 + i) % 4 for i in range(10))

    def broken(feed):
        raise EngineFailed("run", "it is broken", "")

    with pytest.raises(EngineFailed, match="broken"):
        protocol.sample_streams([run, broken], feeds, 0, 100_000)


def test_a_record_of_before_the_scenarios_can_be_read():
    old = records.to_json(Measurement("a", "measured", "", "null"))
    for name in ("scenario", "streams", "wall_ms"):
        del old[name]
    assert records.from_json(Measurement, old).scenario == "single-stream"


def test_a_runtime_without_a_profiler_keeps_its_samples_and_says_so(tmp_path: Path):
    (found,) = measured(tmp_path, Schedule(2, 2, 1, profiled=3), "a")
    assert (found.state, found.layers) == ("measured", None) and found.peak_bytes
    assert "times by layer are not known: null has no profiler here" in found.notes


def test_a_cold_start_is_not_profiled():
    with pytest.raises(UsageError, match="cold start"):
        jobs.check_job(job("a", schedule=Schedule(2, 1, 1, scenario="cold-start", profiled=3)))
