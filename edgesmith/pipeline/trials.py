"""The same function over many configurations (seeds, budgets): here, in processes, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar, get_args

from edgesmith.errors import UsageError
from edgesmith.plugins import missing_package

Engine = Literal["local", "ray"]
C = TypeVar("C")
R = TypeVar("R")


@dataclass(frozen=True)
class Trial(Generic[C, R]):
    """What came of one configuration: a result, or the error that ended it."""

    config: C
    result: R | None
    error: str | None
    seconds: float


def trials(
    run: Callable[[C], R],
    configs: Sequence[C],
    engine: Engine = "local",
    workers: int = 1,
    address: str | None = None,
    gpus: float = 0.0,
) -> list[Trial[C, R]]:
    """Run every configuration, in the order given; a failed one does not stop the others.

    `run` and its results must pickle where they leave the process (workers above 1, or ray). `address` is that of a
    running Ray cluster; without it one with so many workers is started on this machine and stopped at the end.
    `gpus` is how many (or what part of one) Ray reserves for a trial; with 0 a trial on Ray sees no GPU.
    Raises: UsageError, MissingPackage.
    """
    if engine not in get_args(Engine) or workers < 1 or (address and engine != "ray"):
        found = f"engine {engine!r}, {workers} workers, address {address!r}"
        raise UsageError("run trials", found, f"choose one of {get_args(Engine)}, 1 worker or more; address is ray's")
    if engine == "ray":
        return _on_ray(run, configs, workers, address, gpus)
    if workers == 1:
        return [_one(run, config) for config in configs]
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = [pool.submit(_one, run, config) for config in configs]
        return [_collected(config, future.result) for config, future in zip(configs, waiting)]


def _one(run: Callable[[C], R], config: C) -> Trial[C, R]:
    started = time.monotonic()
    try:
        return Trial(config, run(config), None, time.monotonic() - started)
    except Exception as error:  # whatever it is, it belongs to this trial
        return Trial(config, None, f"{type(error).__name__}: {error}", time.monotonic() - started)


def _collected(config: C, get: Callable[[], Trial[C, R]]) -> Trial[C, R]:
    """A worker's trial; a worker that died, or sent what does not pickle, is a failed trial."""
    started = time.monotonic()
    try:
        return get()
    except Exception as error:
        return Trial(config, None, f"{type(error).__name__}: {error}", time.monotonic() - started)


def _on_ray(
    run: Callable[[C], R], configs: Sequence[C], workers: int, address: str | None, gpus: float
) -> list[Trial[C, R]]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise missing_package(error, "run trials on ray") from error
    ours = not ray.is_initialized()
    if ours:
        where: dict[str, Any] = {"address": address} if address else {"address": "local", "num_cpus": workers}
        ray.init(**where, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        get: Any = ray.get
        remote: Any = ray.remote(max_retries=0, num_gpus=gpus)(_one)
        waiting = [remote.remote(run, config) for config in configs]
        return [_collected(config, partial(get, reference)) for config, reference in zip(configs, waiting)]
    finally:
        if ours:
            ray.shutdown()
