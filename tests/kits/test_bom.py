"""The bill of materials holds against CycloneDX's own schema, and says what was measured."""

from __future__ import annotations

import json

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgesmith.kits.bom import bill
from tests.kits.runs import PROVENANCE
from tests.report.sample import report

FILES = {"ort-int8": {"artifacts/ort-int8/model.onnx": "a" * 64}, "never-timed": {"artifacts/x/model.bin": "b" * 64}}


def test_it_is_valid_and_complete() -> None:
    text = bill(report(provenance=PROVENANCE), FILES, "Apache-2.0 OR MIT")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    found = json.loads(text)
    components = {component["name"]: component for component in found["components"]}
    assert set(components) == {"ort-int8", "never-timed", "torch", "onnx", "data of the run"}
    assert components["torch"]["purl"] == "pkg:pypi/torch@2.13.0"
    (file,) = components["ort-int8"]["components"]
    assert file["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    metrics = components["ort-int8"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {metric["type"]: metric["value"] for metric in metrics}["top1"] == "0.96"
    assert components["never-timed"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == []
    assert found["metadata"]["timestamp"].startswith("2026-01-02")


def test_it_is_the_same_each_time_and_needs_little() -> None:
    bare = report(provenance={})
    assert bill(bare, FILES) == bill(bare, FILES)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill(bare, {}).decode()) is None
