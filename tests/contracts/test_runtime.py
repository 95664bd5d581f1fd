"""What every row of RUNTIMES promises (edgesmith/runtimes/session.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesmith.errors import MissingPackage, MissingResource, UsageError
from edgesmith.plugins import is_installed
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions, Session
from edgesmith.tensors import Arrays, random_feed
from tests.runtimes.samples import Sample, make


@pytest.fixture(scope="module", params=RUNTIMES.names())
def named(request, tmp_path_factory) -> tuple[str, Sample]:
    return request.param, make(request.param, tmp_path_factory.mktemp(request.param) / "model")


# What a machine must have to run a row; every other row must run wherever the tests do.
NEEDS = {"executorch": "executorch", "tensorrt": "gpu", "tensorrt-rtx": "gpu", "coreai": "darwin"}
NEEDS |= {"torch-cuda": "gpu", "torch-compile": "gpu", "ort-cuda": "gpu"}


def open_or_skip(name: str, sample: Sample) -> Session:
    try:
        session: Session = RUNTIMES.get(name).open(sample.exported, RunOptions())
    except (MissingPackage, MissingResource) as error:
        if name not in NEEDS:
            raise
        pytest.skip(f"{NEEDS[name]}: runtime {name}: {error.found}")
    return session


@pytest.fixture(scope="module")
def opened(named):
    with open_or_skip(*named) as session:
        yield session, named[1]


def feed_for(session: Session, seed: int = 0) -> Arrays:
    return random_feed(session.inputs, seed, batch=2)


def test_what_cannot_be_opened_here_says_why_in_the_agreed_way(named):
    name, sample = named
    try:
        with RUNTIMES.get(name).open(sample.exported, RunOptions()) as session:
            assert session.run(feed_for(session))
    except (MissingPackage, MissingResource) as error:
        assert error.asked and error.found and error.todo


def test_it_answers_the_names_shapes_and_types_it_promises(opened):
    session, _ = opened
    feed = feed_for(session)
    answer = session.run(feed)
    rows = len(next(iter(feed.values())))
    assert {name: (array.shape, str(array.dtype)) for name, array in answer.items()} == {
        spec.name: (spec.concrete(rows), spec.dtype) for spec in session.outputs
    }


def test_the_same_input_gives_the_same_output_and_another_one_another(opened):
    session, _ = opened
    first, again, other = (session.run(feed_for(session, seed)) for seed in (0, 0, 1))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        assert not np.array_equal(array, other[name])


def test_a_dynamic_batch_gives_each_row_what_it_gets_alone(opened):
    session, _ = opened
    assert session.inputs[0].dynamic
    feed = feed_for(session)
    both = session.run(feed)
    for row in range(2):
        alone = session.run({name: array[row : row + 1] for name, array in feed.items()})
        for name, array in alone.items():
            np.testing.assert_allclose(array[0], both[name][row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mistake", ["missing", "unknown", "shape", "rank", "type"])
def test_a_wrong_feed_is_a_usage_error(opened, mistake):
    session, _ = opened
    feed = feed_for(session)
    name = session.inputs[0].name
    wrong = {
        "missing": lambda: {key: array for key, array in feed.items() if key != name},
        "unknown": lambda: {**feed, "stranger": feed[name]},
        "shape": lambda: {**feed, name: feed[name][..., :-1]},
        "rank": lambda: {**feed, name: feed[name][..., None]},
        "type": lambda: {**feed, name: feed[name].astype("float64")},
    }[mistake]()
    with pytest.raises(UsageError):
        session.run(wrong)


def test_inputs_of_different_batches_are_a_usage_error(opened):
    session, _ = opened
    feed = feed_for(session)
    name = session.inputs[1].name
    with pytest.raises(UsageError, match="same size"):
        session.run({**feed, name: feed[name][:1]})


def test_results_belong_to_the_caller(opened):
    session, _ = opened
    feed = feed_for(session)
    kept = session.run(feed)
    copies = {name: array.copy() for name, array in kept.items()}
    session.run(feed_for(session, 1))
    for name, array in kept.items():
        np.testing.assert_array_equal(array, copies[name])
        array.fill(7)  # writing to a result does not reach the next one
    for name, array in session.run(feed).items():
        np.testing.assert_array_equal(array, copies[name])


def test_results_do_not_share_memory_with_the_feed_or_each_other(opened):
    session, _ = opened
    feed = feed_for(session)
    arrays = [*session.run(feed).values(), *feed.values()]
    pairs = [(a, b) for n, a in enumerate(arrays) for b in arrays[n + 1 :]]
    assert not any(np.shares_memory(a, b) for a, b in pairs)


def test_taps_are_answered_beside_the_same_outputs_or_refused(opened):
    session, sample = opened
    feed = feed_for(session)
    if not session.can_tap:
        with pytest.raises(UsageError):
            session.run(feed, taps=("anything",))
        return
    plain, tapped = session.run(feed), session.run(feed, taps=sample.taps)
    assert set(tapped) == set(plain) | set(sample.taps)
    for name, array in plain.items():
        np.testing.assert_allclose(tapped[name], array, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="no-such-tensor"):
        session.run(feed, taps=("no-such-tensor",))


def test_injection_changes_what_follows_or_is_refused(opened):
    session, sample = opened
    feed = feed_for(session)
    if not session.can_inject:
        with pytest.raises(UsageError):
            session.run(feed, inject={"anything": feed[session.inputs[0].name]})
        return
    place = sample.taps[0]
    plain = session.run(feed, taps=(place,))
    same = session.run(feed, inject={place: plain[place]})
    moved = session.run(feed, inject={place: plain[place] + 1})
    for spec in session.outputs:
        np.testing.assert_allclose(same[spec.name], plain[spec.name], rtol=1e-6, atol=1e-6)
        assert not np.allclose(moved[spec.name], plain[spec.name])


def test_the_words_about_the_engine_are_there(opened):
    session, sample = opened
    assert session.engine and session.precision == "fp32"
    assert RUNTIMES.get(sample.exported.runtime).version()


def test_a_closed_session_says_so(named):
    session = open_or_skip(*named)
    with session:
        feed = feed_for(session)
    assert session._vendor is None
    with pytest.raises(UsageError, match="closed"):
        session.run(feed)


def test_it_describes_a_file_as_the_exporter_would(named):
    name, sample = named
    if name.startswith("tensorrt") or not is_installed(_VENDORS.get(name, "numpy")):
        with pytest.raises((MissingPackage, MissingResource)):
            RUNTIMES.get(name).describe(sample.exported.file)
        return
    found = RUNTIMES.get(name).describe(sample.exported.file)
    assert found.runtime == name and found.precision == "fp32" and found.file == sample.exported.file
    for promised, described in zip(sample.exported.inputs, found.inputs):
        assert (described.name, described.dtype) == (promised.name, promised.dtype)
        assert described.concrete(2) == promised.concrete(2)
    assert [spec.concrete(2) for spec in found.outputs] == [spec.concrete(2) for spec in sample.exported.outputs]


def test_an_absent_file_is_a_missing_resource(named, tmp_path):
    name, sample = named
    object.__setattr__(gone := type(sample.exported)(**vars(sample.exported)), "root", tmp_path)
    with pytest.raises((MissingResource, MissingPackage)):
        RUNTIMES.get(name).open(gone, RunOptions())


_VENDORS = {
    "torch": "torch",
    "torch-cuda": "torch",
    "torch-compile": "torch",
    "ort": "onnxruntime",
    "ort-cuda": "onnxruntime",
    "openvino": "openvino",
    "coreml": "coremltools",
    "executorch": "executorch",
    "coreai": "coreai",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}
_WITHOUT_VENDORS = """
import sys
vendors = {vendors!r}
sys.modules.update(dict.fromkeys(vendors.values()))
from pathlib import Path
from edgesmith.artifact import Exported
from edgesmith.errors import MissingPackage
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
for name, vendor in vendors.items():
    exported = Exported(name, name, "fp32", {file!r}, (), (), root=Path("/"))
    try:
        RUNTIMES.get(name).open(exported, RunOptions())
    except MissingPackage as error:
        print(name, vendor in error.found, "pip install" in error.todo)
"""


def test_without_its_vendor_each_runtime_is_a_missing_package(tmp_path):
    file = tmp_path / "model"
    file.touch()
    code = _WITHOUT_VENDORS.format(vendors=_VENDORS, file=str(file).lstrip("/"))
    source = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert ended.stdout.split("\n")[:-1] == [f"{name} True True" for name in _VENDORS], ended.stderr


def test_every_row_but_the_fake_has_a_vendor_in_the_test_above():
    assert set(RUNTIMES.names()) == {*_VENDORS, "null"}
