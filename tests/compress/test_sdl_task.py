import copy

import pytest
import torch

from edgesmith.compress.sdl import SemanticDiversityLoss
from edgesmith.compress.sdl_task import sdl
from edgesmith.compress.task import Batch, Parts
from edgesmith.compress.terms import kl
from edgesmith.errors import UsageError
from edgesmith.models.semantic_head import SemanticHead, SemanticNet
from edgesmith.multilabel_metrics import mean_ap
from tests.compress.multilabels import CLASSES, scenes, tensors
from tests.compress.training import net, trained

BANK = torch.nn.functional.normalize(torch.randn(CLASSES, 6, generator=torch.Generator().manual_seed(0)), dim=1)


def semantic(embedding: int = 8, seed: int = 0) -> SemanticNet:
    torch.manual_seed(seed)
    return SemanticNet(net(embedding, seed, 0), SemanticHead(embedding, BANK, rows=2))


def test_it_learns_what_can_be_seen(tmp_path) -> None:
    task = sdl(Parts(semantic(), None, 0), spread_weight=0.05)
    result = trained(task, tmp_path, scenes(60), epochs=12, lr=0.01, optimizer="adamw")
    asked = scenes(60, seed=1)
    with torch.no_grad():
        scores = task.deployable()(tensors(asked)).numpy()
    assert mean_ap(scores, asked.labels).macro > 0.7  # scores are made to rank labels, not images
    assert result.history[-1].loss < result.history[0].loss and 0 <= result.history[-1].terms["row_use"] <= 1


@pytest.mark.parametrize("size", [8, 5])
def test_a_student_under_the_teachers_frozen_head(tmp_path, size) -> None:
    teacher = semantic(8, 1).eval()
    before = copy.deepcopy(teacher.state_dict())
    student = net(size, 2, CLASSES)
    task = sdl(Parts(student, teacher, 0), alpha=0.5, beta=0.1)
    trained(task, tmp_path, scenes(), epochs=2)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert torch.equal(task.net.head.principal.weight, teacher.head.principal.weight)
    deployed, x = task.deployable(), torch.randn(2, 3, 16, 16)
    assert deployed.projector is None and deployed.head.in_features == size and deployed.body.head is None
    assert torch.allclose(deployed(x), task.net.eval()(x), atol=1e-5)
    deployed.head.use(torch.randn(9, 6))
    assert deployed(x).shape == (2, 9)


def test_the_terms_with_a_teacher() -> None:
    teacher, student = semantic(8, 1).eval(), semantic(8, 2)
    task = sdl(Parts(student, teacher, 0), spread_weight=0.2, alpha=0.5, temperature=2.0).eval()
    x, y = torch.randn(4, 3, 16, 16), torch.randint(0, 2, (4, CLASSES))
    directions = teacher.head.directions(student.body.embed(x))
    expected = SemanticDiversityLoss(0.2)(directions, BANK, y)
    expected = expected + 0.5 * kl(teacher.head(student.body.embed(x)), teacher(x), 2.0)
    assert torch.allclose(task.step(Batch((x,), y), None).loss, expected, atol=1e-5)


def test_it_goes_on_after_an_interruption(tmp_path) -> None:
    teacher = semantic(8, 1).eval()

    def task():
        return sdl(Parts(net(5, 2, 0), teacher, 0))

    whole, first, again = task(), task(), task()
    trained(whole, tmp_path / "a", scenes(), epochs=2)
    end, first.epoch_end = first.epoch_end, lambda epoch: end(epoch) if epoch < 1 else _stop()
    with pytest.raises(KeyboardInterrupt):
        trained(first, tmp_path / "b", scenes(), epochs=2)
    assert trained(again, tmp_path / "b", scenes(), epochs=2).resumed_from == 1
    assert all(torch.equal(a, b) for a, b in zip(whole.net.state_dict().values(), again.net.state_dict().values()))
    assert not any(name.startswith("teacher") for name in whole.state_dict())


def _stop() -> None:
    raise KeyboardInterrupt


def test_what_does_not_fit_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="no semantic head"):
        sdl(Parts(net(), None, 3))
    with pytest.raises(UsageError, match="train it by method sdl"):
        sdl(Parts(semantic(), net(), 3))
    with pytest.raises(UsageError, match="alpha -1"):
        sdl(Parts(semantic(), None, 0), alpha=-1)
    split = scenes()
    split = type(split)(split.inputs, split.labels[:, :3])
    with pytest.raises(UsageError, match="a bank of 4 labels, and images with 3"):
        trained(sdl(Parts(semantic(), None, 0)), tmp_path, split)
