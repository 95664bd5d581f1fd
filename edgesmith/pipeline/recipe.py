"""Recipes: YAML in, frozen records out, every mistake at once with its path in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from edgesmith.errors import MissingResource, RecipeError, UsageError
from edgesmith.pipeline.quantize_section import Quantize
from edgesmith.records import to_json
from edgesmith.results import Scenario
from edgesmith.targets import TARGETS

Spec = dict[str, Any]  # {"use": a name of a plug-in table, ...its options}
_STRICT = {"extra": "forbid"}
TAKEN = ("teacher", "head_from", "prior_from")  # keys of a method that name another net
GOAL = ("latency_table", "latency_budget_ms", "latency_weight")  # options of a search method that search.latency gives
FOUND = "search"  # a model's genotype: what the recipe's own search found
Positive = Annotated[int, Field(ge=1)]
StageName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # it becomes part of a folder's name


@dataclass(frozen=True)
class Train:
    """One training stage; `model` None trains the recipe's own model, `fit` holds FitConfig's options.

    after: an earlier stage whose weights this one starts from. qat: the options of Qat (compress/settings.py); the last
    stage then trains its task aware of quantization, and its plan is used for the targets of its family.
    """

    __pydantic_config__ = _STRICT
    name: StageName
    method: Spec
    model: Spec | None = None
    fit: dict[str, Any] = field(default_factory=dict)
    after: str | None = None
    qat: dict[str, Any] | None = None


@dataclass(frozen=True)
class Targets:
    """required: must come out and pass. built: must come out, judged where it can run. optional: a row either way."""

    __pydantic_config__ = _STRICT
    required: tuple[str, ...] = ()
    built: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every target once; the original comes first because everything is compared with it."""
        return tuple(dict.fromkeys(("torch-fp32", *self.required, *self.built, *self.optional)))


@dataclass(frozen=True)
class Bench:
    """Latency protocol: rounds of interleaved blocks; `warmup` is the least number of warm-up calls.

    layers: also times by layer, by each runtime's own profiler. scenario: in cold-start a block is one fresh process,
    whatever `block_size` says; `streams` are the sessions at once in multi-stream.
    """

    __pydantic_config__ = _STRICT
    device: Spec = field(default_factory=lambda: {"use": "local"})
    threads: Positive = 1
    blocks: Annotated[int, Field(ge=2)] = 10
    block_size: Positive = 20
    warmup: Positive = 20
    layers: bool = False
    scenario: Scenario = "single-stream"
    streams: Annotated[int, Field(ge=2)] = 2

    @property
    def calls(self) -> int:
        """Of a block."""
        return 1 if self.scenario == "cold-start" else self.block_size


@dataclass(frozen=True)
class LatencyGoal:
    """What a search holds: p50 of `target` on the bench's device and threads, at most `budget_ms`.

    weight: of the latency term; a search that ends above the budget is repeated with 3 times the weight, at most
    `tries` searches in all. table: a file measured before; without it one is measured from so many whole `networks`
    of the space, each timed in `blocks` of `block_size` runs.
    """

    __pydantic_config__ = _STRICT
    target: str
    budget_ms: Annotated[float, Field(gt=0)]
    weight: Annotated[float, Field(gt=0)] = 1.0
    tries: Positive = 3
    table: str | None = None
    networks: Annotated[int, Field(ge=4)] = 32
    blocks: Annotated[int, Field(ge=2)] = 12
    block_size: Positive = 12


@dataclass(frozen=True)
class Search:
    """An architecture search before the training; a model takes what it found by `genotype: search`."""

    __pydantic_config__ = _STRICT
    space: Spec
    method: Spec = field(default_factory=lambda: {"use": "asap"})
    fit: dict[str, Any] = field(default_factory=dict)
    latency: LatencyGoal | None = None


