import csv
import sys
from dataclasses import replace

import pytest

from edgesmith.compress.fit import fit
from edgesmith.compress.logs import TABLE, logger
from edgesmith.compress.task import Plain
from edgesmith.errors import MissingPackage
from tests.compress.test_fit import CONFIG, Dropping, images
from tests.compress.test_phases import Stop, stop_after
from tests.compress.training import PREPROCESSING

EPOCHS = [
    {"epoch": 1, "loss": 2.0, "terms": {"ce": 1.5}, "accuracy": None, "seconds": 0.1},
    {"epoch": 2, "loss": 1.0, "terms": {"ce": 0.5, "kl": 0.25}, "accuracy": 0.5, "seconds": 0.1},
]


def read(folder) -> list[dict[str, str]]:
    with (folder / TABLE).open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_line_an_epoch_and_a_column_for_every_number(tmp_path) -> None:
    log = logger("csv", tmp_path, EPOCHS[:1])
    assert [row["ce"] for row in read(tmp_path)] == ["1.5"]
    log.add(EPOCHS[1])
    log.close()
    rows = read(tmp_path)
    assert [row["kl"] for row in rows] == ["", "0.25"] and rows[1]["accuracy"] == "0.5" and "terms" not in rows[0]


def test_a_resumed_training_has_the_whole_table(tmp_path) -> None:
    with pytest.raises(Stop):
        fit(Plain(Dropping()), images(), PREPROCESSING, CONFIG, tmp_path, stop_after(2))
    assert len(read(tmp_path)) in (1, 2)
    (tmp_path / TABLE).unlink()  # as when a run clears what is half done
    result = fit(Plain(Dropping()), images(), PREPROCESSING, CONFIG, tmp_path)
    assert [float(row["loss"]) for row in read(tmp_path)] == [epoch.loss for epoch in result.history]


def test_no_log_leaves_no_file(tmp_path) -> None:
    fit(Plain(Dropping()), images(), PREPROCESSING, replace(CONFIG, epochs=1, log="none"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.needs("tensorboard")
def test_tensorboard_gets_every_epoch_once(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger("tensorboard", tmp_path, EPOCHS[:1]).close()
    log = logger("tensorboard", tmp_path, EPOCHS[:1])  # resumed
    log.add(EPOCHS[1])
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("loss")] == [(1, 2.0), (2, 1.0)]
    assert [point.step for point in events.Scalars("kl")] == [2]


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith(("torch.utils.tensorboard", "tensorboard."))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackage, match=r"edgesmith\[logs\]"):
        logger("tensorboard", tmp_path, [])
