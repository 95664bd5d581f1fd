from pathlib import Path

import pytest
import torch

from edgesmith.compress.head_sharing import th_kd
from edgesmith.compress.task import Batch, Parts, Plain, Source, accuracy, check_labels, cross_entropy, labels_of, plain
from edgesmith.errors import UsageError
from edgesmith.models.resnet import build
from tests.albums import album_net, albums
from tests.compress.training import net, trained
from tests.models import tiny

X, Y = torch.randn(6, 3, 8, 8), torch.arange(6) % 5


def test_a_step_is_cross_entropy() -> None:
    task = plain(Parts(tiny("linear"), None, 5))
    output = task.step(Batch((X,), Y), task.phases[0])
    expected = torch.nn.functional.cross_entropy(task.student(X), Y)
    assert torch.equal(output.loss, expected) and output.size == 6
    assert not output.terms["ce"].requires_grad and 0 <= float(output.terms["accuracy"]) <= 1


def test_label_smoothing_reaches_the_loss() -> None:
    net = tiny("linear")
    hard, soft = (plain(Parts(net, None, 5), s).step(Batch((X,), Y), Plain(net).phases[0]).loss for s in (0.0, 0.2))
    assert hard != soft


def test_accuracy_counts_the_highest_logit() -> None:
    assert float(accuracy(torch.tensor([[0.0, 1], [1, 0], [2, 3], [0, 9]]), torch.tensor([1, 1, 1, 1]))) == 0.75


def test_half_precision_logits_get_an_fp32_loss() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert cross_entropy(torch.randn(2, 3).bfloat16(), torch.tensor([0, 1])).dtype == torch.float32


def test_deployable_is_a_copy_in_eval_mode() -> None:
    task = plain(Parts(tiny("linear"), None, 5)).train()
    net = task.deployable()
    assert not net.training and task.student.training and net is not task.student


def test_a_head_for_other_classes_is_refused() -> None:
    with pytest.raises(UsageError, match="classes=7"):
        plain(Parts(build(width=4, blocks=(1,), size=8, classes=5)[0], None, 7))


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="labelled"):
        labels_of(Batch((X,), None))


def source(count: int = 10) -> Source:
    def read(rows: torch.Tensor, mirrored: bool) -> Batch:
        return Batch((rows.float(),), rows, rows, torch.full((len(rows),), mirrored))

    return Source(count, None, "none", "", Path(), torch.device("cpu"), read)


def test_samples_can_be_read_in_order_and_spread_over_the_split() -> None:
    batches = list(source().in_order(mirrored=True, size=4))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert all(batch.mirrored.all() for batch in batches)
    assert source().spread(4).rows.tolist() == [0, 3, 6, 9]
    assert source().spread(99).rows.tolist() == list(range(10))


def test_labels_must_lie_within_known_classes() -> None:
    check_labels(torch.tensor([0, 4]), 5)
    check_labels(torch.tensor([0, 7]), 0)
    check_labels(None, 5)
    for wrong in ([0, 5], [-1, 2]):
        with pytest.raises(UsageError, match="training labels go from"):
            check_labels(torch.tensor(wrong), 5)


def test_classes_without_a_sample_are_noted_and_labels_outside_refused(tmp_path) -> None:
    task = Plain(net(classes=40), classes=40)
    trained(task, tmp_path, epochs=1)
    assert task.notes == ("37 of 40 classes have no training sample: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...",)
    task = th_kd(Parts(net(classes=4), net(6, 1, classes=4), 4))
    trained(task, tmp_path / "distil", epochs=1)
    assert task.notes == ("1 of 4 classes have no training sample: 3",)


def test_the_classes_of_a_net_without_a_head_are_counted_by_its_answer(tmp_path) -> None:
    headless = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))
    with pytest.raises(UsageError, match="train 2 classes: the training labels go from 0 to 2"):
        trained(Plain(headless), tmp_path, epochs=1)
    assert headless.training


def test_several_labels_a_sample_and_nets_of_several_answers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"labels of shape \(2, 3\)"):
        check_labels(torch.zeros(2, 3, dtype=torch.int8), 3)
    task = plain(Parts(album_net(classes=3)[0], None, 3))
    with pytest.raises(UsageError, match="method peta"):
        task.step(Batch(albums(2, 4), torch.tensor([0, 1])), task.phases[0])
