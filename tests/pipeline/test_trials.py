import os

import pytest

from edgesmith.errors import UsageError
from edgesmith.pipeline.trials import trials


def square(number: int) -> int:
    if number == 2:
        raise ValueError("two")
    return number * number


def process(_: int) -> int:
    return os.getpid()


def test_all_trials_run_in_order_and_one_that_fails_is_only_itself() -> None:
    found = trials(square, [3, 2, 1])
    assert [trial.result for trial in found] == [9, None, 1] and [trial.config for trial in found] == [3, 2, 1]
    assert found[1].error == "ValueError: two" and found[0].error is None


def test_workers_are_other_processes() -> None:
    found = trials(process, [1, 2], workers=2)
    assert all(trial.error is None and trial.result != os.getpid() for trial in found)


def test_a_worker_that_dies_is_a_failed_trial() -> None:
    (trial,) = trials(os._exit, [3], workers=2)
    assert trial.result is None and "BrokenProcessPool" in trial.error


@pytest.mark.needs("ray")
def test_the_same_on_ray() -> None:
    import ray

    found = trials(square, [3, 2], engine="ray", workers=1)
    assert [trial.result for trial in found] == [9, None] and found[1].error == "ValueError: two"
    assert not ray.is_initialized()


@pytest.mark.parametrize("wrong", [{"engine": "slurm"}, {"workers": 0}, {"address": "auto"}])
def test_wrong_arguments_are_usage_errors(wrong) -> None:
    with pytest.raises(UsageError):
        trials(square, [1], **wrong)
