"""A fleet on a Ray cluster of two nodes on this machine: where jobs run, what failing costs, what a dead node costs."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from edgesmith.devices.dispatch import FleetJob, Limits
from edgesmith.devices.entry import DeviceEntry
from edgesmith.devices.fleet import resource, run_fleet
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EngineFailed, LoginRefused, UsageError

pytestmark = pytest.mark.needs("ray")
SOON = Limits(pause_s=0.05)
LEFT, RIGHT = ("a", "both"), ("b", "both")


def entries(*names: str) -> dict[str, DeviceEntry]:
    return {name: DeviceEntry(name, "null") for name in names}


@pytest.fixture(scope="module")
def cluster():
    """A head without devices and two nodes; a second node reaches the device `both` too."""
    import ray
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 300, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 0}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": quick})
    nodes = [made.add_node(num_cpus=1, resources={resource(name): 1 for name in names}) for names in (LEFT, RIGHT)]
    ray.init(address=made.address, log_to_driver=False, configure_logging=False)
    yield made, nodes
    ray.shutdown()
    made.shutdown()


class Kept(dict):
    """What a fleet gives back: job -> (device, result)."""

    def __call__(self, job: FleetJob, device: str, result: object) -> None:
        self[job.key] = (device, result)


def run(jobs, devices, work, payloads, **more) -> tuple[Kept, dict[str, str]]:
    kept = Kept()
    return kept, run_fleet(jobs, entries(*devices), work, payloads, kept, **{"limits": SOON, **more})


def spans(entry: DeviceEntry, folder: Path) -> tuple[str, float, float]:
    """The node this ran on, and from when to when."""
    import ray

    started = time.monotonic()
    time.sleep(0.05)
    return ray.get_runtime_context().get_node_id(), started, time.monotonic()


def test_jobs_run_at_the_node_of_their_device_and_one_at_a_time(cluster, tmp_path) -> None:
    _, (left, right) = cluster
    jobs = [FleetJob(f"{name}-{n}", (name,)) for name in ("a", "b") for n in range(3)]
    kept, given_up = run(jobs, ("a", "b"), spans, {job.key: tmp_path for job in jobs})
    assert given_up == {} and sorted(kept) == sorted(job.key for job in jobs)
    for name, node in (("a", left), ("b", right)):
        own = sorted(result for device, result in kept.values() if device == name)
        assert {node_id for node_id, _, _ in own} == {node.node_id}
        times = sorted((start, end) for _, start, end in own)
        assert len(times) == 3 and all(end <= start for (_, end), (start, _) in pairwise(times))


def second_try(entry: DeviceEntry, folder: Path) -> int:
    with (folder / entry.name).open("a") as file:
        file.write("x")
    tries = (folder / entry.name).stat().st_size
    if entry.name == "a":
        raise LoginRefused("log in", "the key is unknown", "")
    if tries < 2:
        raise EngineFailed("run", "a hiccup", "")
    return tries


def test_a_hiccup_is_tried_again_and_a_refusal_is_not(cluster, tmp_path) -> None:
    jobs = [FleetJob("x", ("a",)), FleetJob("y", ("b",))]
    kept, given_up = run(jobs, ("a", "b"), second_try, {"x": tmp_path, "y": tmp_path})
    assert kept == {"y": ("b", 2)} and given_up == {"x": "log in: the key is unknown"}
    assert (tmp_path / "a").read_text() == "x"


def waits_for(entry: DeviceEntry, file: Path | None) -> bool:
    """Done at once without a file, else when it is there."""
    deadline = time.monotonic() + 20
    while file is not None and not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return file is None or file.exists()


def test_a_result_is_kept_while_others_still_run(cluster, tmp_path) -> None:
    found = {}

    def keep(job: FleetJob, device: str, result: bool) -> None:
        found[job.key] = result
        (tmp_path / job.key).touch()

    jobs = [FleetJob("first", ("a",)), FleetJob("second", ("b",))]
    payloads = {"first": None, "second": tmp_path / "first"}
    assert run_fleet(jobs, entries("a", "b"), waits_for, payloads, keep, SOON) == {}
    assert found == {"first": True, "second": True}


def alone(entry: DeviceEntry, lock: Path) -> str:
    with LocalDevice(alone=True, lock=lock).reserve():
        return "alone"


def test_it_waits_for_a_measurement_that_somebody_else_makes(cluster, tmp_path) -> None:
    lock, said = tmp_path / "lock", []
    elsewhere = LocalDevice(lock=lock).reserve()
    elsewhere.__enter__()

    def say(text: str) -> None:
        said.append(text)
        if "waits" in text and len([one for one in said if "waits" in one]) == 1:
            elsewhere.__exit__(None, None, None)

    kept, given_up = run([FleetJob("j", ("a",))], ("a",), alone, {"j": lock}, say=say, limits=Limits(1, 0.05))
    assert kept == {"j": ("a", "alone")} and given_up == {}
    assert "j on a waits: somebody measures there" in said


def test_a_device_that_no_node_has_is_named_with_what_to_start(cluster) -> None:
    kept, given_up = run([FleetJob("j", ("nowhere",)), FleetJob("k", ("a",))], ("nowhere", "a"), waits_for,
                         {"j": None, "k": None})  # fmt: skip
    assert kept == {"k": ("a", True)}
    assert list(given_up) == ["j"] and "no node of the cluster has nowhere" in given_up["j"]
    assert """--resources='{"device:nowhere": 1}'""" in given_up["j"]


def dies_once(entry: DeviceEntry, folder: Path) -> str:
    mark = folder / "died"
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return "alive"


def test_a_process_that_dies_costs_a_try(cluster, tmp_path) -> None:
    kept, given_up = run([FleetJob("j", ("a",))], ("a",), dies_once, {"j": tmp_path})
    assert kept == {"j": ("a", "alive")} and given_up == {}


def hangs_first(entry: DeviceEntry, folder: Path) -> str:
    """Nothing comes back of the first try on `c` and on `roams`; `a` waits until both are under way."""
    mark = folder / entry.name
    if entry.name == "a":
        return str(waits_for(entry, folder / "c") and waits_for(entry, folder / "roams"))
    if entry.name in ("c", "roams") and not mark.exists():
        mark.touch()
        time.sleep(60)
    return entry.name


def test_a_node_killed_in_the_middle_costs_its_running_jobs_only(cluster, tmp_path) -> None:
    """`b` takes over where it may, `roams` goes on at another node that reaches it, `c` is out of reach."""
    made, _ = cluster
    doomed = made.add_node(num_cpus=1, resources={resource(name): 1 for name in ("c", "roams")})

    def kill(text: str) -> None:
        if text.startswith("a-1 on a: done"):
            made.add_node(num_cpus=1, resources={resource("roams"): 1})
            made.remove_node(doomed, allow_graceful=False)

    able = {"c-or-b": ("c", "b"), "c": ("c",), "roams": ("roams",), "a-1": ("a",), "a-2": ("a",)}
    jobs = [FleetJob(key, devices) for key, devices in able.items()]
    payloads = {job.key: tmp_path for job in jobs}
    kept, given_up = run(jobs, ("a", "b", "c", "roams"), hangs_first, payloads, say=kill)
    found = {key: device for key, (device, _) in kept.items()}
    assert found == {"c-or-b": "b", "roams": "roams", "a-1": "a", "a-2": "a"}
    assert given_up == {"c": "the node that c hung on is gone, and no other node reaches it"}


def test_jobs_of_unknown_devices_are_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="not of the fleet"):
        run([FleetJob("j", ("z",))], ("a",), waits_for, {"j": None})
