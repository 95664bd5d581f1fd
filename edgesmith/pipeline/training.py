"""Training stages: from a recipe's words to a Task, to weights on disk, and back to a module."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import nn

from edgesmith import records
from edgesmith.artifact import Artifact
from edgesmith.compress.checkpoint import remove_checkpoint
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.ranks import ranks
from edgesmith.compress.settings import Qat
from edgesmith.compress.task import Parts, Task
from edgesmith.data.split import Data, Evaluation
from edgesmith.errors import UsageError
from edgesmith.pipeline import options
from edgesmith.pipeline.produce import instruction_set_of
from edgesmith.pipeline.recipe import Recipe, Train
from edgesmith.pipeline.sources import Inputs, Source, Trust, digest_of, model_from_spec
from edgesmith.quant import QuantPlan

if TYPE_CHECKING:
    from edgesmith.compress.qat import QuantizationAware

WEIGHTS = "weights.safetensors"
HISTORY = "history.json"
TRAINED_PLAN = "plan.json"  # of a stage that was trained aware of quantization
TICK_S = 0.1  # between two looks at a progress bar
Folders = Callable[[str], Path]


def resolved(spec: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A spec whose "data:PATH" strings are turned into paths under the data's root."""
    return {
        key: str(Path(str(data.get("root", ""))) / value.removeprefix("data:"))
        if isinstance(value, str) and value.startswith("data:")
        else value
        for key, value in spec.items()
    }


