from __future__ import annotations

import numpy as np
import pytest

from edgesmith.artifact import Exported
from edgesmith.errors import MissingResource, UsageError
from edgesmith.runtimes.null import NullModel, NullSession
from edgesmith.runtimes.session import check_run, must_exist, owned, refused
from edgesmith.tensors import TensorSpec

A, B = TensorSpec("a", ("batch", 2)), TensorSpec("b", ("batch", 3))


def session() -> NullSession:
    return NullSession(NullModel((A, B), (A,)), "fp32")


def feed(rows_a: int, rows_b: int) -> dict[str, np.ndarray]:
    return {"a": np.ones((rows_a, 2), np.float32), "b": np.ones((rows_b, 3), np.float32)}


def test_one_dynamic_axis_has_one_size():
    check_run(session(), feed(4, 4), (), None)
    with pytest.raises(UsageError, match="'batch' = 4"):
        check_run(session(), feed(4, 5), (), None)


def test_what_a_session_cannot_do_is_refused():
    with pytest.raises(UsageError, match="cannot tap"):
        check_run(session(), feed(1, 1), ("a",), None)
    with pytest.raises(UsageError, match="cannot inject"):
        check_run(session(), feed(1, 1), (), {"a": np.ones(1)})


def test_owned_copies_views_only():
    whole = np.arange(6.0)
    answer = owned({"whole": whole, "view": whole[:3]})
    assert answer["whole"] is whole
    assert not np.shares_memory(answer["view"], whole)


def test_a_vendors_long_complaint_is_cut():
    error = refused("run x", RuntimeError("\n".join(f"line {n}" for n in range(50))))
    assert error.found == "line 0 line 1 line 2 line 3"


def test_an_error_without_words_is_named():
    assert refused("run x", RuntimeError()).found == "RuntimeError"


def test_an_absent_file(tmp_path):
    with pytest.raises(MissingResource, match="model"):
        must_exist(Exported("t", "r", "fp32", "model", (), (), root=tmp_path).file)
