from __future__ import annotations

import pytest

from edgesmith.bench import protocol


def test_each_round_has_everyone_once_and_begins_with_the_next():
    assert protocol.rounds(["a", "b", "c"], 4) == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"), ("a", "b", "c")]


def test_everyone_is_first_equally_often():
    firsts = [names[0] for names in protocol.rounds(list("abcd"), 12)]
    assert {name: firsts.count(name) for name in "abcd"} == dict.fromkeys("abcd", 3)


@pytest.mark.parametrize(
    ("samples", "steady"),
    [([1.0] * 19, False), ([1.0] * 20, True), ([2.0] * 10 + [1.0] * 10, False), ([9.0] * 50 + [1.0] * 20, True)],
)
def test_steady_is_when_two_windows_agree(samples, steady):
    assert protocol.is_steady(samples) is steady


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only by what `run` says (the one place where time itself is replaced)."""
    now = [0]
    monkeypatch.setattr(protocol.time, "perf_counter_ns", lambda: now[0])
    return now


def test_samples_are_timed_one_by_one_and_inputs_rotate(clock):
    seen = []

    def run(feed):
        seen.append(feed)
        clock[0] += len(seen) * 1_000_000

    assert protocol.sample(run, ["a", "b", "c"], 2, 4) == [1.0, 2.0, 3.0, 4.0]
    assert seen == ["c", "a", "b", "c"]


def test_a_warm_up_ends_when_times_are_steady(clock):
    times = iter([50.0] * 15 + [1.0] * 100)

    def run(feed):
        clock[0] += int(next(times) * 1e6)

    samples, steady = protocol.warm_up(run, [None], 5)
    # From here on at most four slow runs are in the earlier window of ten, and its median is 1 ms too.
    assert steady and len(samples) == 31 and samples[0] == 50.0


def test_a_warm_up_is_bounded_in_number(clock):
    times = iter([1.2**n for n in range(100)])

    def run(feed):
        clock[0] += int(next(times) * 1e6)

    samples, steady = protocol.warm_up(run, [None], 2)
    assert len(samples) == 20 and not steady


def test_a_warm_up_is_bounded_in_time_but_takes_its_least_number(clock):
    def run(feed):
        clock[0] += 5_000_000_000

    samples, steady = protocol.warm_up(run, [None], 8)
    assert len(samples) == 8 and not steady


def test_the_sentinel_takes_time():
    assert protocol.sentinel_ms(2) > 0
