"""Where a model, its weights, its preprocessing and its calibration inputs come from, as a user names them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import nn

from edgesmith.artifact import sha256
from edgesmith.data.split import Data
from edgesmith.errors import EdgesmithError, MissingResource, UsageError
from edgesmith.graph.trust import load_program, load_weights
from edgesmith.models import MODELS
from edgesmith.models.card import Card
from edgesmith.pipeline import options
from edgesmith.plugins import missing_package
from edgesmith.tensors import Arrays, Preprocessing, TensorSpec, random_feed


@dataclass(frozen=True)
class Trust:
    """What the user allows: code named by a recipe to be imported, pickles to be loaded, a device to be reached."""

    imports: bool = False
    pickle: bool = False
    device: bool = False


@dataclass(frozen=True)
class Source:
    """A model ready to be captured. inputs may be empty until a size is known; outputs are names, if it has any."""

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def open_model(text: str, weights: Path | None = None, trust: Trust = Trust()) -> Source:
    """A model as typed on the command line: timm:NAME | package.module:factory | file.pt2 | a built-in name."""
    if text.endswith(".pt2"):
        if weights is not None:
            raise UsageError(f"load {weights}", f"{text} carries its own weights", "leave --weights out")
        return _from_program(Path(text), trust)
    name, colon, rest = text.partition(":")
    if colon and name == "timm":
        source = _from_spec({"use": "timm", "model": rest}, trust)
    elif colon:
        source = _from_factory(text, {})
    elif text in MODELS.names():
        source = _from_spec({"use": text}, trust)
    else:
        known = ", ".join(MODELS.names())
        todo = f"give timm:NAME, package.module:factory, a file.pt2, or one of: {known}"
        raise UsageError(f"model {text!r}", "no such model", todo)
    if weights is not None:
        _load_into(source.module, weights, trust)
    return replace(source, module=source.module.eval())


def model_from_spec(spec: Mapping[str, Any], trust: Trust) -> Source:
    """A model as a recipe names it: {use: NAME, option: value}; `use: package.module:factory` needs trust."""
    use = str(spec["use"])
    if ":" not in use:
        return _from_spec(spec, trust)
    if not trust.imports:
        raise UsageError(
            f"model {use!r} of the recipe", "it names code to import", "add --allow-import if you trust it"
        )
    return _from_factory(use, {key: value for key, value in spec.items() if key != "use"})


def _from_spec(spec: Mapping[str, Any], trust: Trust) -> Source:
    ours = {"trust_pickle": True} if trust.pickle and options.takes("model", spec, "trust_pickle") else {}
    module, card = options.call("model", spec, **ours)
    return _of_card(module, card)


def _of_card(module: nn.Module, card: Card) -> Source:
    outputs = tuple(spec.name for spec in card.outputs)
    return Source(card.name, module.eval(), card.inputs, card.preprocessing, card.labels, card.notes, outputs)


def _from_factory(text: str, arguments: Mapping[str, Any]) -> Source:
    where, _, attribute = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # the user's own module usually lies in the current folder
    try:
        factory = getattr(importlib.import_module(where), attribute)
        made = factory(**arguments)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"model {text!r}") from error
    except EdgesmithError:
        raise
    except Exception as error:  # the user's own code may raise anything
        todo = "write package.module:factory, and see that it runs by itself (--debug shows the trace)"
        raise UsageError(f"model {text!r}", f"{type(error).__name__}: {error}", todo) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Card):
        return _of_card(*made)
    if not isinstance(made, nn.Module):
        raise UsageError(f"model {text!r}", f"it returned {type(made).__name__}", "return a torch.nn.Module")
    return Source(attribute, made.eval(), ())


def _from_program(file: Path, trust: Trust) -> Source:
    if not file.is_file():
        raise MissingResource(f"model {file}", "no such file", "check the path")
    program = load_program(file, trust_pickle=trust.pickle)
    specs = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            value = node.meta["val"]
            shape = tuple(int(s) if isinstance(s, int) or str(s).isdigit() else "batch" for s in value.shape)
            specs.append(TensorSpec(node.name, shape, str(value.dtype).removeprefix("torch.")))
    return Source(file.stem, program.module(check_guards=False), tuple(specs))


def _load_into(module: nn.Module, weights: Path, trust: Trust) -> None:
    state = load_weights(weights, trust_pickle=trust.pickle)
    missing, unexpected = module.load_state_dict(state, strict=False)
    if missing or unexpected:
        found = f"missing {missing[:3]}, unexpected {unexpected[:3]} ({len(missing)} and {len(unexpected)} in all)"
        raise UsageError(f"load {weights} into the model", found, "give the weights of this very model")


def with_inputs(source: Source, given: Sequence[str], preprocessing: Preprocessing | None) -> Source:
    """Complete a model's inputs from NAME:1,3,224,224 strings, or from the size of its images."""
    if given:
        specs = tuple(_parse_input(text) for text in given)
        return replace(source, inputs=specs, preprocessing=preprocessing or source.preprocessing)
    if preprocessing is not None and (not source.inputs or source.preprocessing != preprocessing):
        shape = (1, preprocessing.channels, *preprocessing.size)
        name = source.inputs[0].name if source.inputs else "image"
        return replace(source, inputs=(TensorSpec(name, shape),), preprocessing=preprocessing)
    if not source.inputs:
        todo = "give --input NAME:1,3,224,224 (once an input), or --size"
        raise UsageError(f"model {source.name!r}", "its input shapes are not known", todo)
    return source


