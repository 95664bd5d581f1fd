"""What the JSON of a .pt2 program may say when nobody vouches for the file.

`torch.export.load` executes more than pickles. Shape expressions go to sympify, which is eval; guards and placeholder
names are pasted into Python source that is then executed (tests run all three); an operator named "torch.os.mkdir" is
looked up in the torch module, though torch's verifier throws it out afterwards. So every string is held to a narrow
grammar before torch sees it. Checked against torch 2.13 (schema 8).
"""

from __future__ import annotations

import json
import math
import operator
import re
from typing import Any

import torch

from edgesmith.errors import UntrustedFile

_NAMESPACES = {"aten", "prims", "quantized_decomposed", "torchao", "torchvision"}
_FORBIDDEN = {"from_file"}  # maps, and creates, any file by its name
_REGIONS = {"wrap_with_set_grad_enabled", "wrap_with_autocast"}  # what `with torch.no_grad():` leaves behind
_PYTHON = {
    operator: {
        "add",
        "sub",
        "mul",
        "floordiv",
        "mod",
        "pow",
        "truediv",
        "neg",
        "pos",
        "eq",
        "ne",
        "le",
        "ge",
        "lt",
        "gt",
    }
    | {"and_", "or_", "getitem"},
    math: {"trunc", "ceil", "floor"},
    torch: {"sym_not", "sym_int", "sym_float", "sym_ite", "sym_max", "sym_min", "sym_sqrt"},
}
_MODULE_OF_PREFIX = {"_operator": operator, "math": math, "torch": torch}
_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        "FloorDiv ModularIndexing Where PythonMod Mod CleanDiv CeilToInt FloorToInt CeilDiv PowByNatural FloatPow "
        "FloatTrueDiv IntTrueDiv TruncToFloat TruncToInt RoundToInt ToFloat Identity Max Min Eq Ne Ge Gt Le Lt And Or "
        "Not Add Mul Pow Integer Rational Equality Unequality GreaterThan LessThan StrictGreaterThan StrictLessThan "
        "and or not True False oo int_oo",
    )
)
_SYMBOL = re.compile(r"[a-z]{1,3}\d+")
_WRITTEN_SYMBOL = re.compile(r"Symbol\('[a-z]{1,3}\d+'(?:, \w+=(?:True|False))*\)")  # as sympy.srepr writes it
_EXPRESSION = re.compile(r"(?:[A-Za-z_]\w*|\d+(?:\.\d+)?|[ ()+\-*/%<>=!&|~,])*")
_SIZE_OF = re.compile(r"L\['[A-Za-z_]\w*'\]\.size\(\)\[\d+\]")
_NAME = re.compile(r"[\w.@+\-]*")
_TEXT = re.compile(r"[\w.,> \-]*")  # a constant: a rounding mode, an einsum equation
_IDENTIFIER = re.compile(r"\w*")
_MODULE_STACK = re.compile(r"[\w.,;@/: \-\[\]()]*")
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
_KEPT_METADATA = ("nn_module_stack", "torch_fn")


def checked_program(text: bytes, file: str) -> bytes:
    """The program's JSON with everything left out that torch does not need to run it.

    Raises: UntrustedFile naming the first string that is not in the grammar.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise _refusal(file, f"its model.json is not JSON ({error})") from error
    _walk(data, "", file)
    return json.dumps(data).encode()


def checked_config(text: bytes, file: str) -> dict[str, Any]:
    """The table "parameter name -> payload" of a .pt2, with plain names only. Raises: UntrustedFile."""
    try:
        table = json.loads(text)
    except ValueError as error:
        raise _refusal(file, f"a table of weights is not JSON ({error})") from error
    _walk(table, "", file)
    if not isinstance(table, dict) or not isinstance(table.get("config"), dict):
        raise _refusal(file, "a table of weights has no 'config'")
    return table


def _walk(value: Any, key: str, file: str) -> None:
    if isinstance(value, dict):
        _trim(value)
        for name, item in value.items():
            _expect(_NAME, name, "name", file)
            _walk(item, name, file)
    elif isinstance(value, list):
        for item in value:
            _walk(item, key, file)
    elif isinstance(value, str):
        _check_string(value, key, file)


def _trim(record: dict[str, Any]) -> None:
    metadata = record.get("metadata")
    if isinstance(metadata, dict):
        kept = {key: text for key in _KEPT_METADATA if _is_plain(text := metadata.get(key))}
        record["metadata"] = kept


def _is_plain(text: Any) -> bool:
    return isinstance(text, str) and _MODULE_STACK.fullmatch(text) is not None


def _check_string(text: str, key: str, file: str) -> None:
    # torch looks an operator up by how its name *starts*: "torchx.os.system" finds torch.os.system
    if key in ("target", "as_operator") and text.startswith(tuple(_MODULE_OF_PREFIX)):
        _check_operator(text, file)
    elif key == "expr_str":
        _check_expression(_WRITTEN_SYMBOL.sub("s0", text), file)
    elif key == "guards_code":
        _check_expression(_SIZE_OF.sub("s0", text), file)
    elif key in ("in_spec", "out_spec"):
        _check_containers(text, file)
    elif key not in _KEPT_METADATA:
        patterns = {"name": _IDENTIFIER, "as_name": _IDENTIFIER, "as_string": _TEXT}
        _expect(patterns.get(key, _NAME), text, key or "name", file)


def _expect(pattern: re.Pattern[str], text: str, what: str, file: str) -> None:
    if not pattern.fullmatch(text):
        raise _refusal(file, f"{what} {text[:80]!r} could be code")


def _check_operator(text: str, file: str) -> None:
    parts = text.split(".")
    if parts[:2] == ["torch", "ops"]:
        known = _is_operator(parts[2:])
    else:
        module = _MODULE_OF_PREFIX.get(parts[0])
        known = module is not None and len(parts) == 2 and parts[1] in _PYTHON[module]
    if not known:
        raise _refusal(file, f"operator {text[:80]!r} is not one that is known to be harmless")


def _is_operator(parts: list[str]) -> bool:
    if parts[:1] == ["higher_order"]:
        return len(parts) == 2 and parts[1] in _REGIONS
    if len(parts) != 3 or parts[0] not in _NAMESPACES or parts[1] in _FORBIDDEN or "__" in parts[2]:
        return False
    packet = getattr(getattr(torch.ops, parts[0]), parts[1], None)
    return isinstance(getattr(packet, parts[2], None), torch._ops.OpOverload)


def _check_expression(text: str, file: str) -> None:
    _expect(_EXPRESSION, text, "shape expression", file)
    for word in re.findall(r"[A-Za-z_]\w*", text):
        if word not in _FUNCTIONS and not _SYMBOL.fullmatch(word):
            raise _refusal(file, f"shape expression {text[:80]!r} could be code")


def _check_containers(text: str, file: str) -> None:
    try:
        pending = [json.loads(text)[1]]
        while pending:
            spec = pending.pop()
            names = json.loads(spec["context"] or "null") or []
            if spec["type"] not in _CONTAINERS or not all(isinstance(name, str) for name in names):
                raise _refusal(file, f"container {str(spec['type'])[:80]!r} is not a tuple, list or dict")
            for name in names:
                _expect(_NAME, name, "name", file)
            pending += spec["children_spec"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _refusal(file, f"a container description is not in the known form ({error})") from error


def _refusal(file: str, found: str) -> UntrustedFile:
    return UntrustedFile(
        f"load {file}", found, "save it again with torch.export.save, or say --trust-pickle if you trust who made it"
    )
