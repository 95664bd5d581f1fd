"""A recipe as steps, and what each step does; every step is an adapter to a library that knows nothing of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import edgesmith
from edgesmith import records
from edgesmith.data.split import Data
from edgesmith.errors import UsageError
from edgesmith.pipeline import options, training
from edgesmith.pipeline.convert import load_plans, plan_row, save_plans
from edgesmith.pipeline.judge import (
    Evidence,
    Table,
    judge,
    load_outputs,
    run_outputs,
    save_outputs,
    tabulate,
    time_targets,
)
from edgesmith.pipeline.produce import (
    Bundle,
    build_targets,
    calibrate,
    capture_source,
    load_bundle,
    plan_targets,
)
from edgesmith.pipeline.recipe import Recipe, as_yaml
from edgesmith.pipeline.run import Done, Say, Step, execute, folder_of, step_keys, version_of
from edgesmith.pipeline.sources import Source, Trust, digest_of, model_from_spec
from edgesmith.records import to_json
from edgesmith.results import BenchRecord
from edgesmith.targets import target

_SUPPLIERS = ("models", "data")
_VERSIONS = ("torch", "torchao", "onnx", "onnxruntime", "openvino", "coremltools", "numpy")
_GRAPH = ("graph", "quant.py", "targets.py", "tensors.py")


@dataclass
class Run:
    """One recipe in one folder; what is expensive is made once, when a step asks for it."""

    recipe: Recipe
    out: Path
    trust: Trust
    say: Say
    command: str = ""

    @cached_property
    def model_spec(self) -> dict[str, Any]:
        return training.resolved(self.recipe.model, self.recipe.data)

    @cached_property
    def source(self) -> Source:
        """The recipe's model, untrained or with the weights its spec names."""
        return model_from_spec(self.model_spec, self.trust)

    @cached_property
    def data(self) -> Data:
        """The recipe's data, prepared as the deployed model wants it."""
        self.say("read the data ...")
        data: Data = options.call("dataset", self.recipe.data, preprocessing=self.source.preprocessing)
        if data.skipped:
            self.say(f"warning: {len(data.skipped)} unreadable images skipped: {', '.join(data.skipped[:5])}")
        return data

    @cached_property
    def deployed(self) -> Source:
        """The model that is exported: the last training stage's, else the recipe's own."""
        if not self.recipe.train:
            return self.source
        stage = self.recipe.train[-1]
        module = training.deployable(self.recipe, stage, self.folders(), self.trust)
        labels = self.source.labels or self.data.classes
        return replace(self.source, module=module.eval(), labels=tuple(labels))

    @cached_property
    def keys(self) -> dict[str, str]:
        return step_keys(self.steps)

    def folder(self, step: str) -> Path:
        return folder_of(self.out, step, self.keys[step])

    def folders(self) -> Callable[[str], Path]:
        """Stage name -> its folder."""
        return lambda stage: self.folder(f"train-{stage}")

    @cached_property
    def steps(self) -> list[Step]:
        stages = [self._train_step(index) for index in range(len(self.recipe.train))]
        deployed = (stages[-1].name,) if stages else ()
        chain = [*stages, self._quantize_step(deployed), self._export_step(deployed)]
        chain.append(self._outputs_step())
        if self.recipe.bench is not None:
            chain.append(self._bench_step())
        return chain

    def _origin(self) -> dict[str, Any]:
        return {"model": self.model_spec, "files": digest_of(self.model_spec), "data": self.data.digest}

    def _train_step(self, index: int) -> Step:
        stage = self.recipe.train[index]
        taken, files = training.taken_from(stage, self.recipe.data)

        def work(folder: Path) -> Mapping[str, Any]:
            return training.train(self.recipe, stage, self.data, folder, self.folders(), self.trust, self.say)

        config = {"stage": asdict(stage), "taken": files, **self._origin()}
        sources = (
            *_SUPPLIERS,
            "compress/task.py",
            "compress/fit.py",
            "compress/batches.py",
            "compress/head_sharing.py",
            "compress/shared_head.py",
            "compress/distil.py",
            "compress/distil_task.py",
            "compress/terms.py",
            "compress/contrastive.py",
            "compress/class_centres.py",
            "compress/teacher_cache.py",
            "pipeline/training.py",
        )
        needs = tuple(f"train-{other}" for other in taken)
        packages = ("torch", "lightning-fabric", "numpy")
        return Step(f"train-{stage.name}", config, work, needs, sources, packages, keeps=("last.ckpt",))

    def _quantize_step(self, needs: tuple[str, ...]) -> Step:
        int8 = [name for name in self.recipe.targets.all if target(name).family]

        def work(folder: Path) -> Mapping[str, Any]:
            if not int8:
                return {"plans": []}
            program = capture_source(self.deployed)
            inputs = training.calibration_inputs(self.data, self.recipe.quantize.samples)
            ranges = calibrate(program, inputs, self.deployed.preprocessing, self.recipe.quantize.batch)
            plans = plan_targets(program, ranges, int8)
            save_plans(folder, ranges, plans)
            return {"plans": [{**plan_row(plan, folder), "file": f"plan-{name}.json"} for name, plan in plans.items()]}

        families = sorted({str(target(name).family) for name in int8})
        config = {"quantize": asdict(self.recipe.quantize), "families": families, **self._origin()}
        sources = (*_SUPPLIERS, *_GRAPH, "compress/quantize", "devices/facts.py")
        return Step("quantize", config, work, needs, sources, ("torch", "torchao"))

    def _export_step(self, deployed: tuple[str, ...]) -> Step:
        names = self.recipe.targets.all

        def work(folder: Path) -> Mapping[str, Any]:
            program = capture_source(self.deployed)
            plans = load_plans(self.folder("quantize"))
            bundle = build_targets(program, self.deployed, names, plans, folder, self.say)
            return {"exported": list(bundle.exported), "absent": to_json(bundle.absent)}

        sources = (*_SUPPLIERS, *_GRAPH, "export", "pipeline/produce.py")
        packages = ("torch", "torchao", "onnx", "onnxscript", "openvino", "coremltools", "tensorrt", "tensorrt-rtx")
        config = {"targets": names, **self._origin()}
        return Step("export", config, work, (*deployed, "quantize"), sources, packages)

    def _outputs_step(self) -> Step:
        def work(folder: Path) -> Mapping[str, Any]:
            found = run_outputs(
                self.bundle.exported, training.evaluation_inputs(self.data), folder / "job", self.device, self.say
            )
            save_outputs(folder, found)
            return {"ran": sorted(found.arrays), "unrun": {name: row.reason for name, row in found.unrun.items()}}

        packages = ("torch", "onnxruntime", "openvino", "coremltools")
        config = {"data": self.data.digest, "device": self._device_spec, "facts": to_json(self._lasting_facts)}
        return Step("outputs", config, work, ("export",), ("runtimes", "bench"), packages)

    def _bench_step(self) -> Step:
        bench = self.recipe.bench

        def work(folder: Path) -> Mapping[str, Any]:
            assert bench is not None
            inputs = training.evaluation_inputs(self.data)
            record = time_targets(self.bundle.exported, inputs, folder / "job", self.device, bench, self.say)
            records.save(folder / "bench.json", record)
            return {"reference": record.reference}

        config = {"bench": asdict(bench) if bench else None, "facts": to_json(self._lasting_facts)}
        return Step("bench", config, work, ("export",), ("runtimes", "bench"), ("torch", "onnxruntime", "openvino"))

    @property
    def _device_spec(self) -> dict[str, Any]:
        return self.recipe.bench.device if self.recipe.bench else {"use": "local"}

    @cached_property
    def device(self) -> Any:
        return options.call("device", self._device_spec)

    @cached_property
    def _lasting_facts(self) -> dict[str, Any]:
        """What a machine is, without what changes from minute to minute."""
        facts = to_json(self.device.info())
        return {key: facts[key] for key in ("name", "cpu", "cores", "memory_bytes", "instruction_set", "accelerator")}

    @cached_property
    def bundle(self) -> Bundle:
        return load_bundle(self.folder("export"))