def _parse_input(text: str) -> TensorSpec:
    name, _, rest = text.partition(":")
    shape, _, dtype = rest.partition(":")
    sizes = shape.split(",")
    if not name or not all(size.isdigit() and int(size) for size in sizes):
        raise UsageError(
            f"--input {text}", "not a name and positive sizes", "write NAME:1,3,224,224 or NAME:1,16:int64"
        )
    return TensorSpec(name, tuple(int(size) for size in sizes), dtype or "float32")


def read_preprocessing(
    file: Path | None, size: str | None, mean: str | None, std: str | None, color: str | None
) -> Preprocessing | None:
    """Preprocessing from a YAML file or from options ("224" or "112,96"; "0.485,0.456,0.406"); None if none given."""
    given = {"size": size, "mean": mean, "std": std, "color": color}
    if file is not None:
        raw = _read_yaml(file)
    elif any(value is not None for value in given.values()):
        if size is None or mean is None or std is None:
            missing = ", ".join(f"--{key}" for key in ("size", "mean", "std") if given[key] is None)
            raise UsageError("preprocessing", f"{missing} not given", "give --size, --mean and --std together")
        raw = {key: value for key, value in given.items() if value is not None}
    else:
        return None
    try:
        sides = _numbers(raw["size"], int)
        color_name = raw.get("color", "rgb")
        if color_name not in ("rgb", "bgr", "gray"):
            raise ValueError(f"color {color_name!r} is none of rgb, bgr, gray")
        made = Preprocessing(
            (sides[0], sides[-1]), _numbers(raw["mean"], float), _numbers(raw["std"], float), color_name
        )
        if len(sides) > 2 or min(sides) < 1:
            raise ValueError(f"size {sides} is not one or two positive numbers")
        if any(len(values) not in (1, made.channels) for values in (made.mean, made.std)) or min(made.std) <= 0:
            raise ValueError(f"mean {made.mean} and std {made.std} are not one number a channel, std above 0")
        return made
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "preprocessing", f"{type(error).__name__}: {error}", "needs size, mean, std [, color]"
        ) from error


def _read_yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text())
    except OSError as error:
        raise MissingResource(f"preprocessing {file}", f"{error.strerror}", "name a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"preprocessing {file}", "it is not YAML", "write size, mean, std [, color] into it"
        ) from error


def _numbers(value: Any, kind: type) -> tuple[Any, ...]:
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return tuple(kind(part) for part in parts)


@dataclass(frozen=True)
class Inputs:
    """Model-ready arrays, or uint8 images that preprocessing turns into them; labels where they are known."""

    arrays: Arrays
    images: bool
    digest: str
    labels: np.ndarray | None = None
    skipped: tuple[str, ...] = ()
    warning: str = ""

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values())))


_LEAST = 1e-20  # of the largest input: scales of inputs and weights are multiplied


