import math

import pytest
import torch
from torch import nn

from edgesmith.compress.meter import Meter, check_weights
from edgesmith.errors import TrainingFailed


def test_means_are_over_samples_not_batches() -> None:
    meter = Meter(1)
    meter.add(torch.tensor(1.0), {"ce": torch.tensor(2.0)}, 3)
    meter.add(torch.tensor(5.0), {"ce": torch.tensor(6.0)}, 1)
    assert meter.means() == {"ce": 3.0, "loss": 2.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named_with_epoch_and_step(value) -> None:
    meter = Meter(3)
    meter.add(torch.tensor(1.0), {"ce": torch.tensor(1.0), "kl": torch.tensor(1.0)}, 2)
    meter.look()
    meter.add(torch.tensor(value), {"ce": torch.tensor(1.0), "kl": torch.tensor(value)}, 2)
    with pytest.raises(TrainingFailed, match=f"epoch 3, step 2: term 'kl' is {value}"):
        meter.look()


def test_a_weight_that_is_not_finite_is_named() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    check_weights(net, 1)
    with torch.no_grad():
        net[1].bias[0] = math.inf
    with pytest.raises(TrainingFailed, match=r"after epoch 1: weight '1.bias'"):
        check_weights(net, 1)
