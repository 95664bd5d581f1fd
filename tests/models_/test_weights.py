import pickle

import pytest
import torch
from torch import nn

from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.models.weights import load_strict, read_weights, save_weights
from tests.models import tiny


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_weights_survive_the_way_to_disk_and_back(tmp_path) -> None:
    net, other = tiny("depthwise"), tiny("depthwise")
    nn.init.zeros_(other.expand.weight)
    save_weights(tmp_path / "w.safetensors", net)
    load_strict(other, read_weights(tmp_path / "w.safetensors"), "w")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "weights"])
def test_a_pickle_is_refused_and_not_run(tmp_path, name) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(UntrustedFile, match="trust"):
        read_weights(tmp_path / name)
    assert not (tmp_path / "boom").exists()


def test_a_pickle_named_safetensors_is_damaged_and_not_run(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(DamagedArtifact):
        read_weights(path, trust_pickle=True)
    assert not (tmp_path / "boom").exists()


def test_a_trusted_pickle_loads(tmp_path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth", trust_pickle=True)["a"], torch.ones(2))


def test_a_trusted_file_without_a_state_dict_is_refused(tmp_path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(UsageError, match="state dict"):
        read_weights(tmp_path / "w.pth", trust_pickle=True)


def test_a_cut_file_is_damaged(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, tiny("linear"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedArtifact):
        read_weights(path)


def test_an_absent_file_is_missing(tmp_path) -> None:
    with pytest.raises(MissingResource):
        read_weights(tmp_path / "w.safetensors")


def test_every_kind_of_misfit_is_listed() -> None:
    net = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(UsageError) as caught:
        load_strict(net, {"0.weight": torch.zeros(3, 5), "extra": torch.zeros(1)}, "x.safetensors")
    for part in ("1 missing: 0.bias", "1 unknown: extra", "0.weight (3, 5) for (3, 2)"):
        assert part in str(caught.value)
