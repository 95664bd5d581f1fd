"""The policy of a fleet, without machines: what runs where, and what becomes of what fails."""

from __future__ import annotations

import pytest

from edgesmith.devices.dispatch import Dispatch, FleetJob, Limits
from edgesmith.errors import UsageError


def started(plan: Dispatch, now: float) -> dict[str, str]:
    """device -> job."""
    return {device: job.key for job, device in plan.starts(now)}


def test_a_device_has_one_job_at_a_time_and_the_longest_begins() -> None:
    plan = Dispatch([FleetJob("short", ("a",), 1), FleetJob("long", ("a",), 9)], ["a"])
    assert started(plan, 0) == {"a": "long"} and started(plan, 1) == {}
    plan.succeeded("a", 9)
    assert started(plan, 9) == {"a": "short"}
    plan.succeeded("a", 10)
    assert plan.finished and plan.done == {"short", "long"} and plan.given_up == {}


def test_work_is_shared_evenly_by_time_and_not_by_number() -> None:
    lengths = {"ten": 10, "six": 6, "five": 5, "four": 4}
    plan = Dispatch([FleetJob(key, ("a", "b"), seconds) for key, seconds in lengths.items()], ["a", "b"])
    ends, now, order = {}, 0.0, {"a": [], "b": []}
    while not plan.finished:
        for device, key in started(plan, now).items():
            ends[device] = now + lengths[key]
            order[device].append(key)
        device = min(ends, key=ends.__getitem__)
        now = ends.pop(device)
        plan.succeeded(device, now)
    assert now == 14 and sorted(map(tuple, order.values())) == [("six", "five"), ("ten", "four")]


def test_a_fast_device_takes_over_what_was_planned_for_a_slow_one() -> None:
    plan = Dispatch([FleetJob(str(n), ("slow", "fast")) for n in range(6)], ["slow", "fast"])
    started(plan, 0)
    ran = 1
    for now in (1, 2, 3, 4):  # slow is still at its first job
        plan.succeeded("fast", now)
        ran += len(started(plan, now))
    assert ran == 5
    plan.succeeded("fast", 5)
    plan.succeeded("slow", 6)
    assert plan.finished


def test_a_slow_device_leaves_its_last_job_to_one_that_ends_it_sooner() -> None:
    plan = Dispatch([FleetJob(str(n), ("slow", "fast")) for n in range(4)], ["slow", "fast"])
    started(plan, 0)
    plan.succeeded("fast", 1)
    started(plan, 1)
    plan.succeeded("slow", 1.9)  # at this pace it would end at 3.8, the other one at 3
    assert started(plan, 1.9) == {}
    plan.succeeded("fast", 2)
    assert list(started(plan, 2)) == ["fast"]


def test_a_failed_job_is_tried_elsewhere_and_its_device_rests() -> None:
    plan = Dispatch([FleetJob("j", ("a", "b"))], ["a", "b"], Limits(pause_s=5))
    (first,) = started(plan, 0)
    plan.failed(first, "unplugged", 1)
    (second,) = started(plan, 1)
    assert {first, second} == {"a", "b"}
    plan.failed(second, "unplugged", 2)
    assert started(plan, 5.9) == {} and plan.wakes_at(5.9) == 6
    assert started(plan, 6) == {first: "j"}
    plan.failed(first, "unplugged", 7)
    assert plan.given_up == {"j": "unplugged (tried 3 times)"} and plan.finished


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    plan = Dispatch([FleetJob("bad", ("a",), 2), FleetJob("good", ("a",), 1)], ["a"])
    started(plan, 0)
    plan.failed("a", "unknown host key", 1, again=False)
    assert plan.given_up == {"bad": "unknown host key"} and started(plan, 1) == {"a": "good"}


def test_a_device_that_only_fails_is_left_alone_and_its_jobs_go_elsewhere() -> None:
    jobs = [FleetJob(f"both-{n}", ("bad", "good")) for n in range(2)] + [FleetJob("only", ("bad",))]
    plan, now = Dispatch(jobs, ["bad", "good"], Limits(tries=9, pause_s=0, in_a_row=3)), 0.0
    while not plan.finished and now < 99:
        running, now = started(plan, now), now + 1
        for device in running:
            plan.failed(device, "no answer", now) if device == "bad" else plan.succeeded(device, now)
    assert plan.done == {"both-0", "both-1"}
    assert plan.given_up == {"only": "bad failed 3 times in a row, at last: no answer"}


def test_a_success_between_failures_keeps_a_device_in_the_fleet() -> None:
    plan = Dispatch([FleetJob(str(n), ("a",)) for n in range(6)], ["a"], Limits(tries=1, pause_s=0, in_a_row=2))
    for now in range(6):
        started(plan, now)
        plan.failed("a", "broke", now) if now % 2 else plan.succeeded("a", now)
    assert len(plan.done) == 3 and set(plan.given_up.values()) == {"broke"}


def test_a_busy_device_costs_no_try_but_not_for_ever() -> None:
    plan = Dispatch([FleetJob("j", ("a",))], ["a"], Limits(tries=1, pause_s=1, busy_s=10))
    for now in range(0, 10, 2):
        assert started(plan, now) == {"a": "j"}
        plan.busy("a", "eve measures there", now)
    started(plan, 10)
    plan.busy("a", "eve measures there", 10)
    assert plan.given_up == {"j": "eve measures there, for more than 10 s"}


def test_a_lost_device_gives_its_work_to_others_and_gives_up_what_nobody_else_can_do() -> None:
    jobs = [FleetJob("either", ("a", "b"), 2), FleetJob("only-a", ("a",)), FleetJob("only-b", ("b",))]
    plan = Dispatch(jobs, ["a", "b"])
    running = started(plan, 0)
    plan.lost("a", "its node is gone", 1)
    if "a" in running:
        plan.failed("a", "its node is gone", 1)
    for now in range(2, 12, 2):
        plan.succeeded("b", now) if not plan.finished else None
        started(plan, now)
        if plan.finished:
            break
    assert plan.done == {"either", "only-b"} and plan.given_up == {"only-a": "its node is gone"}


@pytest.mark.parametrize(
    ("jobs", "limits", "found"),
    [
        ([FleetJob("j", ("a",)), FleetJob("j", ("a",))], Limits(), "named twice"),
        ([FleetJob("j", ("z",))], Limits(), r"\['z'\] are not of the fleet"),
        ([FleetJob("j", ())], Limits(), "give it devices"),
        ([FleetJob("j", ("a",), 0.0)], Limits(), "a time above 0"),
        ([FleetJob("j", ("a",))], Limits(tries=0), "at least 1"),
    ],
)
def test_what_cannot_be_is_a_usage_error(jobs, limits, found) -> None:
    with pytest.raises(UsageError, match=found):
        Dispatch(jobs, ["a"], limits)