def check_calibration(inputs: Inputs) -> None:
    """Refuse samples that no range can be taken from: none, not finite, or all the same. Raises: UsageError."""
    asked = "calibrate"
    if not inputs.arrays or inputs.count == 0:
        raise UsageError(asked, "no samples", "give at least one, better a few hundred")
    for name, array in inputs.arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))[0])
            found = f"{name!r} holds NaN or infinity, first in sample {row}"
            raise UsageError(asked, found, "take such samples out, or look at how they were made")
    floats = [array for array in inputs.arrays.values() if array.dtype.kind == "f" and array.size]
    largest = max((float(np.abs(array).max()) for array in floats), default=0.0)
    if largest and not _LEAST <= largest <= 1 / _LEAST:
        found = f"the largest value is {largest:.1g}: products of steps of that size are no float32 numbers"
        raise UsageError(asked, found, "give samples as the model was trained on")
    if all(array.size and (array == array.reshape(-1)[0]).all() for array in inputs.arrays.values()):
        raise UsageError(asked, "every value of every sample is the same", "give real samples: this says no range")
    if inputs.count > 1 and all((array == array[:1]).all() for array in inputs.arrays.values()):
        found = f"all {inputs.count} samples are the same one"
        raise UsageError(asked, found, "give real samples that differ, or this one alone")


def read_inputs(text: str, specs: Sequence[TensorSpec], preprocessing: Preprocessing | None, strict: bool) -> Inputs:
    """Inputs as typed: a folder of images | file.npz | random:N. Raises: UsageError, MissingResource."""
    if text.startswith("random:"):
        count = text.removeprefix("random:")
        if not count.isdigit() or int(count) == 0:
            raise UsageError(f"inputs {text!r}", "N is not a positive number", "write random:64")
        fixed = [replace(spec, shape=(int(count), *spec.shape[1:])) for spec in specs]
        warning = f"{count} random inputs: the ranges and the agreement say nothing about real data"
        return Inputs(random_feed(fixed, seed=1), False, text, warning=warning)
    path = Path(text)
    if not path.exists():
        raise MissingResource(
            f"inputs {text}", "no such file or folder", "give a folder of images, a file.npz or random:N"
        )
    if path.is_dir():
        spec = {"use": "folder", "root": str(path), "strict": strict, "holdout": 1.0}
        data: Data = options.call("dataset", spec, preprocessing=preprocessing)
    elif path.suffix == ".npz":
        data = options.call("dataset", {"use": "arrays", "source": str(path)}, preprocessing=preprocessing)
    else:
        raise UsageError(
            f"inputs {text}", f"{path.suffix or 'no'} suffix", "give a folder of images, a file.npz or random:N"
        )
    split = data.evaluation.split if data.evaluation else data.calibration
    return Inputs(dict(split.inputs), data.preprocessing is not None, data.digest, split.labels, data.skipped)


def check_data(source: Source, data: Data) -> None:
    """Raise UsageError where data that are fed as they are have other sizes than the model takes, or where the classes
    of both are the same in another order.
    """
    for spec in source.inputs if data.preprocessing is None else ():
        array = data.calibration.inputs.get(spec.name)
        wanted = spec.shape[1:]  # without the batch
        found = wanted if array is None else array.shape[1:]
        if len(found) != len(wanted) or any(isinstance(w, int) and w != f for w, f in zip(wanted, found)):
            asked = f"feed {data.name} to {source.name}"
            what = f"{spec.name!r} has shape {tuple(found)} a sample, the model takes {tuple(wanted)}"
            raise UsageError(asked, what, "give the data and the model the same sizes")
    if source.labels != data.classes and sorted(source.labels) == sorted(data.classes):
        what = f"the model starts with {source.labels[:3]}, the data with {data.classes[:3]}"
        raise UsageError(f"feed {data.name} to {source.name}", what, "put the classes of both in one order")


def digest_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of every file a spec names, and of a factory's own module, so that a key changes with their content."""
    paths = {key: Path(value) for key, value in spec.items() if isinstance(value, str) and key != "use"}
    module = sys.modules.get(str(spec["use"]).partition(":")[0])
    if ":" in str(spec["use"]) and module is not None and module.__file__:
        paths["use"] = Path(module.__file__)
    return {key: sha256(path) for key, path in paths.items() if path.is_file()}
