"""The latency protocol: in which order blocks run, when a warm-up ends, how a sample is timed.

The clock is time.perf_counter_ns. Every sample is kept. Candidates run in interleaved blocks, and each round
begins with another one, so that neither a drifting machine nor a fixed neighbour favours anyone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from statistics import median

from edgesmith.tensors import Arrays

STEADY_WINDOW = 10
STEADY_SHARE = 0.03
WARMUP_BOUND = 10
WARMUP_BOUND_S = 20.0


def rounds(names: Sequence[str], blocks: int) -> list[tuple[str, ...]]:
    """The order of each round: every candidate once, the first one moving on by one a round."""
    starts = [index % len(names) for index in range(blocks)]
    return [(*names[start:], *names[:start]) for start in starts]


def is_steady(samples_ms: Sequence[float]) -> bool:
    """Whether the median of the last ten samples is within 3 % of that of the ten before."""
    if len(samples_ms) < 2 * STEADY_WINDOW:
        return False
    before = median(samples_ms[-2 * STEADY_WINDOW : -STEADY_WINDOW])
    return abs(median(samples_ms[-STEADY_WINDOW:]) - before) <= STEADY_SHARE * before


def sample(run: Callable[[Arrays], object], feeds: Sequence[Arrays], start: int, count: int) -> list[float]:
    """Milliseconds of `count` runs, the inputs rotating from number `start` on."""
    samples = []
    for index in range(start, start + count):
        feed = feeds[index % len(feeds)]
        begin = time.perf_counter_ns()
        run(feed)
        samples.append((time.perf_counter_ns() - begin) / 1e6)
    return samples


def sample_streams(
    runs: Sequence[Callable[[Arrays], object]], feeds: Sequence[Arrays], start: int, count: int
) -> list[float]:
    """Milliseconds of `count` runs that several sessions, one a thread, take from one queue.

    Raises: what the first run that failed has raised.
    """
    numbers, samples, lock = iter(range(start, start + count)), list[float](), threading.Lock()
    failures, together = list[Exception](), threading.Barrier(len(runs))

    def serve(run: Callable[[Arrays], object]) -> None:
        together.wait()
        while not failures:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                samples.extend(sample(run, feeds, number, 1))
            except Exception as error:  # raised again by the thread that asked
                failures.append(error)

    threads = [threading.Thread(target=serve, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return samples


def warm_up(run: Callable[[Arrays], object], feeds: Sequence[Arrays], at_least: int) -> tuple[list[float], bool]:
    """Run until the running median is steady: at least `at_least` runs, at most ten times as many or 20 seconds.

    Returns the samples, of which the first is the first inference, and whether they became steady.
    """
    samples = sample(run, feeds, 0, at_least)
    bound_ms = max(WARMUP_BOUND_S * 1e3, sum(samples))
    while not is_steady(samples) and len(samples) < WARMUP_BOUND * at_least and sum(samples) < bound_ms:
        samples += sample(run, feeds, len(samples), 1)
    return samples, is_steady(samples)


def sentinel_ms(repeats: int = 40) -> float:
    """Milliseconds of a fixed loop of integer arithmetic: slower later than before means a throttled machine.

    The fastest of the repeats, since this asks for the clock and not for the load; the load is what the
    interleaving of blocks is for.
    """
    return min(_kernel_ms() for _ in range(repeats))


def _kernel_ms() -> float:
    begin = time.perf_counter_ns()
    state = 1
    for _ in range(50_000):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
    return (time.perf_counter_ns() - begin) / 1e6
