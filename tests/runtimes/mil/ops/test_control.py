"""Control flow: both ways of a condition, loops with counters, blocks in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from edgesmith.errors import EngineFailed
from edgesmith.runtimes.mil import limits
from tests.runtimes.mil.programs import run

X = np.array([1.0, -2.0, 3.0], np.float32)


@pytest.mark.parametrize("pick", [True, False])
def test_cond_takes_one_way(pick):
    def body(x, pick):
        outer = mb.mul(x=x, y=2.0)
        pick = mb.squeeze(x=pick)
        return mb.cond(pred=pick, _true_fn=lambda: mb.add(x=outer, y=1.0), _false_fn=lambda: mb.sub(x=x, y=outer))

    (found,) = run(body, {"x": X, "pick": np.array([pick])})
    np.testing.assert_array_equal(found, 2 * X + 1 if pick else X - 2 * X)


@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_while_loop_runs_until_its_condition_ends(rounds):
    def body(x, count):
        return mb.while_loop(
            _cond=lambda n, y: mb.less(x=n, y=mb.squeeze(x=count)),
            _body=lambda n, y: (mb.add(x=n, y=1), mb.add(x=y, y=x)),
            loop_vars=(0, mb.identity(x=x)),
        )

    n, found = run(body, {"x": X, "count": np.array([rounds], np.int32)})
    assert int(n) == rounds
    np.testing.assert_array_equal(found, X * (rounds + 1))


def test_a_condition_inside_a_loop_sees_what_is_outside():
    def body(x):
        def step(n, y):
            even = mb.equal(x=mb.mod(x=n, y=2), y=0)
            moved = mb.cond(pred=even, _true_fn=lambda: mb.add(x=y, y=x), _false_fn=lambda: mb.mul(x=y, y=2.0))
            return mb.add(x=n, y=1), moved

        loop = (0, mb.identity(x=x))
        return mb.while_loop(_cond=lambda n, y: mb.less(x=n, y=4), _body=step, loop_vars=loop)

    expected = X.copy()
    for n in range(4):
        expected = expected + X if n % 2 == 0 else expected * 2
    np.testing.assert_array_equal(run(body, {"x": X})[1], expected)


def test_a_loop_without_an_end_is_stopped(monkeypatch):
    monkeypatch.setattr(limits, "MOST_ROUNDS", 50)

    def body(x):
        loop = (mb.identity(x=x),)
        return mb.while_loop(_cond=lambda y: mb.equal(x=1, y=1), _body=lambda y: (mb.add(x=y, y=1.0),), loop_vars=loop)

    with pytest.raises(EngineFailed, match=r"while_loop.*did not end after 50 rounds"):
        run(body, {"x": X})