@dataclass(frozen=True)
class Recipe:
    """A whole run. `limits` are what verify judges (verify/gate.py)."""

    __pydantic_config__ = _STRICT
    name: str
    model: Spec
    data: Spec
    targets: Targets
    search: Search | None = None
    train: tuple[Train, ...] = ()
    quantize: Quantize = field(default_factory=Quantize)
    bench: Bench | None = field(default_factory=Bench)
    limits: dict[str, Any] = field(default_factory=dict)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, compose (`extends`), override and check a recipe. Raises: RecipeError, MissingResource."""
    raw = _compose(path, seen=())
    problems = [problem for override in overrides for problem in _override(raw, override)]
    problems += _plugin_problems(raw)
    said = {problem.partition(": ")[0] for problem in problems}
    recipe: Recipe | None = None
    try:
        recipe = TypeAdapter(Recipe).validate_python(raw)
    except ValidationError as error:
        problems += [_line(item) for item in error.errors() if _path(item) not in said]
    if problems or recipe is None:
        raise RecipeError(str(path), sorted(problems))
    return recipe


def on_device(recipe: Recipe, device: Spec) -> Recipe:
    """The recipe, measured on another device. Raises: UsageError when it measures nothing."""
    if recipe.bench is None:
        raise UsageError(f"recipe {recipe.name}", "it has no bench section", "add one, or leave --device out")
    return replace(recipe, bench=replace(recipe.bench, device=device))


def as_yaml(recipe: Recipe) -> str:
    """The recipe as it was understood, defaults and overrides included."""
    return yaml.safe_dump(to_json(asdict(recipe)), sort_keys=False, width=100)


def _line(item: Mapping[str, Any]) -> str:
    given = "" if item["type"] == "missing" else f" (got {item['input']!r})"
    return f"{_path(item)}: {item['msg']}{given}"


def _path(item: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in item["loc"])


def _compose(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise MissingResource(f"read recipe {path}", "no such file", "check the path") from error
    except OSError as error:
        raise MissingResource(f"read recipe {path}", f"{error.strerror}", "name a .yaml file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(str(path), [f"not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(raw, dict):
        raise RecipeError(str(path), ["the file must be a mapping of name, model, data, targets, ..."])
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise RecipeError(str(path), [f"extends: name one file (got {parent!r})"])
    parent_path = (path.parent / parent).resolve()
    if parent_path in seen:
        raise RecipeError(str(path), [f"extends: {parent} extends this file in turn"])
    return _merge(_compose(parent_path, (*seen, path.resolve())), raw)


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _override(raw: dict[str, Any], override: str) -> list[str]:
    path, equals, text = override.partition("=")
    if not equals or not path:
        return [f"--set {override}: write key=value, e.g. --set data.root=DIR"]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return [f"--set {path}: {text!r} is not a YAML value"]
    *parents, last = path.split(".")
    here: Any = raw
    for part in parents:
        here = _enter(here, part)
        if here is None:
            return [f"--set {path}: {part!r} leads nowhere in this recipe"]
    if isinstance(here, list):
        if not last.isdigit() or int(last) >= len(here):
            return [f"--set {path}: the list has {len(here)} items"]
        here[int(last)] = value
    else:
        here[last] = value
    return []


def _enter(here: Any, part: str) -> Any:
    if isinstance(here, list):
        inside = here[int(part)] if part.isdigit() and int(part) < len(here) else None
    else:
        inside = here.setdefault(part, {})
    return inside if isinstance(inside, (dict, list)) else None


def _plugin_problems(raw: Mapping[str, Any]) -> list[str]:
    """What the types cannot say: names of plug-ins, their options, names of targets, order of stages."""
    from edgesmith.pipeline.options import option_problems, spec_problems
    from edgesmith.verify.placement import limit_problems

    problems = spec_problems("model", raw.get("model"), "model")
    problems += spec_problems("dataset", raw.get("data"), "data")
    problems += option_problems("limits", raw.get("limits") or {}, "edgesmith.verify.gate:Limits")
    problems += limit_problems(raw.get("limits"))
    bench = raw.get("bench")
    if isinstance(bench, dict) and "device" in bench:
        problems += spec_problems("device", bench["device"], "bench.device")
    if isinstance(bench, dict) and bench.get("scenario") == "cold-start" and bench.get("layers"):
        problems.append("bench.layers: a cold start is one inference, too few for times by layer; leave it out")
    earlier: list[str] = []
    stages = raw.get("train")
    for index, stage in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(stage, dict):
            problems += _stage_problems(stage, f"train.{index}", earlier)
            earlier.append(str(stage.get("name")))
    if isinstance(stages, list) and stages and isinstance(stages[-1], dict) and stages[-1].get("model") is not None:
        problems.append(f"train.{len(stages) - 1}.model: the last stage trains the recipe's own model; leave it out")
    if isinstance(stages, list):
        problems += _qat_problems(stages, raw.get("targets"), raw.get("quantize"))
    return problems + _search_problems(raw) + _quantize_problems(raw) + _target_problems(raw.get("targets"))


def _quantize_problems(raw: Mapping[str, Any]) -> list[str]:
    section = raw.get("quantize")
    both = isinstance(section, dict) and section.get("max_drop") is not None and section.get("max_ms") is not None
    return ["quantize.max_ms: max_drop is given too; give one budget"] if both else []


def _search_problems(raw: Mapping[str, Any]) -> list[str]:
    """What the types cannot say of a search, and of the models that take what it finds."""
    from edgesmith.pipeline.options import option_problems, spec_problems

    stages = raw.get("train") if isinstance(raw.get("train"), list) else []
    others = {f"train.{i}.model": s.get("model") for i, s in enumerate(stages or []) if isinstance(s, dict)}
    specs = {"model": raw.get("model"), **others}
    takers = [path for path, spec in specs.items() if isinstance(spec, dict) and spec.get("genotype") == FOUND]
    search = raw.get("search")
    if not isinstance(search, dict):
        return [f"{path}.genotype: the recipe has no search section" for path in takers]
    problems = spec_problems("space", search.get("space"), "search.space")
    problems += _method_problems(search)
    fit = search.get("fit") or {}
    wrong = option_problems("search.fit", fit, "edgesmith.compress.fit:FitConfig")
    problems += wrong or _range_problems("search.fit", fit)
    goal = search.get("latency")
    if isinstance(goal, dict) and isinstance(goal.get("target"), str) and goal["target"] not in TARGETS:
        known = ", ".join(TARGETS)
        problems.append(f"search.latency.target: no target is called {goal['target']!r} (there are: {known})")
    if not takers:
        problems.append(f"search: no model takes what it finds; write model: {{use: ..., genotype: {FOUND}}}")
    return problems


def _method_problems(search: Mapping[str, Any]) -> list[str]:
    from edgesmith.pipeline.options import spec_problems, takes

    method = search.get("method")
    if not isinstance(method, dict):
        return []
    ours = [key for key in method if key in GOAL]
    problems = [f"search.method.{key}: say it under search.latency" for key in ours]
    if "latency" in search and not takes("method", method, GOAL[0]):
        problems.append(f"search.latency: method {method.get('use')!r} knows no latency")
    rest = {key: value for key, value in method.items() if key not in GOAL}
    return problems + spec_problems("method", rest, "search.method")


def _taken_problems(method: Mapping[str, Any], path: str, earlier: Sequence[str]) -> list[str]:
    """What a stage takes from others: teacher is a stage or a pretrained model's spec, others are stages."""
    from edgesmith.pipeline.options import spec_problems, takes

    problems = []
    for key in TAKEN:
        other = method.get(key)
        if key == "teacher" and isinstance(other, dict):
            problems += spec_problems("model", other, f"{path}.{key}")
        elif other is not None and other not in earlier:
            problems.append(f"{path}.{key}: no earlier stage is called {other!r} (there are: {list(earlier)})")
    if method.get("head_from") is not None and not takes("method", method, "head_mode"):
        problems.append(f"{path}.head_from: method {method.get('use')!r} shares no head")
    if method.get("prior_from") is not None and not takes("method", method, "eta"):
        problems.append(f"{path}.prior_from: method {method.get('use')!r} has no class prior")
    return problems