def taken_from(stage: Train, data: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The earlier stages a stage takes something from, and the digests of the files of a pretrained teacher."""
    others = [stage.method.get(key) for key in ("teacher", "head_from", "prior_from")]
    names = tuple(dict.fromkeys(other for other in (*others, stage.after) if isinstance(other, str)))
    specs = [resolved(other, data) for other in others if isinstance(other, dict)]
    return names, {key: found for spec in specs for key, found in digest_of(spec).items()}


def task_of(recipe: Recipe, stage: Train, folders: Folders, trust: Trust) -> Task:
    """The Task of a stage; nets of earlier stages come with the weights they were trained to."""
    spec = resolved(stage.model or recipe.model, recipe.data)
    student = model_from_spec(spec, trust)
    if stage.after is not None:
        _start_from(student.module, recipe, stage.after, folders, trust)
    method = dict(stage.method)
    teacher = _other_net(recipe, method.pop("teacher", None), folders, trust)
    shared = _head_from(recipe, method.pop("head_from", None), folders, trust)
    prior = _other_net(recipe, method.pop("prior_from", None), folders, trust)
    head = getattr(student.module, "head", None)
    classes = head.out_features if isinstance(head, nn.Linear) else 0
    task = options.call("method", method, parts=Parts(student.module, teacher, classes, shared, prior))
    return task if stage.qat is None else _aware(task, stage.qat, student)


def _aware(task: Task, given: Mapping[str, Any], student: Source) -> QuantizationAware:
    from edgesmith.compress.qat import QuantizationAware  # loads torchao

    qat = options.invoke(Qat, given)
    return QuantizationAware(task, qat, instruction_set_of(qat.family), [spec.name for spec in student.inputs])


def _start_from(net: nn.Module, recipe: Recipe, name: str, folders: Folders, trust: Trust) -> None:
    """Give a net the weights of an earlier stage. Raises: UsageError when they do not fit."""
    before = _other_net(recipe, name, folders, trust)
    assert before is not None
    try:
        net.load_state_dict(before.state_dict())
    except RuntimeError as error:
        found = " ".join(str(error).split())[:200]
        raise UsageError(f"start from stage {name!r}", found, "name a stage that deploys the same net") from error


def _other_net(recipe: Recipe, other: Any, folders: Folders, trust: Trust) -> nn.Module | None:
    """An earlier stage's net by its name, or a pretrained one by its spec."""
    if other is None:
        return None
    if isinstance(other, dict):
        return model_from_spec(resolved(other, recipe.data), trust).module
    return deployable(recipe, next(item for item in recipe.train if item.name == other), folders, trust)


def _head_from(recipe: Recipe, name: str | None, folders: Folders, trust: Trust) -> nn.Linear | None:
    net = _other_net(recipe, name, folders, trust)
    head = getattr(net, "head", None)
    if net is not None and not isinstance(head, nn.Linear):
        raise UsageError(f"take the head of stage {name!r}", "its net has no linear head", "build it with classes=...")
    return head


def deployable(recipe: Recipe, stage: Train, folders: Folders, trust: Trust) -> nn.Module:
    """What a finished stage deploys, with its weights."""
    module = task_of(recipe, stage, folders, trust).deployable()
    module.load_state_dict(load_file(folders(stage.name) / WEIGHTS))
    return module.eval()


def train(
    recipe: Recipe, stage: Train, data: Data, folder: Path, folders: Folders, trust: Trust, say: Callable[[str], None]
) -> Mapping[str, Any]:
    """Train one stage into its folder: weights.safetensors, history.json, log.csv; last.ckpt until it is done.

    Of several processes the first alone writes.
    """
    if data.train is None:
        raise UsageError(
            f"train {stage.name}",
            f"data {data.name!r} has no training split",
            "give labelled data, and a holdout below 1",
        )
    task = task_of(recipe, stage, folders, trust)
    config = options.invoke(FitConfig, stage.fit)

    def report(epoch: Any) -> None:
        accuracy = "" if epoch.accuracy is None else f", accuracy {epoch.accuracy:.3f}"
        done = f"epoch {epoch.epoch}/{config.epochs}, loss {epoch.loss:.3f}{accuracy}, {epoch.seconds:.1f} s"
        say(f"train-{stage.name}: {done}")

    tick = _ticker(getattr(say, "bar", None), f"train-{stage.name}", config.epochs)
    result = fit(task, data.train, data.preprocessing, config, folder, report, tick)
    deployed = task.deployable()  # by every process: each may hold a part of it
    notes = list(getattr(task, "notes", ()))
    if ranks().rank == 0:
        for note in notes:
            say(f"train-{stage.name}: note: {note}")
        save_file({name: tensor.contiguous() for name, tensor in deployed.state_dict().items()}, folder / WEIGHTS)
        if stage.qat is not None:
            records.save(folder / TRAINED_PLAN, task.plan)  # type: ignore[attr-defined]
        records.save(folder / HISTORY, {"epochs": list(result.history)})
        remove_checkpoint(folder)
    ending = {"finished_early": True} if result.finished_early else {}
    return {"epochs": len(result.history), "resumed_from": result.resumed_from, "notes": notes, **ending}


def _ticker(bar: Callable[[str, float], None] | None, name: str, epochs: int) -> Callable[[int, float], None] | None:
    """What shows the progress inside an epoch, where somebody can draw it."""
    if bar is None:
        return None
    shown = 0.0

    def tick(epoch: int, share: float) -> None:
        nonlocal shown
        if (now := time.monotonic()) - shown > TICK_S:
            shown = now
            bar(f"{name}: epoch {epoch}/{epochs}", (epoch - 1 + share) / epochs)

    return tick


def history(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a finished stage."""
    return list(records.read(folder / HISTORY)["epochs"])


def trained_plan(stage: Train, folders: Folders) -> QuantPlan | None:
    """The plan of a stage that was trained aware of quantization."""
    return None if stage.qat is None else records.load(QuantPlan, folders(stage.name) / TRAINED_PLAN)


def stage_row(name: str, artifact: Artifact) -> dict[str, str]:
    """A finished stage in words."""
    epochs = history(artifact.root)
    last = epochs[-1] if epochs else {}
    accuracy = last.get("accuracy")
    return {
        "stage": name,
        "epochs": str(len(epochs)),
        "loss": f"{last['loss']:.4f}" if last else "",
        "accuracy": "" if accuracy is None else f"{accuracy:.4f}",
        "weights": str(artifact.root / WEIGHTS),
    }


def calibration_inputs(data: Data, samples: int) -> Inputs:
    """The calibration split, at most `samples` of it."""
    arrays = {name: array[:samples] for name, array in data.calibration.inputs.items()}
    return Inputs(arrays, data.preprocessing is not None, data.digest)


def evaluation_of(data: Data) -> Evaluation:
    """What the data asks of a model. Raises: UsageError when it asks nothing."""
    if data.evaluation is None:
        raise UsageError(f"verify with {data.name}", "it has no evaluation split", "hold some samples out")
    return data.evaluation


def evaluation_inputs(data: Data) -> Inputs:
    """The evaluation split as inputs."""
    split = evaluation_of(data).split
    return Inputs(dict(split.inputs), data.preprocessing is not None, data.digest, split.labels, data.skipped)
