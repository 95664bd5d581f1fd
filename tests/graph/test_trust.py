"""Hostile files: each would write a file (`prey`) if its code ran."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.graph.trust import load_program, load_weights
from tests.models import tiny


class Bomb:
    def __init__(self, prey: Path) -> None:
        self.prey = prey

    def __reduce__(self):
        return os.mkdir, (str(self.prey),)


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    """A program with a symbolic batch, so that shape expressions and guards are in it."""
    file = tmp_path_factory.mktemp("pt2") / "model.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    example = (torch.randn(2, 3, 8, 8), torch.randn(2, 4))
    torch.export.save(torch.export.export(tiny("two"), example, dynamic_shapes=({0: batch}, {0: batch})), file)
    return file


def rewritten(honest: Path, out: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    with zipfile.ZipFile(honest) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return out


def edited(honest: Path, out: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    def change(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        data = json.loads(content)
        edit(data)
        return json.dumps(data).encode()

    return rewritten(honest, out, change)


def test_an_honest_program_gives_the_same_outputs(honest):
    feed = (torch.randn(3, 3, 8, 8), torch.randn(3, 4))
    expected = tiny("two")(*feed)
    for found, wanted in zip(load_program(honest).module()(*feed), expected):
        torch.testing.assert_close(found, wanted)


def test_the_module_paths_survive(honest):
    stacks = [node.meta.get("nn_module_stack") for node in load_program(honest).graph.nodes]
    assert any(stack and "body.conv" in [path for path, _ in stack.values()] for stack in stacks)


def test_a_swapped_pickle_is_refused_and_runs_only_when_trusted(honest, tmp_path):
    part = "data/sample_inputs/model.pt"
    prey = tmp_path / "prey"
    payload = tmp_path / "payload"
    torch.save((Bomb(prey), {}), payload)
    bad = rewritten(honest, tmp_path / "bad.pt2", lambda n, c: payload.read_bytes() if n == part else c)
    with pytest.raises(UntrustedFile, match="sample_inputs"):
        load_program(bad)
    assert not prey.exists()
    load_program(bad, trust_pickle=True)
    assert prey.exists()


def test_a_pickled_weight_is_refused(honest, tmp_path):
    prey, payload = tmp_path / "prey", tmp_path / "payload"
    torch.save(Bomb(prey), payload)

    def change(name: str, content: bytes) -> bytes:
        if name == "data/weights/model_weights_config.json":
            return content.replace(b'"use_pickle": false', b'"use_pickle": true').replace(
                b'"use_pickle":false', b'"use_pickle":true'
            )
        return payload.read_bytes() if name == "data/weights/weight_0" else content

    with pytest.raises(UntrustedFile, match="weight_0"):
        load_program(rewritten(honest, tmp_path / "bad.pt2", change))
    assert not prey.exists()


def test_a_pickled_constant_is_refused(honest, tmp_path):
    prey = tmp_path / "prey"
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}

    def change(name: str, content: bytes) -> bytes:
        return json.dumps({"config": {"a": entry}}).encode() if name.endswith("constants_config.json") else content

    bad = rewritten(honest, tmp_path / "bad.pt2", change)
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("model/data/constants/opaque_obj_0", pickle.dumps(Bomb(prey)))
    with pytest.raises(UntrustedFile, match="opaque_obj_0"):
        load_program(bad)
    assert not prey.exists()
    load_program(bad, trust_pickle=True)
    assert prey.exists()


def shape_expression(data: dict[str, Any], prey: Path) -> None:
    expression = {"expr_str": f"__import__('os').mkdir({str(prey)!r})", "hint": {"as_int": 2}}
    data["graph_module"]["graph"]["tensor_values"]["image"]["sizes"][0] = {"as_expr": expression}


def placeholder_name(data: dict[str, Any], prey: Path) -> None:
    text = json.dumps(data["graph_module"])
    code = f"context=__import__('os').mkdir({str(prey)!r})"
    data["graph_module"] = json.loads(text.replace('"name": "context"', f'"name": {json.dumps(code)}'))
    values = data["graph_module"]["graph"]["tensor_values"]
    values[code] = values["context"]


def guard(data: dict[str, Any], prey: Path) -> None:
    data["guards_code"] = [f"__import__('os').mkdir({str(prey)!r}) is None"]


def operator(data: dict[str, Any], prey: Path) -> None:
    node = data["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.os.mkdir"
    node["inputs"] = [{"name": "path", "arg": {"as_string": str(prey)}, "kind": 1}]


def operator_by_prefix(data: dict[str, Any], prey: Path) -> None:
    operator(data, prey)
    data["graph_module"]["graph"]["nodes"][0]["target"] = "torchx.os.mkdir"


@pytest.mark.parametrize("attack", [shape_expression, placeholder_name, guard])
def test_code_in_the_program_itself_is_refused(honest, tmp_path, attack):
    prey = tmp_path / "prey"
    bad = edited(honest, tmp_path / "bad.pt2", lambda data: attack(data, prey))
    with pytest.raises(UntrustedFile):
        load_program(bad)
    assert not prey.exists()
    try:  # proves that the attack is real: torch alone runs it
        load_program(bad, trust_pickle=True).module()(torch.randn(2, 3, 8, 8), torch.randn(2, 4))
    except Exception as error:
        print(f"after the attack torch stumbled: {error}")
    assert prey.exists()


@pytest.mark.parametrize("attack", [operator, operator_by_prefix])
def test_a_python_function_as_an_operator_is_refused(honest, tmp_path, attack):
    bad = edited(honest, tmp_path / "bad.pt2", lambda data: attack(data, tmp_path / "prey"))
    with pytest.raises(UntrustedFile, match=r"os\.mkdir"):
        load_program(bad)


@pytest.mark.parametrize("target", ["torch.ops.aten.from_file.default", "torch.ops.debugprims.load_tensor.default"])
def test_operators_that_open_files_are_refused(honest, tmp_path, target):
    def edit(data: dict[str, Any]) -> None:
        data["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(UntrustedFile, match="operator"):
        load_program(edited(honest, tmp_path / "bad.pt2", edit))


def test_a_container_type_that_would_be_imported_is_refused(honest, tmp_path):
    def edit(data: dict[str, Any]) -> None:
        signature = data["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = signature["out_spec"].replace("builtins.tuple", "collections.defaultdict")

    with pytest.raises(UntrustedFile, match="defaultdict"):
        load_program(edited(honest, tmp_path / "bad.pt2", edit))


@pytest.mark.parametrize("name", ["../evil", "/evil", "model/../../evil", "model\\evil"])
def test_paths_out_of_the_archive_are_refused(honest, tmp_path, name):
    bad = rewritten(honest, tmp_path / "bad.pt2", lambda n, c: c)
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(UntrustedFile, match="points out"):
        load_program(bad)


def test_compressed_and_foreign_parts_are_refused(honest, tmp_path):
    bad = rewritten(honest, tmp_path / "bomb.pt2", lambda n, c: c)
    with zipfile.ZipFile(bad, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/extra/zeros", bytes(1 << 20))
    with pytest.raises(UntrustedFile, match="compressed"):
        load_program(bad)
    library = rewritten(honest, tmp_path / "library.pt2", lambda n, c: c)
    with zipfile.ZipFile(library, "a") as archive:
        archive.writestr("model/data/aotinductor/model/evil.so", b"\x7fELF")
    with pytest.raises(UntrustedFile, match="aotinductor"):
        load_program(library)


def test_damaged_and_missing_programs(honest, tmp_path):
    half = tmp_path / "half.pt2"
    half.write_bytes(honest.read_bytes()[:500])
    with pytest.raises(DamagedArtifact):
        load_program(half)
    with pytest.raises(MissingResource):
        load_program(tmp_path / "none.pt2")


def test_weights_from_safetensors_and_from_a_pickle_of_tensors(tmp_path):
    state = tiny("linear").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        loaded = load_weights(tmp_path / name)
        assert set(loaded) == set(state)
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_weight_file_with_code_is_refused_and_runs_only_when_trusted(tmp_path):
    prey, file = tmp_path / "prey", tmp_path / "w.pt"
    torch.save({"w": torch.zeros(1), "bomb": Bomb(prey)}, file)
    with pytest.raises(UntrustedFile, match="trust-pickle"):
        load_weights(file)
    assert not prey.exists()
    with pytest.raises(UsageError):  # loaded, and then not a state dict: mkdir returns None
        load_weights(file, trust_pickle=True)
    assert prey.exists()


def test_damaged_weights(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x08")
    (tmp_path / "w.pt").write_bytes(b"")
    for name in ("w.safetensors", "w.pt"):
        with pytest.raises(DamagedArtifact):
            load_weights(tmp_path / name)
    with pytest.raises(MissingResource):
        load_weights(tmp_path / "none.pt")
