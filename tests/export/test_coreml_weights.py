"""Compressed weights, read back from the package and compared with what numpy makes of the float weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.artifact import Exported
from edgesmith.export.coreml import ct, export
from edgesmith.export.palette import palette
from edgesmith.graph.capture import Program, capture
from edgesmith.targets import COMPRESSIONS, target
from tests.export.stored import core_ml_operations
from tests.models import tiny

NAMES = ("w8", "w4", "pal8", "pal4", "pal2", "sparse", "sparse8")


class Net(nn.Module):
    """Weights: blocks of 32 inputs divide `wide` and `head`, not `stem`; tables of 16 channels not `odd`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(12, 48, 3)
        self.small = nn.Conv2d(48, 48, 3, groups=48)
        self.odd = nn.Conv2d(48, 56, 1)
        self.wide = nn.Conv2d(56, 64, 1)
        self.head = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.odd(self.small(torch.relu(self.stem(x)))))
        return self.head(self.wide(x).mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Net().eval(), {"x": torch.zeros(1, 12, 8, 8)})


@pytest.fixture(scope="module")
def made(program, tmp_path_factory) -> dict[str, Exported]:
    out = {name: tmp_path_factory.mktemp(name) for name in ("fp16", *NAMES)}
    return {name: export(program, None, target(f"coreml-{name}"), folder) for name, folder in out.items()}


def weights(program: Program) -> dict[str, np.ndarray]:
    """Layer path -> weight in fp16, as the package computes with it."""
    found = {}
    for path, node in program.nodes.items():
        if len(node.args) > 1 and "weight" in str(getattr(node.args[1], "target", "")):
            found[path] = program.module.get_parameter(str(node.args[1].target)).detach().half().numpy()
    return found


def read_back(exported: Exported) -> dict[str, tuple[str, np.ndarray]]:
    """Layer path -> the kind of constant its weight is, and the weight as Core ML sees it."""
    paths = {tensor: path for path, tensor in exported.layer_names.items()}
    found = {}
    for operation in core_ml_operations(exported.file):
        if operation.op_type in ("conv", "linear"):
            source, name = operation.weight.op, operation.outputs[0].name
            value = operation.weight.val if source.op_type == "const" else source.materialized_val_inference()
            found[paths.get(name, "head")] = (source.op_type, value)
    return found


def linear(weight: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric integers times scales, in float64, and the scales. Scale a channel, or a block of its inputs."""
    cut = weight.astype(np.float64).reshape(len(weight), -1, block or weight.shape[1], *weight.shape[2:])
    scale = np.abs(cut).max(tuple(range(2, cut.ndim)), keepdims=True) / (2 ** (bits - 1) - 1)
    scales = np.broadcast_to(scale, cut.shape).reshape(weight.shape)
    return np.rint(weight / scales) * scales, scales


def grouped(weight: np.ndarray, bits: int, channels: int) -> np.ndarray:
    """The best palette of each group of output channels."""
    groups = np.split(weight, len(weight) // (channels or len(weight)))
    tables = [palette(group, 2**bits) for group in groups]
    return np.concatenate([table[index].reshape(g.shape) for (table, index), g in zip(tables, groups, strict=True)])


def test_every_scheme_of_the_table_is_a_target():
    assert set(NAMES) == set(COMPRESSIONS)
    for name in NAMES:
        row = target(f"coreml-{name}")
        assert (row.precision, row.family, row.compression) == ("fp16", None, COMPRESSIONS[name])


@pytest.mark.parametrize("name, least", [("w8", 0.75), ("w4", 0.55), ("pal8", 0.8), ("pal4", 0.55), ("pal2", 0.4),
                                         ("sparse", 0.8), ("sparse8", 0.65)])  # fmt: skip
def test_the_file_shrinks(made, name, least):
    assert made[name].size_bytes < least * made["fp16"].size_bytes
    assert "compressed" in made[name].notes[0]
    assert made[name].layer_names == made["fp16"].layer_names


@pytest.mark.parametrize("name, blocks", [("w8", {}), ("w4", {"wide": 0, "head": 32})])
def test_linear_weights_are_those_of_numpy(program, made, name, blocks):
    found = read_back(made[name])
    for path, weight in weights(program).items():
        if weight.size < 2048:
            continue
        wanted, scales = linear(weight, COMPRESSIONS[name].bits, blocks.get(path, 0))
        # coremltools divides in fp16: a product may be off by its last bits, a value near a border by one step.
        off = np.abs(found[path][1].astype(np.float64) - wanted)
        assert np.all(off <= scales + 2**-9 * np.abs(wanted)), path
        assert (off <= 2**-9 * np.abs(wanted)).mean() > 0.95, path
        half_a_step = 0.5 * scales + 2**-9 * np.abs(weight)
        assert np.all(np.abs(found[path][1] - weight.astype(np.float64)) <= half_a_step), path


@pytest.mark.parametrize("name", ["pal8", "pal4", "pal2"])
def test_palettes_are_the_best_there_are(program, made, name):
    how, found = COMPRESSIONS[name], read_back(made[name])
    for path, weight in weights(program).items():
        if weight.size < 2048:
            continue
        wanted = grouped(weight, how.bits, 0 if path == "odd" else how.channels)
        np.testing.assert_allclose(found[path][1], wanted, rtol=2**-10, atol=2**-24, err_msg=path)


def test_the_smallest_half_is_zero_and_the_rest_is_as_it_was(program, made):
    found = read_back(made["sparse"])
    for path, weight in weights(program).items():
        if weight.size < 2048:
            continue
        stored = found[path][1]
        kept = stored != 0
        assert abs(kept.mean() - 0.5) < 0.01, path
        np.testing.assert_array_equal(stored[kept], weight[kept])
        assert np.abs(weight[~kept]).max() <= np.abs(weight[kept]).min(), path


def test_what_is_left_of_sparse_weights_is_integers_times_a_scale(program, made):
    sparse, joined = read_back(made["sparse"]), read_back(made["sparse8"])
    for path, weight in weights(program).items():
        if weight.size < 2048:
            continue
        kept, stored = sparse[path][1], joined[path][1].astype(np.float64)
        _, scales = linear(kept, 8, 0)
        assert np.all(np.abs(stored - kept) <= 0.5 * scales + 2**-9 * np.abs(kept)), path
        assert np.all(stored[kept == 0] == 0) and not np.array_equal(stored, kept), path


@pytest.mark.parametrize("name", NAMES)
def test_small_weights_stay_as_they_are(program, made, name):
    kind, stored = read_back(made[name])["small"]
    assert kind == "const"
    np.testing.assert_array_equal(stored, weights(program)["small"])


def test_the_oldest_system_that_reads_it_is_asked_for(made):
    versions = {
        name: ct.models.MLModel(str(made[name].file), skip_model_load=True).get_spec().specificationVersion
        for name in NAMES
    }
    assert versions == {"w8": 8, "w4": 9, "pal8": 8, "pal4": 9, "pal2": 9, "sparse": 8, "sparse8": 9}


def test_without_a_large_weight_nothing_is_compressed_and_the_note_says_so(tmp_path):
    small = capture(tiny("conv-bn-relu"), {"x": torch.zeros(1, 3, 8, 8)})
    exported = export(small, None, target("coreml-w8"), tmp_path)
    assert "none is compressed" in exported.notes[0]


def test_the_same_program_gives_the_same_bytes(program, made, tmp_path):
    again = export(program, None, target("coreml-pal4"), tmp_path)
    files = [{p.name: p.read_bytes() for p in e.file.rglob("*") if p.is_file()} for e in (made["pal4"], again)]
    assert files[0] == files[1]
