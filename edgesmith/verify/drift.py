"""The drift atlas: where, by module path, each exported model leaves its original, and what it looks like.

Two errors a layer: propagated (on what the artefact itself computed before it) and local (fed the original's values).
A layer is under suspicion when its local error is more than its precision explains (noise.py), so that the ordinary
noise of int8 accuses nobody. Where a runtime cannot inject, local errors are not measured and nothing is accused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgesmith.artifact import Exported
from edgesmith.errors import UsageError
from edgesmith.graph.layers import Layer, Original, layers
from edgesmith.graph.program import Program
from edgesmith.metrics import sqnr_db
from edgesmith.results import Drift, Suspect, TargetDrift
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import TARGETS, target
from edgesmith.tensors import Arrays
from edgesmith.verify.noise import Precision, intended
from edgesmith.verify.shared import Ends, shared_widths
from edgesmith.verify.suspect import Excess, Means, cause, channel_means, excess
from edgesmith.verify.taps import CHUNK_BYTES, Seen, Taps

NOT_INJECTED = "local errors not measured: {} cannot be fed inside; the rows are propagated errors only"
_LARGEST = 1e30
Say = Callable[[str], None]


def atlas(
    program: Program,
    artefacts: Mapping[str, Exported],
    feed: Arrays,
    say: Say = lambda text: None,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[TargetDrift, ...]:
    """Compare every artefact with the original, layer by layer, on the same inputs.

    feed: the model's inputs, a few real samples; the noise of int8 is judged on these. chunk_bytes: of layer values
    held at once.
    Raises: UsageError for a layer that is random, inputs that do not fit or outputs of the original that are not
    finite; EngineFailed.
    """
    original = Original(program, feed)
    for name, array in original.outputs().items():
        if not np.isfinite(array).all():
            raise UsageError("compare with the original", f"its output {name!r} holds NaN", "check the inputs")
    found = []
    for name, exported in artefacts.items():
        say(f"{name}: layer by layer ...")
        found.append(drift(name, exported, original, chunk_bytes))
    return tuple(found)


def drift(name: str, exported: Exported, original: Original, chunk_bytes: int = CHUNK_BYTES) -> TargetDrift:
    """One artefact beside the original. Raises: UsageError when its record names no layer, or one not in the file."""
    places = layers(original.program, exported.layer_names)
    if not places:
        found = "its record names no layer of this model"
        raise UsageError(f"compare {name} layer by layer", found, "export it with edgesmith, from this model")
    with RUNTIMES.get(exported.runtime).open(exported, RunOptions()) as session:
        if not session.can_tap:
            note = f"not measured: {session.engine} cannot show what is inside"
            return TargetDrift(name, session.engine, (), (), 0, (note,))
        feed = {spec.name: original.feed[spec.name].astype(spec.numpy_type) for spec in exported.inputs}
        return _compared(name, Taps(session, exported, original, feed, chunk_bytes), places)


def _compared(name: str, taps: Taps, places: Sequence[Layer]) -> TargetDrift:
    rows, means, ends, changed = _propagated(taps, places)
    precision = _precision(taps, ends)
    notes, suspects = [*changed, *_precision_note(taps)], []
    if taps.session.can_inject:
        for seen in (one for chunk in taps.local(places) for one in chunk):
            path = seen.layer.path
            judged = _judge(taps, seen, means[path] if seen.layer.weighted else None, precision)
            rows[path] = _with_local(rows[path], seen, judged)
            if judged.most > 1 or not np.isfinite(seen.found).all():
                suspects.append(_suspect(seen, judged, taps.exported.precision))
    else:
        notes.append(NOT_INJECTED.format(taps.session.engine))
    ranked = tuple(sorted(suspects, key=lambda one: -one.excess))
    table = tuple(rows[layer.path] for layer in places)
    return TargetDrift(name, taps.session.engine, table, ranked, len(next(iter(taps.feed.values()))), tuple(notes))


def _propagated(
    taps: Taps, places: Sequence[Layer]
) -> tuple[dict[str, Drift], dict[str, Means], dict[str, Ends], list[str]]:
    plain = taps.session.run(taps.feed)
    notes = [f"output {n!r} is not finite" for n, array in plain.items() if not np.isfinite(array).all()]
    rows: dict[str, Drift] = {}
    means: dict[str, Means] = {}
    ends: dict[str, Ends] = {}
    worst = 0.0
    for chunk, answer in taps.propagated(places):
        worst = max(worst, *(_change(plain[spec.name], answer[spec.name]) for spec in taps.exported.outputs))
        for seen in chunk:
            path, factor = seen.layer.path, taps.factor(seen.layer.path, seen.reference)
            rows[path], means[path] = _row(seen), channel_means(seen)
            ends[path] = _ends(seen.reference if factor is None else seen.reference * factor)
    if worst > 1e-5:
        notes.append(f"tapping changed the outputs by up to {worst:.1e} of their size")
    return rows, means, ends, notes


def _change(plain: np.ndarray, tapped: np.ndarray) -> float:
    if not np.isfinite(plain).all():
        return 0.0
    size = float(np.abs(plain).max(initial=0.0)) or 1.0
    return float(np.abs(plain - tapped).max(initial=0.0)) / size


def _precision_note(taps: Taps) -> list[str]:
    said, executed = taps.exported.precision, taps.session.precision
    return [f"the file is {said}, the runtime executes {executed}"] if said != executed else []


def _row(seen: Seen) -> Drift:
    sqnr, cosine, most = _distances(seen)
    return Drift(seen.layer.path, seen.layer.operators[-1], sqnr, cosine, most, members=seen.layer.members)


def _distances(seen: Seen) -> tuple[float | None, float | None, float | None]:
    """SQNR in dB, cosine, largest difference; None where the value is not finite."""
    if not np.isfinite(seen.found).all():
        return None, None, None
    x, y = seen.reference.astype(np.float64).ravel(), seen.found.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    noise = float(np.square(x - y).sum())
    ratio = sqnr_db(float(x @ x), noise)
    cosine = float(x @ y) / lengths if lengths else None
    return ratio, cosine, float(np.abs(x - y).max(initial=0.0))


def _with_local(row: Drift, seen: Seen, judged: Excess) -> Drift:
    sqnr, cosine, _ = _distances(seen)
    return Drift(
        row.layer, row.op, row.sqnr_db, row.cosine, row.max_abs, sqnr, cosine, _finite(judged.most), row.members
    )


def _ends(array: np.ndarray) -> Ends:
    return float(array.min(initial=0.0)), float(array.max(initial=0.0))


def _precision(taps: Taps, ends: Mapping[str, Ends]) -> Precision:
    """What the artefact is said to compute in; ends: least and largest values of the original's layers."""
    exported = taps.exported
    rules = target(exported.target).rules if exported.target in TARGETS else None
    shared = shared_widths(taps.original.program, ends, rules, exported.instruction_set) if rules is not None else {}
    return Precision(exported.precision, 7 if exported.instruction_set == "x86" else 8, shared)


def _judge(taps: Taps, seen: Seen, own: Means | None, precision: Precision) -> Excess:
    factor = taps.factor(seen.layer.path, seen.reference)
    expected = intended(taps.original, seen.layer, seen.given, precision, factor)
    return excess(seen, expected, own, precision.name == "int8", factor)


def _suspect(seen: Seen, judged: Excess, precision: str) -> Suspect:
    told, evidence = cause(seen, judged, precision)
    return Suspect(seen.layer.path, _finite(judged.most), told, evidence)


def _finite(value: float) -> float:
    """JSON has no infinity: what is not finite is a large number."""
    return min(value, _LARGEST) if value == value else _LARGEST
