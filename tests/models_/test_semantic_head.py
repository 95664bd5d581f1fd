from pathlib import Path

import numpy as np
import pytest
import torch

from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.export import EXPORTERS
from edgesmith.graph.capture import capture
from edgesmith.models.semantic_head import OpenBank, SemanticHead, SemanticNet, build, label_scores, read_words
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import target

NAMES = np.array(["cat", "dog", "car", "bus", "tree"])
VECTORS = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float16)
SMALL = {"width": 4, "blocks": (1,), "size": 16, "embedding": 8}


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.npz"
    np.savez(path, names=NAMES, vectors=VECTORS, seen=np.array([0, 2, 4]), unseen=np.array(["bus", "dog"]))
    return path


def net_of(words: Path, **options) -> SemanticNet:
    return build(str(words), rows=3, backbone="resnet", options=SMALL, **options)[0]


def test_a_label_is_scored_by_its_best_row(words) -> None:
    net, card = build(str(words), only="seen", rows=3, options=SMALL, seed=4)
    x = torch.randn(2, 3, 16, 16)
    flat = net.head.principal(net.embed(x))
    rows = flat.view(2, 3, 6)
    bank = torch.from_numpy(VECTORS[[0, 2, 4]].astype(np.float32))
    expected = torch.stack([(rows @ vector).amax(1) for vector in bank], 1)
    assert torch.allclose(net(x), expected, atol=1e-6) and net.head.principal.bias is None
    assert card.labels == ("cat", "car", "tree") and card.outputs[0].shape == (1, 3)
    assert card.outputs[0].name == "scores"


def test_the_bank_is_changed_at_run_time(words) -> None:
    net, x = net_of(words, only="seen"), torch.randn(1, 3, 16, 16)
    before = net(x)
    names, vectors = read_words(words)
    net.head.use(torch.from_numpy(vectors))
    after = net(x)
    assert names == tuple(NAMES) and torch.allclose(after[:, [0, 2, 4]], before, atol=1e-6)
    assert net.state_dict()["head.bank"].shape == (5, 6)
    with pytest.raises(UsageError, match="vectors of 6 numbers"):
        net.head.use(torch.zeros(3, 7))


def test_labels_are_picked_by_number_or_by_name(words) -> None:
    names, vectors = read_words(words, "unseen")
    assert names == ("bus", "dog") and np.array_equal(vectors, VECTORS[[3, 1]].astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "only", "error", "found"),
    [
        ({}, "rare", UsageError, "rare"), ({"rare": np.array([9])}, "rare", UsageError, "9"),
        ({"rare": np.array(["yak"])}, "rare", UsageError, "yak"), ({"rare": np.zeros(0, int)}, "rare", UsageError, "empty"),
        ({"names": NAMES[:4]}, "", DamagedArtifact, "4 names"),
        ({"vectors": np.full((5, 6), np.nan)}, "", DamagedArtifact, "finite"),
        ({"names": np.array([{}])}, "", DamagedArtifact, "allow_pickle"),
    ],
)  # fmt: skip
def test_wrong_word_files_are_named(tmp_path, arrays, only, error, found) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **{"names": NAMES, "vectors": VECTORS, **arrays})
    with pytest.raises(error) as caught:
        read_words(path, only)
    assert found in str(caught.value)


def test_wrong_parts_are_named(tmp_path, words) -> None:
    with pytest.raises(MissingResource, match="no such file"):
        read_words(tmp_path / "none.npz")
    np.savez(tmp_path / "v.npz", vectors=VECTORS)
    with pytest.raises(DamagedArtifact, match="names"):
        read_words(tmp_path / "v.npz")
    with pytest.raises(UsageError, match="beside options"):
        build(str(words), options={"weights": "w"})
    with pytest.raises(UsageError, match="wings"):
        build(str(words), options={"wings": 2})
    with pytest.raises(UsageError, match="0 rows"):
        SemanticHead(4, torch.zeros(3, 2), 0)


def run(made, feed):
    with RUNTIMES.get(made.runtime).open(made, RunOptions(threads=1)) as session:
        return next(iter(session.run(feed).values()))


@pytest.mark.parametrize("name", ["ort-fp32", "openvino-fp32"])
def test_the_bank_inside_the_file(words, tmp_path, name) -> None:
    net, x = net_of(words), torch.randn(2, 3, 16, 16)
    program = capture(net, {"image": x[:1]}, None, ["scores"], dynamic_batch=True)
    made = EXPORTERS.get(target(name).exporter)(program, None, target(name), tmp_path)
    assert np.allclose(run(made, {"image": x.numpy()}), net(x).detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["ort-fp32", "openvino-fp32"])
def test_the_bank_as_an_input(words, tmp_path, name) -> None:
    net, x = net_of(words), torch.randn(1, 3, 16, 16)
    program = capture(OpenBank(net), {"image": x, "bank": net.head.bank}, None, ["scores"])
    made = EXPORTERS.get(target(name).exporter)(program, None, target(name), tmp_path)
    other = torch.randn(5, 6)
    found = run(made, {"image": x.numpy(), "bank": other.numpy()})
    assert np.allclose(found, label_scores(net.head.directions(net.embed(x)), other).detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("inside", [True, False])
def test_core_ml_takes_both(words, tmp_path, inside) -> None:
    import coremltools as ct

    net, x = net_of(words), torch.zeros(1, 3, 16, 16)
    example = {"image": x} if inside else {"image": x, "bank": net.head.bank}
    program = capture(net if inside else OpenBank(net), example, None, ["scores"])
    made = EXPORTERS.get("coreml")(program, None, target("coreml-fp16"), tmp_path)
    main = ct.models.MLModel(str(made.file), skip_model_load=True).get_spec().mlProgram.functions["main"]
    operations = [operation.type for operation in main.block_specializations[main.opset].operations]
    assert "reduce_max" in operations and {"matmul", "linear"} & set(operations)
    assert [spec.name for spec in made.inputs] == list(example)
