"""Packages that are damaged, old, foreign or hostile: an error of ours with its reason, and nothing else."""

from __future__ import annotations

import json
import random
import resource
from pathlib import Path

import numpy as np
import pytest
from coremltools import proto

from edgesmith.errors import DamagedArtifact, EdgesmithError, EngineFailed, UsageError
from edgesmith.runtimes import mil
from edgesmith.runtimes.mil.registry import registered
from tests.runtimes.mil.packages import KINDS, package

SPEC = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
NAMES = tuple(registered())


@pytest.fixture
def made(tmp_path):
    return package("float", tmp_path)


def edited(path, change):
    """The package with its specification changed by a function."""
    spec = proto.Model_pb2.Model.FromString((path / SPEC).read_bytes())
    change(spec, next(iter(spec.mlProgram.functions["main"].block_specializations.values())))
    (path / SPEC).write_bytes(spec.SerializeToString())
    return path


def first(block, kind):
    return next(one for one in block.operations if one.type == kind)


@pytest.mark.parametrize("file", ["Manifest.json", SPEC, WEIGHTS])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_truncated_file(made, file, keep):
    raw = (made / file).read_bytes()
    (made / file).write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises((DamagedArtifact, UsageError)):  # nothing at all is a specification of no model
        mil.load(made)


@pytest.mark.parametrize("file", ["Manifest.json", SPEC, WEIGHTS])
def test_an_absent_file(made, file):
    (made / file).unlink()
    with pytest.raises(DamagedArtifact):
        mil.load(made)