def _stage_problems(stage: Mapping[str, Any], path: str, earlier: Sequence[str]) -> list[str]:
    from edgesmith.pipeline.options import option_problems, spec_problems

    fit = stage.get("fit") or {}
    problems = option_problems(f"{path}.fit", fit, "edgesmith.compress.fit:FitConfig")
    problems = problems or _range_problems(f"{path}.fit", fit)
    method = stage.get("method")
    if isinstance(method, dict):
        problems += _taken_problems(method, f"{path}.method", earlier)
        method = {key: value for key, value in method.items() if key not in TAKEN}
    problems += spec_problems("method", method, f"{path}.method")
    if stage.get("model") is not None:
        problems += spec_problems("model", stage["model"], f"{path}.model")
    if stage.get("after") is not None and stage["after"] not in earlier:
        problems.append(f"{path}.after: no earlier stage is called {stage['after']!r} (there are: {list(earlier)})")
    if stage.get("name") in earlier:
        problems.append(f"{path}.name: {stage.get('name')!r} is taken by an earlier stage")
    return problems


def _range_problems(path: str, fit: Mapping[str, Any], kind: str = "FitConfig") -> list[str]:
    from edgesmith.compress import settings
    from edgesmith.pipeline.options import invoke

    try:
        invoke(getattr(settings, kind), fit)
    except UsageError as error:
        return [f"{path}: {error.found}; {error.todo}"]
    return []


def _qat_problems(stages: Sequence[Any], targets: Any, quantize: Any) -> list[str]:
    """Only the last stage's plan is one for what is deployed, and some target must be of its family."""
    from edgesmith.pipeline.options import option_problems

    problems = []
    for index, stage in enumerate(stages):
        given = stage.get("qat") if isinstance(stage, dict) else None
        if given is None:
            continue
        path = f"train.{index}.qat"
        wrong = option_problems(path, given, "edgesmith.compress.settings:Qat") or _range_problems(path, given, "Qat")
        if not wrong:
            family = given.get("family", "ort")
            named = [name for group in (targets if isinstance(targets, dict) else {}).values() for name in group or ()]
            if family not in {TARGETS[name].family for name in named if name in TARGETS}:
                wrong.append(f"{path}.family: no target is of the family {family!r}")
        sections = (quantize, quantize.get("corrections") if isinstance(quantize, dict) else None)
        if any(isinstance(part, dict) and part.get("reestimate_batchnorm") for part in sections):
            wrong.append(f"{path}: it folds batch norms into the weights; leave out quantize.reestimate_batchnorm")
        if index < len(stages) - 1:
            wrong.append(f"{path}: only the last stage can be trained aware of quantization")
        problems += wrong
    return problems


def _target_problems(targets: Any) -> list[str]:
    if not isinstance(targets, dict):
        return []
    groups = ("required", "built", "optional")
    if not any(targets.get(group) for group in groups):
        return ["targets: name at least one, as required, built or optional"]
    named = [
        (f"targets.{group}.{index}", name)
        for group in groups
        if isinstance(targets.get(group), list)
        for index, name in enumerate(targets[group])
    ]
    known = ", ".join(TARGETS)
    return [f"{path}: no target is called {name!r} (there are: {known})" for path, name in named if name not in TARGETS]
