from __future__ import annotations

from dataclasses import replace

from edgesmith.report.sections.energy import section
from edgesmith.report.wording import joules
from edgesmith.results import Energy, Interval
from tests.report.sample import bench, report


def with_energy(*energies: Energy):  # type: ignore[no-untyped-def]
    record = bench()
    first = replace(record.measurements[0], energy=energies)
    return report(bench=replace(record, measurements=(first, *record.measurements[1:])))


def test_a_row_a_target_and_gauge_with_what_was_subtracted() -> None:
    made = with_energy(Energy("RAPL <0>", Interval(0.012, 0.011, 0.013), Interval(0.004, 0.003, 0.005), 8.25))
    part = section(made)
    assert part is not None and "RAPL &lt;0&gt;" in part.body
    assert all(text in part.body for text in ("torch-fp32", "12 mJ", "11 mJ", "4 mJ", "8.25 W"))
    assert made["energy"]["torch-fp32"][0]["net_joules"]["value"] == 0.004


def test_what_was_not_counted_stands_among_the_gaps() -> None:
    made = with_energy(Energy("RAPL", reason="no permission to read energy_uj"))
    assert section(made) is None
    gap = {"target": "torch-fp32", "what": "energy RAPL", "reason": "no permission to read energy_uj"}
    assert gap in made["not_measured"]


def test_joules_have_a_unit_that_fits() -> None:
    assert [joules(value) for value in (2.5, 0.0123, 4.2e-5, -0.002, None)] == [
        "2.5 J",
        "12.3 mJ",
        "42 µJ",
        "−2 mJ",
        "–",
    ]
