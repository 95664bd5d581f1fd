"""Latency from tables: a known law is found again, families are left out, and what was never seen is said."""

import math
from dataclasses import replace

import numpy as np
import pytest

from edgesmith.bench.latency_model import Kernel, Law, ProfiledNetwork, fit, leave_one_family_out, predict
from edgesmith.errors import UsageError

TRUE = {"Conv": Law(0.01, 2e-8, 1e-7), "Conv depthwise": Law(0.005, 9e-8, 3e-7), "Add": Law(0.002, 0.0, 2e-7)}
INFLATED, OVERHEAD = 1.3, 0.05


def network(seed: int, family: str, spread: float = 0.0) -> ProfiledNetwork:
    draw = np.random.default_rng(seed)
    kernels = []
    for _ in range(int(draw.integers(15, 40))):
        kind = str(draw.choice(list(TRUE)))
        size = float(draw.uniform(1e4, 1e6))
        kernels.append(Kernel(kind, 0.0 if kind == "Add" else size * float(draw.uniform(1, 60)), size))
    real = [TRUE[kernel.kind].ms(kernel) for kernel in kernels]
    p50 = (OVERHEAD + sum(real)) * math.exp(spread * float(draw.normal()))
    return ProfiledNetwork(f"{family}-{seed}", family, tuple(kernels), tuple(INFLATED * ms for ms in real), p50)


def table(families: int, each: int, spread: float = 0.0, start: int = 0) -> list[ProfiledNetwork]:
    return [network(start + f * each + n, f"family{f}", spread) for f in range(families) for n in range(each)]


def test_a_known_law_and_the_profilers_slowness_are_found_again():
    model = fit(table(5, 4))
    assert model.factor == pytest.approx(1 / INFLATED, rel=1e-3)
    assert model.overhead_ms == pytest.approx(OVERHEAD, rel=1e-2)
    for kind, law in TRUE.items():
        found = model.laws[kind]
        expected = (INFLATED * law.call, INFLATED * law.mac, INFLATED * law.byte)
        assert (found.call, found.mac, found.byte) == pytest.approx(expected, rel=1e-3, abs=1e-12)
    new = network(99, "new")
    assert predict(model, new.kernels).p50_ms.value == pytest.approx(new.p50_ms, rel=1e-3)


def test_more_work_never_takes_less_time_whatever_was_measured():
    falling = tuple(Kernel("Conv", 1e6 * n, 1e4 * n) for n in range(1, 9))
    times = tuple(1.0 / n for n in range(1, 9))
    model = fit([ProfiledNetwork("odd", "odd", falling, times, sum(times))])
    law = model.laws["Conv"]
    assert min(law.call, law.mac, law.byte) >= 0 and law.call > 0
    sizes = [predict(model, [Kernel("Conv", 1e6 * n, 1e4 * n)]).p50_ms.value for n in (1, 4, 40)]
    assert sizes == sorted(sizes)


def test_a_kernel_never_seen_is_named_and_opens_the_upper_end():
    model = fit(table(6, 4, spread=0.05))
    known = network(99, "new")
    seen, more = predict(model, known.kernels), predict(model, [*known.kernels, Kernel("Einsum", 1e6, 1e4)])
    assert seen.unseen == () and seen.p50_ms.high is not None
    assert more.unseen == ("Einsum",) and more.p50_ms.high is None
    assert more.p50_ms.value == seen.p50_ms.value


def test_a_family_is_predicted_without_itself():
    odd = [replace(one, family="slow", p50_ms=2 * one.p50_ms) for one in table(1, 4, start=50)]
    found = leave_one_family_out([*table(5, 4), *odd])
    assert len(found) == 24
    slow = [one.error for one in found if one.family == "slow"]
    assert slow == pytest.approx([-0.5] * 4, abs=0.01)


def test_the_interval_holds_nine_in_ten_networks_of_new_families():
    held = widths = 0.0
    for run in range(25):
        model = fit(table(8, 3, spread=0.08, start=1000 * run))
        for new in (network(1000 * run + 500 + n, "new", spread=0.08) for n in range(8)):
            found = predict(model, new.kernels).p50_ms
            held += found.low <= new.p50_ms <= found.high
            widths += math.log(found.high / found.low) / 2
    assert 0.84 <= held / 200 <= 0.97
    assert widths / 200 < 3 * 0.08  # an interval that holds everything says nothing


@pytest.mark.parametrize(("families", "each"), [(1, 12), (2, 12), (3, 2)])
def test_too_few_families_or_networks_give_no_interval(families: int, each: int):
    found = predict(fit(table(families, each)), network(99, "new").kernels).p50_ms
    assert found.low is None and found.high is None and found.value > 0


def test_a_table_or_a_network_that_is_none_is_refused():
    good = network(1, "a")
    for bad, word in [
        ([], "no networks"),
        ([replace(good, profiled_ms=good.profiled_ms[1:])], "times"),
        ([replace(good, p50_ms=math.nan)], "a-1"),
        ([replace(good, p50_ms=0.0)], "a-1"),
    ]:
        with pytest.raises(UsageError, match=word):
            fit(bad)
    with pytest.raises(UsageError, match="without kernels"):
        predict(fit([good]), [])
