"""Plans on disk, and what each amounts to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesmith import records
from edgesmith.errors import MissingResource
from edgesmith.graph.program import Program, check_program
from edgesmith.pipeline.float_layers import FloatLayer
from edgesmith.quant import EdgeQuant, QuantPlan, RangeRecord
from edgesmith.targets import target


def save_plans(out: Path, ranges: RangeRecord, plans: Mapping[str, QuantPlan]) -> None:
    """ranges.json and plan-<family>.json in a folder."""
    records.save(out / "ranges.json", ranges)
    for family, plan in plans.items():
        records.save(out / f"plan-{family}.json", plan)


def load_plans(folder: Path) -> dict[str, QuantPlan]:
    """The plans save_plans wrote."""
    found = [records.load(QuantPlan, path) for path in sorted(folder.glob("plan-*.json"))]
    return {plan.family: plan for plan in found}


def plans_for(program: Program, folder: Path, names: Sequence[str]) -> dict[str, QuantPlan]:
    """The plans of a folder, for this very program. Raises: UsageError, MissingResource."""
    needed = {str(target(name).family) for name in names if target(name).family}
    plans = {family: plan for family, plan in load_plans(folder).items() if family in needed}
    missing = sorted(needed - set(plans))
    if missing:
        raise MissingResource(f"use the plans of {folder}", f"no plan-{missing[0]}.json", "make it: edgesmith quantize")
    for plan in plans.values():
        check_program(program, plan)
    return plans


def plan_row(plan: QuantPlan, out: Path, floats: Sequence[FloatLayer] = ()) -> dict[str, Any]:
    """What a plan amounts to, for a table. floats: what it leaves in float (float_layers.py)."""
    forms = list(plan.rewrites.values())
    return {
        "family": plan.family,
        "edges": sum(isinstance(edge, EdgeQuant) for edge in plan.edges.values()),
        "float_layers": sum(precision != "int8" for precision in plan.precision.values()),
        "macs_in_float": sum(layer.macs_share for layer in floats),
        "rewrites": ", ".join(f"{form} x{forms.count(form)}" for form in sorted(set(forms))),
        "isa": plan.instruction_set,
        "notes": plan.notes,
        "digest": plan.digest(),
        "file": out / f"plan-{plan.family}.json",
        "in_float": floats,
    }
