from __future__ import annotations

import numpy as np
import pytest
import torch

from edgesmith.runtimes.session import RunOptions
from edgesmith.runtimes.torch import TorchRuntime
from edgesmith.tensors import random_feed
from tests.models import tiny
from tests.runtimes.samples import make


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make("torch", tmp_path_factory.mktemp("torch") / "model")


def test_outputs_and_taps_are_those_of_the_module(sample):
    net = tiny("two")
    with TorchRuntime.open(sample.exported, RunOptions()) as session:
        feed = random_feed(session.inputs, 3, batch=3)
        answer = session.run(feed, taps=("relu",))
    image, context = (torch.from_numpy(feed[name]) for name in ("image", "context"))
    with torch.no_grad():
        score, pooled = net(image, context)
        relu = net.body(image)
    for name, tensor in (("score", score), ("pooled", pooled), ("relu", relu)):
        np.testing.assert_allclose(answer[name], tensor.numpy(), rtol=1e-6, atol=1e-6)


def test_threads_are_set(sample):
    before = torch.get_num_threads()
    try:
        with TorchRuntime.open(sample.exported, RunOptions(threads=2)):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
