import pytest
import torch

from edgesmith import records
from edgesmith.compress import METHODS
from edgesmith.compress.asap.cells import CellSpace
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.compress.asap.methods import asap, darts
from edgesmith.compress.task import Parts
from edgesmith.errors import MissingResource, UsageError
from tests.compress.training import net, trained

SPACE = CellSpace(3, 2, 3, ("sep3", "none", "skip"), inputs="top2")


def parts(classes: int = 3) -> Parts:
    return Parts(SPACE.supernet(), None, classes)


def test_the_methods_by_name() -> None:
    assert METHODS.get("asap") is asap and METHODS.get("darts") is darts


def test_the_optimizers_are_the_published_ones() -> None:
    weights, architecture = (phase.optimizer for phase in asap(parts()).phases)
    assert (weights.name, weights.lr, weights.min_lr, weights.schedule) == ("sgd", 0.025, 0.001, "cosine")
    assert (weights.momentum, weights.weight_decay, weights.clip) == (0.9, 3e-4, 5.0)
    assert (architecture.name, architecture.lr, architecture.betas) == ("adam", 3e-4, (0.5, 0.999))
    assert architecture.weight_decay == 1e-3 and architecture.decay_vectors and architecture.schedule == "constant"


def test_darts_prunes_nothing_and_decides_at_the_end_without_none(tmp_path) -> None:
    task = darts(parts(), alpha_lr=0.05)
    with torch.no_grad():
        for alpha in task.supernet.architecture.alphas.values():
            alpha[1] = 2.0  # none leads everywhere
    result = trained(task, tmp_path, epochs=2)
    assert not result.finished_early and task.forced
    assert [epoch.operations for epoch in task.history] == [28 * 3] * 2
    assert [epoch.temperature for epoch in task.history] == [1.0, 1.0] and not task.history[0].grace
    kept = task.genotype().kept()
    assert len(kept) == 16 and "none" not in kept.values()


def test_a_latency_table_is_read_from_its_file(tmp_path) -> None:
    entries = {edge.name: dict.fromkeys(edge.operations, 1.0) for edge in SPACE.edges}
    records.save(tmp_path / "t.json", LatencyTable("cells", "onnx-fp32", 1, 0.0, entries))
    task = asap(parts(), latency_table=str(tmp_path / "t.json"), latency_weight=0.1, latency_budget_ms=5.0)
    task.epoch_end(0)
    assert task.history[0].latency_ms == pytest.approx(28.0)
    with pytest.raises(MissingResource):
        asap(parts(), latency_table="nothing.json", latency_weight=0.1, latency_budget_ms=5.0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="supernet of a space"):
        asap(Parts(net(), None, 3))
    with pytest.raises(UsageError, match="4 classes"):
        asap(parts(4))
    with pytest.raises(UsageError, match="no table"):
        asap(parts(), latency_weight=1.0)
