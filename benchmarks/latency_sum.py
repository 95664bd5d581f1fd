"""How well does the sum of a measured table predict the latency of whole networks that it was not made from?

    python benchmarks/latency_sum.py [--work DIR] [--json FILE] [--quick]

The space is that of recipes/search-edge.yaml. A table is fitted to a balanced set of 32 whole networks by shrunk least
squares, and held against 40 random networks, all timed in the same interleaved jobs on one thread. Beside it stand the
same networks' times explained by MACs and the number of layers alone, by plain least squares, and by differences of
one choice at a time from a reference network (as many artefacts). Artefacts stay in --work, so that a run that was cut
goes on. The claim is about random members of the space; intervals of shares are Wilson's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import claims
import numpy as np

from edgesmith import intervals
from edgesmith.devices.local import LocalDevice
from edgesmith.models.genotype import Genotype
from edgesmith.pipeline.latency_table import Bench, Measuring, design, table_from, time_networks
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.searching import measurable, space_of
from edgesmith.tensors import TensorSpec

RECIPE = Path(__file__).parent.parent / "recipes" / "search-edge.yaml"
TARGETS = ("openvino-int8", "ort-int8", "ort-fp32")
CLAIMED = ("openvino-int8", "ort-int8")
DESIGNED, HELD_OUT, CLOSE = 32, 40, 0.10
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help="folder in which artefacts are kept")
    parser.add_argument("--quick", action="store_true", help="one target, few networks: no claims")
    options = parser.parse_args()
    counts, targets = ((6, 4), ("ort-fp32",)) if options.quick else ((DESIGNED, HELD_OUT), TARGETS)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in targets:
            rows += one_target(name, counts, options.work or Path(folder), compare=not options.quick)
    for row in rows:
        print(f"{row['target']:14} {row['method']:22} {describe(row)}")
    found = [] if options.quick else [claim(row) for row in rows if row["method"] == "table"]
    found = [one for one in found if one is not None]
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "latency_sum", rows, found)


def one_target(name: str, counts: tuple[int, int], work: Path, compare: bool) -> list[Row]:
    """Measure designed, single-change and random networks together, and predict the random ones in four ways."""
    space = measurable(space_of(read_recipe(RECIPE).search))  # type: ignore[arg-type]
    side = space.frame.sides
    measuring = Measuring(name, networks=counts[0])
    bench = Bench(LocalDevice(), TensorSpec("image", (1, 3, *side)), measuring, work / name, print)
    designed, others = design(space, counts[0], seed=0), [space.random(1000 + seed) for seed in range(counts[1])]
    single = one_at_a_time(space) if compare else []
    times, device = time_networks(space, [*designed, *others, *single], bench)
    known, held_out = times[: len(designed)], times[len(designed) : len(designed) + len(others)]
    table, costs = table_from(space, designed, known, measuring, device)
    rows = [row(name, "table", np.array([table.predict(one) for one in others]), held_out)]
    rows[0] |= {"shrinkage": costs.shrinkage, "left_out_error": costs.left_out_error, "entries": entries(space)}
    plain = least_squares(shares(space, designed), known)
    rows.append(row(name, "plain least squares", shares(space, others) @ plain, held_out))
    simple = least_squares(sizes(space, designed), known)
    rows.append(row(name, "MACs and layers alone", sizes(space, others) @ simple, held_out))
    if single:
        swaps = least_squares(shares(space, single), times[-len(single) :])
        rows.append(row(name, "one at a time", shares(space, others) @ swaps, held_out))
    return rows


def one_at_a_time(space: Any) -> list[Genotype]:
    """A reference network, and it with one layer of each shape changed to each other choice."""
    start = {edge.name: edge.operations[0] for edge in space.edges}
    found, seen = [space.of(start)], set()
    for edge in space.edges:
        for operation in edge.operations[1:]:
            if (space.shape(edge.name), operation) not in seen:
                seen.add((space.shape(edge.name), operation))
                found.append(space.of({**start, edge.name: operation}))
    return found


def shares(space: Any, members: list[Genotype]) -> np.ndarray:
    """Ones, and how often each (shape, operation) but a shape's first stands. Shape: (networks, columns)."""
    keys = list(dict.fromkeys((space.shape(e.name), op) for e in space.edges for op in e.operations[1:]))
    table = np.zeros((len(members), 1 + len(keys)))
    table[:, 0] = 1
    for index, member in enumerate(members):
        for edge, operation in member.choices.items():
            if (space.shape(edge), operation) in keys:
                table[index, 1 + keys.index((space.shape(edge), operation))] += 1
    return table


def sizes(space: Any, members: list[Genotype]) -> np.ndarray:
    """One, MACs of all layers in millions, number of layers. Shape: (networks, 3)."""
    macs = [[space.macs(edge, op) for edge, op in member.choices.items()] for member in members]
    return np.array([[1.0, sum(own) / 1e6, sum(value > 0 for value in own)] for own in macs])


def least_squares(columns: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Coefficients of the smallest relative error (of the smallest norm where that is open)."""
    return np.linalg.lstsq(columns / times[:, None], np.ones(len(times)), rcond=None)[0]


def entries(space: Any) -> int:
    """How many costs the table has."""
    return len({(space.shape(edge.name), op) for edge in space.edges for op in edge.operations})


def row(target: str, method: str, predicted: np.ndarray, measured: np.ndarray) -> Row:
    """Relative errors of a method on networks that it has not seen."""
    errors = predicted / measured - 1
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    return {
        "target": target,
        "method": method,
        "networks": len(errors),
        "within_10_percent": int((np.abs(errors) <= CLOSE).sum()),
        "rms_error": float(np.sqrt(np.mean(errors**2))),
        "worst_error": float(np.abs(errors).max()),
        "rank_correlation": float(np.corrcoef(*ranks)[0, 1]),
        "measured_ms": measured.tolist(),
        "predicted_ms": predicted.tolist(),
    }


def describe(row: Row) -> str:
    return (
        f"{row['within_10_percent']}/{row['networks']} within 10 %, rms {100 * row['rms_error']:.1f} %, worst "
        f"{100 * row['worst_error']:.1f} %, rank correlation {row['rank_correlation']:.3f}"
    )


def claim(row: Row) -> claims.Claim | None:
    """The share of networks within 10 %, for the targets that the recipes search on."""
    if row["target"] not in CLAIMED:
        return None
    share = intervals.wilson(row["within_10_percent"], row["networks"])
    return claims.make_claim("latency_sum", f"{row['target']} networks within 10 %", share, row["networks"])


if __name__ == "__main__":
    main()
