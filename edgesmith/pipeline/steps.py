"""A recipe as steps, and what each step does; every step is an adapter to a library that knows nothing of steps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import edgesmith
from edgesmith import records
from edgesmith.artifact import sha256
from edgesmith.compress.fit import MACHINE
from edgesmith.compress.ranks import TIMEOUT_S, launched, together
from edgesmith.data.split import Data, digest
from edgesmith.devices.facts import this_machine
from edgesmith.errors import UsageError
from edgesmith.pipeline import options, refining, searching, training
from edgesmith.pipeline.effects import load_effects
from edgesmith.pipeline.judge import (
    Evidence,
    Table,
    explained,
    judge,
    load_outputs,
    run_outputs,
    save_outputs,
    tabulate,
    time_targets,
)
from edgesmith.pipeline.latency_table import Bench as NetworkBench
from edgesmith.pipeline.plans import load_plans
from edgesmith.pipeline.produce import (
    Bundle,
    build_targets,
    capture_source,
    load_bundle,
)
from edgesmith.pipeline.quantize_step import quantize_recipe
from edgesmith.pipeline.quantizing import load_controls, load_verdicts
from edgesmith.pipeline.recipe import FOUND, Bench, LatencyGoal, Recipe, Search, as_yaml
from edgesmith.pipeline.reporting import save_report
from edgesmith.pipeline.run import Done, Say, Step, execute, folder_of, step_keys, version_of
from edgesmith.pipeline.sources import Source, Trust, check_data, digest_of, model_from_spec
from edgesmith.records import to_json
from edgesmith.results import BenchRecord
from edgesmith.targets import target

SEARCHING = ("latency-table", "search")  # the steps of a search
_VERSIONS = ("torch", "torchao", "onnx", "onnxruntime", "openvino", "coremltools", "numpy")
_RUNTIMES = ("torch", "onnxruntime", "openvino", "coremltools", "tensorrt", "tensorrt-rtx")
# The package's files whose code a step runs.
_MODEL = ("tensors.py", "models/*.py", "data/*.py", "pipeline/sources.py", "pipeline/training.py")
_TRAIN = (*_MODEL, "compress/*.py")
_CAPTURE = (*_MODEL, "quant.py", "targets.py", "graph/*.py", "pipeline/produce.py")
_QUANTIZE = (
    "compress/*.py",
    "compress/quantize/*.py",
    "devices/facts.py",
    "pipeline/quantiz*.py",
    "pipeline/refining.py",
    "pipeline/bisecting.py",
    "verify/bisect.py",
    "pipeline/effects.py",
    "pipeline/choose_ranges.py",
    "pipeline/accuracy_control.py",
    "pipeline/giving_back.py",
    "pipeline/wishes.py",
)
_SEARCH = (*_TRAIN, "compress/asap/*.py", "pipeline/searching.py", "pipeline/latency_table.py")
_RUN = ("tensors.py", "runtimes/*.py", "bench/**/*.py", "pipeline/judge.py")
_MEASURED = (*_RUN, "pipeline/latency_table.py", "pipeline/costs.py", "pipeline/produce.py")


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
        """The recipe's model, untrained or with the weights its spec names; any network of the space to be searched."""
        if self.recipe.search is None:
            return model_from_spec(self.model_spec, self.trust)
        with tempfile.TemporaryDirectory() as folder:
            anyone = Path(folder) / searching.GENOTYPE
            records.save(anyone, searching.space_of(self.recipe.search).random(0))
            return model_from_spec(searching.with_genotype(self.model_spec, anyone), self.trust)

    @cached_property
    def found(self) -> Recipe:
        """The recipe with the genotype that its search found in the place of `genotype: search`."""
        if self.recipe.search is None:
            return self.recipe
        file = self.folder("search") / searching.GENOTYPE
        stages = [replace(s, model=s.model and searching.with_genotype(s.model, file)) for s in self.recipe.train]
        return replace(self.recipe, model=searching.with_genotype(self.recipe.model, file), train=tuple(stages))

    @cached_property
    def data(self) -> Data:
        """The recipe's data, prepared as the deployed model wants it."""
        self.say("read the data ...")
        data: Data = options.call("dataset", self.recipe.data, preprocessing=self.source.preprocessing)
        if data.skipped:
            self.say(f"warning: {len(data.skipped)} unreadable images skipped: {', '.join(data.skipped[:5])}")
        check_data(self.source, data)
        return data

    @cached_property
    def deployed(self) -> Source:
        """The model that is exported: the last training stage's, else the recipe's own."""
        if not self.recipe.train:
            source = model_from_spec(training.resolved(self.found.model, self.recipe.data), self.trust)
            return refining.reestimated(source, self.data, self.recipe.quantize)
        stage = self.found.train[-1]
        module = training.deployable(self.found, stage, self.folders(), self.trust)
        labels = self.source.labels or self.data.classes
        source = replace(self.source, module=module.eval(), labels=tuple(labels))
        return refining.reestimated(source, self.data, self.recipe.quantize)

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
        before = self._search_steps(self.recipe.search) if self.recipe.search else []
        stages = [*before, *(self._train_step(index) for index in range(len(self.recipe.train)))]
        deployed = (stages[-1].name,) if stages else ()
        chain = [*stages, self._quantize_step(deployed), self._export_step(deployed)]
        chain.append(self._outputs_step())
        if self.recipe.bench is not None:
            chain.append(self._bench_step(self.recipe.bench))
        return chain

    def _origin(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What a model is made of, its files by content, and how pictures become its input."""
        return {"model": {**spec, **digest_of(spec)}, "preprocessing": to_json(self.data.preprocessing)}

    def _packages(self, *names: str) -> tuple[str, ...]:
        specs = [self.recipe.model, *(stage.model or {} for stage in self.recipe.train)]
        return (*names, "timm") if any(spec.get("use") == "timm" for spec in specs) else names

    def _search_steps(self, search: Search) -> list[Step]:
        """The search, and before it the table of its latency goal where that has to be measured."""
        goal, config = search.latency, dict[str, Any](space=search.space, method=search.method)
        steps = [self._table_step(search, goal)] if goal is not None and goal.table is None else []
        needs = tuple(step.name for step in steps)

        def work(folder: Path) -> Mapping[str, Any]:
            found = None
            if goal is not None:
                file = Path(goal.table) if goal.table else self.folder("latency-table") / searching.TABLE
                found = searching.goal_of(search, goal, file, self.networks(goal, folder))
            return searching.run_search(search, self.data, found, folder, self.say)

        config["fit"] = {name: value for name, value in search.fit.items() if name not in MACHINE}
        config["data"], config["preprocessing"] = digest(self.data.train), to_json(self.data.preprocessing)
        if goal is not None:
            config["latency"] = {**asdict(goal), "table": sha256(Path(goal.table)) if goal.table else None}
            config["measured"] = {"threads": self._threads, "device": self._device_spec, "facts": self._lasting_facts}
        sources = _SEARCH if goal is None else (*_SEARCH, *_MEASURED)
        packages = ("torch", "lightning-fabric", "numpy", *(() if goal is None else _RUNTIMES))
        keeps = (searching.TRIES, "networks")
        return [*steps, Step("search", config, work, needs, sources, packages, keeps, together=True)]

    def _table_step(self, search: Search, goal: LatencyGoal) -> Step:
        measuring = searching.measuring_of(goal, self._threads)

        def work(folder: Path) -> Mapping[str, Any]:
            return searching.measure_table(search, self.networks(goal, folder), folder)

        device = {"device": self._device_spec, "facts": self._lasting_facts}
        config = {"space": search.space, "measuring": asdict(measuring), "image": to_json(self.source.inputs), **device}
        sources = (*_CAPTURE, *_MEASURED, "compress/asap/*.py", "compress/quantize/*.py", "export/*.py")
        return Step("latency-table", config, work, (), sources, (*_VERSIONS, *_RUNTIMES), keeps=("networks",))

    def networks(self, goal: LatencyGoal, folder: Path) -> NetworkBench:
        """Where networks of the space are timed."""
        measuring = searching.measuring_of(goal, self._threads)
        return NetworkBench(self.device, self.source.inputs[0], measuring, folder, self.say)

    def _train_step(self, index: int) -> Step:
        stage = self.recipe.train[index]
        taken, files = training.taken_from(stage, self.recipe.data)
        searched = ("search",) if (stage.model or self.recipe.model).get("genotype") == FOUND else ()

        def work(folder: Path) -> Mapping[str, Any]:
            found = self.found.train[index]
            return training.train(self.found, found, self.data, folder, self.folders(), self.trust, self.say)

        spec = training.resolved(stage.model or self.recipe.model, self.recipe.data)
        fit = {name: value for name, value in stage.fit.items() if name not in MACHINE}
        origin = {**self._origin(spec), "data": digest(self.data.train)}
        config = {"method": stage.method, "taken": files, "fit": fit, **origin}
        sources: tuple[str, ...] = _TRAIN
        if stage.qat is not None or stage.after is not None:
            config |= {"after": stage.after, "qat": stage.qat, "host": this_machine().instruction_set}
            sources = (*_TRAIN, *_CAPTURE, "compress/quantize/*.py")
        needs = (*searched, *(f"train-{other}" for other in taken))
        packages = self._packages("torch", "lightning-fabric", "numpy")
        return Step(f"train-{stage.name}", config, work, needs, sources, packages, keeps=("last*.ckpt",), together=True)

    def _quantize_step(self, needs: tuple[str, ...]) -> Step:
        int8 = [name for name in self.recipe.targets.all if target(name).family]

        def work(folder: Path) -> Mapping[str, Any]:
            if not int8:
                return {"plans": []}
            section, data, stages = self.recipe.quantize, self.data, self.recipe.train
            device = self.device if section.measures else None
            learned = training.trained_plan(stages[-1], self.folders()) if stages else None
            return quantize_recipe(section, self.deployed, data, int8, learned, device, self._threads, folder, self.say)

        measures = self.recipe.quantize.measures
        config = {
            "quantize": asdict(self.recipe.quantize),
            **({"judged": self._measured_on, "threads": self._threads} if measures else {}),
            "families": sorted({str(target(name).family) for name in int8}),
            "host": this_machine().instruction_set,
            **self._origin(self.model_spec),
            "data": digest(self.data.calibration),
        }
        sources = (*_CAPTURE, *_QUANTIZE, *((*_MEASURED, "export/*.py") if measures else ()))
        packages = self._packages("torch", "numpy", *(("scipy", *_VERSIONS, *_RUNTIMES) if measures else ()))
        return Step("quantize", config, work, needs, sources, packages)

    def _export_step(self, deployed: tuple[str, ...]) -> Step:
        names = self.recipe.targets.all

        def work(folder: Path) -> Mapping[str, Any]:
            program = capture_source(self.deployed)
            plans = load_plans(self.folder("quantize"))
            bundle = build_targets(program, self.deployed, names, plans, folder, self.say)
            return {"exported": list(bundle.exported), "absent": to_json(bundle.absent)}

        sources = (*_CAPTURE, "artifact.py", "compress/*.py", "export/*.py")
        packages = ("torch", "torchao", "onnx", "onnxscript", "openvino", "coremltools", "tensorrt", "tensorrt-rtx")
        labels = self.source.labels or self.data.classes
        config = {"targets": names, "labels": labels, **self._origin(self.model_spec)}
        return Step("export", config, work, (*deployed, "quantize"), sources, self._packages(*packages))

    def _outputs_step(self) -> Step:
        def work(folder: Path) -> Mapping[str, Any]:
            found = run_outputs(
                self.bundle.exported, training.evaluation_inputs(self.data), folder / "job", self.device, self.say
            )
            save_outputs(folder, found)
            return {"ran": sorted(found.arrays), "unrun": {name: row.reason for name, row in found.unrun.items()}}

        return Step("outputs", self._measured_on, work, ("export",), _RUN, _RUNTIMES)

    def _bench_step(self, bench: Bench) -> Step:
        def work(folder: Path) -> Mapping[str, Any]:
            inputs = training.evaluation_inputs(self.data)
            record = time_targets(self.bundle.exported, inputs, folder / "job", self.device, bench, self.say)
            records.save(folder / "bench.json", record)
            return {"reference": record.reference}

        config = {"bench": asdict(bench), **self._measured_on}
        return Step("bench", config, work, ("export",), _RUN, _RUNTIMES)

    @cached_property
    def _measured_on(self) -> dict[str, Any]:
        inputs = digest(dict(training.evaluation_of(self.data).split.inputs))
        return {"inputs": inputs, "device": self._device_spec, "facts": self._lasting_facts}

    @property
    def _threads(self) -> int:
        return self.recipe.bench.threads if self.recipe.bench else 1

    @property
    def _device_spec(self) -> dict[str, Any]:
        return self.recipe.bench.device if self.recipe.bench else {"use": "local"}

    @cached_property
    def device(self) -> Any:
        if {"python", "entry"} & set(self._device_spec) and not (self.trust.imports or self.trust.device):
            found = "it names a program to run, or a machine to log in to"
            raise UsageError(
                f"bench.device {self._device_spec}", found, "name it by --device, or add --allow-import if you trust it"
            )
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
    """The training stages, and the search whose network they train; a row a stage.

    Of several processes (torchrun) only the first has rows.
    """
    if not recipe.train:
        raise UsageError(f"train {recipe.name}", "the recipe has no train stages", "add some under `train:`")
    done = _trained(Run(recipe, out, trust, say))
    stages = {name: item for name, item in done.items() if name not in SEARCHING}
    return [training.stage_row(name.removeprefix("train-"), item.artifact) for name, item in stages.items()]


def search_recipe(recipe: Recipe, out: Path, trust: Trust, say: Say) -> dict[str, Any] | None:
    """The search alone: what it found, and whether the latency budget holds; None for all processes but the first."""
    if recipe.search is None:
        raise UsageError(f"search {recipe.name}", "the recipe has no search section", "add one under `search:`")
    run = Run(recipe, out, trust, say)
    done = _together(run, [step for step in run.steps if step.name in SEARCHING], [recipe.search.fit])
    return searching.found_row(run.folder("search")) if done else None


def _trained(run: Run) -> dict[str, Done]:
    searches = [run.recipe.search.fit] if run.recipe.search else []
    steps = [step for step in run.steps if step.together or step.name in SEARCHING]
    return _together(run, steps, [*searches, *(stage.fit for stage in run.recipe.train)])


def _together(run: Run, steps: list[Step], fits: Sequence[Mapping[str, Any]]) -> dict[str, Done]:
    with together(max(fit.get("timeout_s", TIMEOUT_S) for fit in fits)) as among:
        return execute(steps, run.out, run.say, among)


def run_recipe(recipe: Recipe, out: Path, trust: Trust, say: Say, command: str) -> Table | None:
    """Everything: steps that are not there yet, then verdicts and the report from what lies on disk.

    Several processes (torchrun) train together; the first does the rest alone, and for the others the end is None.
    """
    run = Run(recipe, out, trust, say, command)
    if (recipe.train or recipe.search) and launched() and not _trained(run):
        return None
    done = execute(run.steps, out, say)
    table = _conclude(run, done)
    say(f"{save_report(out, table.report)}")
    return table


def _conclude(run: Run, done: Mapping[str, Done]) -> Table:
    """Judge what was measured: cheap, so that a changed limit repeats nothing else."""
    bench = records.load(BenchRecord, run.folder("bench") / "bench.json") if run.recipe.bench else None
    evidence = Evidence(
        training.evaluation_of(run.data),
        load_outputs(run.folder("outputs")),
        run.bundle,
        bench,
        run.data.skipped,
        searching.shown(run.folder("search")) if run.recipe.search else None,
        searching.budget_of(run.recipe.search),
        load_verdicts(run.folder("quantize")),
        load_effects(run.folder("quantize")),
        load_controls(run.folder("quantize")),
    )
    judgement = judge(evidence, run.recipe.limits, run.recipe.targets)
    judgement = explained(judgement, evidence, training.evaluation_inputs(run.data), run.say)
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
