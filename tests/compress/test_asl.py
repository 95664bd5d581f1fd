import pytest
import torch

from edgesmith.compress import METHODS
from edgesmith.compress.asl import AdaptiveAsymmetry, AsymmetricLoss, AsymmetricLossSingleLabel, asl, asl_single
from edgesmith.compress.task import Batch, Parts
from edgesmith.errors import UsageError
from edgesmith.multilabel_metrics import mean_ap
from tests.compress.multilabels import CLASSES, scenes, tensors
from tests.compress.training import images, net, trained


def test_what_is_not_annotated_has_no_part() -> None:
    z = torch.randn(3, 5, requires_grad=True)
    y = torch.tensor([[1, 0, -1, -1, 1], [-1] * 5, [0] * 5])
    loss = AsymmetricLoss()(z, y)
    loss.backward()
    assert torch.equal(z.grad == 0, y == -1)  # the second image, without any label, adds nothing
    assert torch.allclose(loss, AsymmetricLoss()(z[:1, [0, 1, 4]], y[:1, [0, 1, 4]]) + AsymmetricLoss()(z[2:], y[2:]))


def test_it_learns_what_can_be_seen(tmp_path) -> None:
    task = asl(Parts(net(8, classes=CLASSES), None, CLASSES))
    result = trained(task, tmp_path, scenes(), epochs=12, lr=0.01, optimizer="adamw")
    asked = scenes(seed=1)
    with torch.no_grad():
        scores = task.deployable()(tensors(asked)).numpy()
    assert mean_ap(scores, asked.labels).macro > 0.9
    assert result.history[-1].loss < result.history[0].loss and result.history[-1].accuracy > 0.8


def test_the_exponent_rises_while_positives_are_less_sure() -> None:
    adaptive = AdaptiveAsymmetry(2.0, target=0.1, rate=1.0, samples=8)
    y = torch.tensor([[1, 0], [1, 0]])
    unsure, sure = torch.tensor([[-2.0, -2.0]] * 2), torch.tensor([[3.0, 0.0]] * 2)
    gap = float(unsure.sigmoid()[0, 0] - (1 - unsure.sigmoid()[0, 1]))
    adaptive.update(unsure, y)
    assert float(adaptive.gamma_neg) == pytest.approx(2 + (0.1 - gap) * 2 / 8)
    before = float(adaptive.gamma_neg)
    adaptive.update(sure, y)
    assert float(adaptive.gamma_neg) < before
    adaptive.update(unsure, torch.zeros(2, 2))  # no positive: nothing to compare with
    assert float(adaptive.gamma_neg) == pytest.approx(before - (0.9526 - 0.5 - 0.1) / 4, abs=1e-3)
    for _ in range(200):
        adaptive.update(10 * unsure, y)
    assert float(adaptive.gamma_neg) == 10


def test_the_adaptive_exponent_is_shown_used_and_resumed(tmp_path) -> None:
    def task():
        return asl(Parts(net(classes=CLASSES), None, CLASSES), gamma_neg=1.0, adaptive_gap=0.1, adaptive_rate=2.0)

    whole, first = task(), task()
    history = trained(whole, tmp_path / "a", scenes(), epochs=3).history
    assert history[-1].terms["gamma_neg"] > 1.0 and whole.loss.adaptive.samples == 40
    with pytest.raises(KeyboardInterrupt):
        _stopped(first, tmp_path / "b")
    again = task()
    assert trained(again, tmp_path / "b", scenes(), epochs=3).resumed_from == 1
    assert torch.equal(again.loss.adaptive.gamma_neg, whole.loss.adaptive.gamma_neg)


def _stopped(task, folder) -> None:
    end = task.epoch_end

    def stop(epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt
        end(epoch)

    task.epoch_end = stop
    trained(task, folder, scenes(), epochs=3)


def test_the_exponent_stays_when_judging() -> None:
    loss = AsymmetricLoss(adaptive=AdaptiveAsymmetry(1.0)).eval()
    loss(torch.randn(4, 3), torch.eye(4, 3))
    assert float(loss.adaptive.gamma_neg) == 1


@pytest.mark.parametrize("wrong", [{"start": -1.0}, {"target": 2.0}, {"rate": 0.0}])
def test_wrong_adaptive_numbers(wrong) -> None:
    with pytest.raises(UsageError, match="adaptive asymmetry"):
        AdaptiveAsymmetry(**wrong)


def test_single_label_wants_one_class_an_image() -> None:
    assert float(AsymmetricLossSingleLabel()(torch.full((2, 3), 60.0).half(), torch.tensor([0, 1]))) > 0
    with pytest.raises(UsageError, match=r"\(N, C\) and \(N,\)"):
        AsymmetricLossSingleLabel()(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(UsageError, match="smoothing 1"):
        AsymmetricLossSingleLabel(smoothing=1)


def test_a_student_without_logits_is_refused() -> None:
    with pytest.raises(UsageError, match="no head"):
        asl(Parts(net(classes=0), None, 0))
    with pytest.raises(UsageError, match="its head has 3"):
        asl(Parts(net(classes=3), None, CLASSES))


def test_the_step_shows_hits() -> None:
    task = asl(Parts(net(classes=CLASSES), None, CLASSES))
    output = task.step(Batch((torch.randn(2, 3, 16, 16),), torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])), None)
    assert float(output.terms["accuracy"]) == 1 and output.size == 2


def test_one_class_an_image_is_learnt_by_its_own_form(tmp_path) -> None:
    task = asl_single(Parts(net(8), None, 3), gamma_neg=2.0)
    before = float(AsymmetricLossSingleLabel(0.0, 2.0, 0.1)(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)))
    found = trained(task, tmp_path, images(), epochs=6, lr=0.01, optimizer="adamw").history
    assert found[-1].accuracy > 0.9 and found[-1].loss < before
    assert found[-1].terms["asl"] == pytest.approx(found[-1].loss) and METHODS.get("asl_single") is asl_single
    with pytest.raises(UsageError, match="several"):
        trained(asl_single(Parts(net(classes=CLASSES), None, CLASSES)), tmp_path / "b", scenes())
    with pytest.raises(UsageError, match="no head"):
        asl_single(Parts(net(classes=0), None, 0))
    with pytest.raises(UsageError, match="smoothing 2"):
        asl_single(Parts(net(), None, 3), label_smoothing=2.0)


@pytest.mark.parametrize("size", [8, 5])
def test_it_learns_under_another_nets_head(tmp_path, size) -> None:
    head = net(8, 1, CLASSES).head
    task = asl(Parts(net(size, classes=CLASSES), None, CLASSES, head))
    trained(task, tmp_path, scenes(), epochs=8, lr=0.01, optimizer="adamw")
    made, asked = task.deployable(), scenes(seed=1)
    assert torch.equal(made.head.weight, head.weight)
    with torch.no_grad():
        assert mean_ap(made(tensors(asked)).numpy(), asked.labels).macro > 0.8