def plan_steps(recipe: Recipe, out: Path, trust: Trust) -> list[dict[str, str]]:
    """What `run` would do, a row a step: its folder, and whether it is already there."""
    run = Run(recipe, out, trust, lambda text: None)
    rows = []
    for step in run.steps:
        folder = run.folder(step.name)
        there = (folder / "artifact.json").exists()
        rows.append({"step": step.name, "folder": str(folder), "state": "done" if there else "to do"})
    return rows


def train_recipe(recipe: Recipe, out: Path, trust: Trust, say: Say) -> list[dict[str, str]]:
    """The training stages alone; a row a stage."""
    if not recipe.train:
        raise UsageError(f"train {recipe.name}", "the recipe has no train stages", "add some under `train:`")
    run = Run(recipe, out, trust, say)
    done = execute([step for step in run.steps if step.name.startswith("train-")], out, say)
    return [training.stage_row(name.removeprefix("train-"), item.artifact) for name, item in done.items()]


def run_recipe(recipe: Recipe, out: Path, trust: Trust, say: Say, command: str) -> Table:
    """Everything: steps that are not there yet, then verdicts and the report from what lies on disk."""
    run = Run(recipe, out, trust, say, command)
    done = execute(run.steps, out, say)
    table = _conclude(run, done)
    records.save(out / "report.json", table.report)
    from edgesmith.report.html import render

    records.write_bytes(out / "report.html", render(table.report).encode())
    say(f"{out / 'report.html'}")
    return table


def _conclude(run: Run, done: Mapping[str, Done]) -> Table:
    """Judge what was measured: cheap, so that a changed limit repeats nothing else."""
    bench = records.load(BenchRecord, run.folder("bench") / "bench.json") if run.recipe.bench else None
    evidence = Evidence(
        training.evaluation_of(run.data), load_outputs(run.folder("outputs")), run.bundle, bench, run.data.skipped
    )
    judgement = judge(evidence, run.recipe.limits, run.recipe.targets)
    histories = {stage.name: training.history(run.folder(f"train-{stage.name}")) for stage in run.recipe.train}
    provenance = {
        "command": run.command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": {name: version_of(name) for name in _VERSIONS} | {"edgesmith": edgesmith.__version__},
        "recipe": as_yaml(run.recipe),
        "data": run.data.digest,
        "steps": {name: item.artifact.key for name, item in done.items()},
    }
    return tabulate(run.recipe.name, judgement, evidence, histories, provenance)
