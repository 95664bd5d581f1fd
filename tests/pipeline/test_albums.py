"""An album net through the pipeline: artefacts with two outputs that take bytes and a mask, and agree with PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from edgesmith.artifact import Exported
from edgesmith.data.album_rows import Albums
from edgesmith.pipeline.judge import Evidence, Outputs, judge
from edgesmith.pipeline.produce import Bundle, build_targets, calibrate, capture_source, plan_targets
from edgesmith.pipeline.recipe import Targets
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import Arrays
from tests.albums import album_net, albums

PLACES, COUNT = 4, 12
RUN = ("ort-fp32", "ort-int8", "openvino-int8")
NETS = {"post": {"layers": 2, "dim": 24}, "positions": {"positions": True}, "scores": {"pooling": "scores"}}


@pytest.fixture(scope="module", params=NETS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Bundle]:
    """One net and its artefacts, calibrated with albums of noise."""
    net, card = album_net(photos=PLACES, **NETS[request.param])
    outputs = tuple(spec.name for spec in card.outputs)
    source = Source(card.name, net, card.inputs, None, outputs=outputs)
    program = capture_source(source)
    inputs = Inputs(feeds(), False, "noise")
    names = (*RUN, "coreml-int8") if request.param == "post" else ("ort-int8", "openvino-int8")
    plans = plan_targets(program, calibrate(program, inputs, None, 4), names)
    return net, build_targets(program, source, names, plans, tmp_path_factory.mktemp("albums"), lambda line: None)


def feeds(count: int = COUNT) -> Arrays:
    """Albums of 1 to 4 photos; another album's photo stands in the places that are empty."""
    photos, mask = albums(count, PLACES)
    mask = (torch.arange(PLACES) <= torch.arange(count)[:, None] % PLACES).to(torch.uint8)
    return {"photos": photos.numpy(), "mask": mask.numpy()}


def answers(exported: Exported, feed: Arrays) -> Arrays:
    with RUNTIMES.get(exported.target.split("-")[0]).open(exported, RunOptions()) as session:
        rows = [session.run({name: array[row : row + 1] for name, array in feed.items()}) for row in range(COUNT)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def original(net: torch.nn.Module, feed: Arrays) -> Arrays:
    with torch.no_grad():
        logits, importance = net(*(torch.from_numpy(array) for array in feed.values()))
    return {"logits": logits.numpy(), "importance": importance.numpy()}


def each(made: tuple[torch.nn.Module, Bundle], check: Callable[[Exported], None]) -> None:
    ran = [exported for name, exported in made[1].exported.items() if not name.startswith("coreml")]
    assert ran and not made[1].absent
    for exported in ran:
        check(exported)


def test_every_artefact_gives_the_events_and_the_importance_of_the_original(made) -> None:
    wanted = original(made[0], feeds())

    def check(exported: Exported) -> None:
        found = answers(exported, feeds())
        for name, array in wanted.items():
            error = np.abs(found[name] - array).max()
            assert error < (0.25 if exported.precision == "int8" else 1e-4) * array.std(), (exported.target, name)

    each(made, check)


def test_no_artefact_looks_at_a_place_without_a_photo(made) -> None:
    feed, other = feeds(), feeds()
    other["photos"] = np.where(other["mask"][..., None, None, None] > 0, other["photos"], 255 - other["photos"])

    def check(exported: Exported) -> None:
        first, second = answers(exported, feed), answers(exported, other)
        assert all(np.allclose(first[name], second[name], atol=1e-5) for name in first), exported.target
        assert not first["importance"][feed["mask"] == 0].any()

    each(made, check)


def test_core_ml_takes_whole_numbers_of_32_bits(made) -> None:
    if "coreml-int8" in made[1].exported:
        specs = made[1].exported["coreml-int8"].inputs
        assert [(spec.name, spec.dtype) for spec in specs] == [("photos", "int32"), ("mask", "int32")]


def test_an_album_without_any_photo_has_an_answer(made) -> None:
    feed = feeds()
    feed["mask"] = feed["mask"] * 0
    each(made, lambda exported: check_empty(answers(exported, feed)))


def check_empty(found: Arrays) -> None:
    assert np.isfinite(found["logits"]).all() and not found["importance"].any()


def test_events_and_importance_are_both_judged(made) -> None:
    feed = feeds()
    answered = original(made[0], feed)
    events = np.arange(COUNT) % 2  # of two classes: labels all of one would tell nothing
    logits = np.eye(answered["logits"].shape[1], dtype=np.float32)[events]
    wanted = {**answered, "logits": logits}
    rows = Albums(feed["photos"], feed["mask"], events, wanted["importance"], ("",) * COUNT)
    bundle = Bundle(made[1].folder, made[1].exported, {})
    outputs = Outputs({"torch-fp32": wanted, "ort-int8": wanted}, {})
    found = judge(
        Evidence(rows.evaluation, outputs, bundle), {"drops": {"importance MAP@20%": 0.5}}, Targets(("ort-int8",))
    )
    metrics = {row.metric: row.estimate.value for row in found.accuracies if row.target == "ort-int8"}
    assert metrics["top1"] == metrics["importance MAP@20%"] == 1 and metrics["importance rank"] == pytest.approx(1)
    assert {verdict.check: verdict.state for verdict in found.verdicts}["drop of importance MAP@20%"] == "pass"
