import pytest
import torch

from edgesmith.compress import METHODS
from edgesmith.compress.retrain import retrain
from edgesmith.compress.task import Batch, Parts
from edgesmith.errors import UsageError
from edgesmith.models.asap_net import build
from tests.compress.training import net, trained


def student(auxiliary: bool = True):
    return build(channels=2, cells=3, size=16, classes=3, auxiliary=auxiliary)[0]


def test_the_loss_is_that_of_both_heads() -> None:
    task = METHODS.get("asap_retrain")(Parts(student(), None, 3), 4)
    torch.manual_seed(0)
    output = task.step(Batch((torch.randn(4, 3, 16, 16),), torch.arange(4) % 3), task.phases[0])
    assert torch.allclose(output.loss, output.terms["ce"] + 0.4 * output.terms["auxiliary"])


def test_drop_path_grows_to_its_end_and_the_deployed_net_has_neither(tmp_path) -> None:
    task = retrain(Parts(student(), None, 3), 4, drop_path=0.2)
    rates = [task.student.cells[0].drop_path]
    trained(task, tmp_path, epochs=2)
    rates.append(task.student.cells[0].drop_path)
    for epoch in (2, 3, 4):
        task.epoch_end(epoch)
        rates.append(task.student.cells[0].drop_path)
    assert rates == pytest.approx([0.0, 0.1, 0.15, 0.2, 0.2])
    deployed = task.deployable()
    assert deployed.auxiliary is None and deployed.cells[0].drop_path == 0.0 and task.student.auxiliary is not None


def test_a_resumed_training_has_the_drop_path_of_its_epoch() -> None:
    one, other = (retrain(Parts(student(), None, 3), 4) for _ in range(2))
    one.epoch_end(1)
    other.load_state_dict(one.state_dict())
    assert other.student.cells[0].drop_path == one.student.cells[0].drop_path > 0


def test_without_an_auxiliary_head_it_is_cross_entropy(tmp_path) -> None:
    result = trained(retrain(Parts(student(False), None, 3), 2, auxiliary=0.0, label_smoothing=0.1), tmp_path)
    assert set(result.history[0].terms) == {"ce"}


@pytest.mark.parametrize("wrong", [{"auxiliary": 0.0}, {"drop_path": 1.0}, {"drop_path_epochs": 0}])
def test_bad_input_is_refused(wrong) -> None:
    with pytest.raises(UsageError):
        retrain(Parts(student(), None, 3), **{"drop_path_epochs": 4, **wrong})
    with pytest.raises(UsageError, match="asap_net"):
        retrain(Parts(net(), None, 3), 4)