@pytest.mark.parametrize("place", ["../../model.mlmodel", "/etc/hostname", "com.apple.CoreML/../../../x", "", 7, None])
def test_a_manifest_that_leads_out_of_the_package(made, place):
    manifest = json.loads((made / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = place
    (made / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedArtifact, match="trust"):
        mil.load(made)


def test_a_link_that_leads_out_of_the_package(made, tmp_path):
    (made / SPEC).rename(tmp_path / "elsewhere")
    (made / SPEC).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedArtifact, match="leads out"):
        mil.load(made)


@pytest.mark.parametrize("name", ["@model_path/../../../../weight.bin", "/etc/passwd", "@model_path/none.bin", ""])
def test_weights_that_lie_elsewhere(made, name):
    def change(spec, block):
        for one in block.operations:
            if one.type == "const" and one.attributes["val"].WhichOneof("value") == "blobFileValue":
                one.attributes["val"].blobFileValue.fileName = name

    with pytest.raises(DamagedArtifact):
        mil.load(edited(made, change))


@pytest.mark.parametrize("by", [1, 64, 1 << 40])
def test_a_wrong_offset(made, by):
    def change(spec, block):
        for one in block.operations:
            if one.type == "const" and one.attributes["val"].WhichOneof("value") == "blobFileValue":
                one.attributes["val"].blobFileValue.offset += by

    with pytest.raises(DamagedArtifact, match=r"weight\.bin"):
        mil.load(edited(made, change))


def test_an_operation_that_is_not_known_is_named_with_its_opset(made):
    def change(spec, block):
        first(block, "conv").type = "warp_drive"

    with pytest.raises(EngineFailed, match=r"'warp_drive' of opset ios17"):
        mil.load(edited(made, change))


def test_an_operation_that_is_newer_than_the_opset(made):
    def change(spec, block):
        first(block, "conv").type = "scaled_dot_product_attention"

    with pytest.raises(EngineFailed, match="exists from ios18 on"):
        mil.load(edited(made, change))


def test_an_opset_that_is_not_known(made):
    def change(spec, block):
        spec.mlProgram.functions["main"].opset = "CoreML99"

    with pytest.raises(EngineFailed, match=r"'CoreML99'.*CoreML8 \(ios18\)"):
        mil.load(edited(made, change))


def test_a_network_of_before_ios15_is_refused(tmp_path):
    spec = proto.Model_pb2.Model(specificationVersion=4)
    spec.neuralNetwork.layers.add(name="one")
    (tmp_path / "old.mlmodel").write_bytes(spec.SerializeToString())
    with pytest.raises(UsageError, match=r"neuralNetwork, not an ML Program.*convert_to='mlprogram'"):
        mil.load(tmp_path / "old.mlmodel")


def test_a_huge_declared_shape_is_refused_before_it_is_made(made):
    def change(spec, block):
        value = first(block, "conv").outputs[0].type.tensorType
        value.dimensions[2].constant.size = 1 << 40

    with pytest.raises(EngineFailed, match="make a tensor"):
        mil.load(edited(made, change))


def test_blocks_that_are_nested_too_deep(made):
    def change(spec, block):
        inner = proto.MIL_pb2.Operation(type="cond")
        for _ in range(30):
            outer = proto.MIL_pb2.Operation(type="cond")
            outer.blocks.add().operations.append(inner)
            inner = outer
        block.operations.insert(0, inner)

    with pytest.raises(EdgesmithError):
        mil.load(edited(made, change))


def test_what_the_program_computes_must_have_the_declared_shape(made):
    def change(spec, block):
        first(block, "conv").outputs[0].type.tensorType.dimensions[1].constant.size += 1

    with pytest.raises(EngineFailed, match=r"run the operation conv .* declares the shape"):
        mil.load(edited(made, change))(image=np.zeros((1, 3, 8, 8), np.float32))


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, removed, doubled or cut off."""
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(changed))
        kind = chance.randrange(5)
        if kind <= 1:
            changed[at] = chance.randrange(256)
        elif kind == 2:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 3:
            del changed[at : at + chance.randrange(1, 9)]
        else:
            changed[at:at] = changed[at : at + chance.randrange(1, 30)]
        if not changed:
            break
    return bytes(changed)


def rewritten(raw: bytes, chance: random.Random) -> bytes:
    """A well-formed specification whose program means something else: bytes alone rarely get that far."""
    spec = proto.Model_pb2.Model.FromString(raw)
    block = next(iter(spec.mlProgram.functions["main"].block_specializations.values()))
    for _ in range(chance.choice((1, 1, 3))):
        one, other = chance.choice(block.operations), chance.choice(block.operations)
        kind = chance.randrange(7)
        if kind == 0:
            one.type = chance.choice([other.type, *NAMES])
        elif kind == 1 and one.inputs:
            del one.inputs[chance.choice(sorted(one.inputs))]
        elif kind == 2 and one.inputs and other.outputs:
            one.inputs[chance.choice(sorted(one.inputs))].arguments[0].name = other.outputs[0].name
        elif kind == 3 and one.outputs:
            own = one.outputs[0].type.tensorType
            own.dataType = chance.choice((0, 1, 2, 10, 11, 21, 23, 25, 31, 37, 99))
        elif kind == 4 and one.outputs and one.outputs[0].type.tensorType.dimensions:
            chance.choice(one.outputs[0].type.tensorType.dimensions).constant.size = chance.choice((0, 1, 7, 1 << 50))
        elif kind == 5 and "val" in one.attributes:
            ints = one.attributes["val"].immediateValue.tensor.ints.values
            if ints:
                ints[chance.randrange(len(ints))] = chance.choice((-1, 0, 3, 1000, -(1 << 31), (1 << 31) - 1))
        else:
            del block.operations[chance.randrange(len(block.operations))]
            if not block.operations:
                break
    return spec.SerializeToString()


@pytest.mark.parametrize("change", [mutated, rewritten])
@pytest.mark.parametrize("kind", ["float", "int8", "labels", "range", "state", "rgb"])
def test_mutated_packages_give_an_answer_or_an_error_of_ours(kind, change, tmp_path):
    """Bounded: 60 rounds a kind; a mutation that changes a number only is answered with another number."""
    assert kind in KINDS
    made, chance, failed = package(kind, tmp_path), random.Random(kind), 0
    sound = {
        file: (made / file).read_bytes() for file in (Path("Manifest.json"), SPEC, WEIGHTS) if (made / file).exists()
    }
    feed = {"x": np.ones((1, 4), np.float32)} if kind == "state" else {"image": np.ones((1, 3, 8, 8), np.float32)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(60):
        for file, raw in sound.items():
            (made / file).write_bytes(raw)
        file = chance.choice([SPEC, SPEC, SPEC, *sound]) if change is mutated else SPEC
        (made / file).write_bytes(change(sound[file], chance))
        try:
            mil.load(made)(**feed)
        except EdgesmithError:
            failed += 1
    assert failed > 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 << 20  # KiB: 2 GiB, one largest tensor
