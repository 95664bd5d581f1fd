"""The CycloneDX ML-BOM of a run: models with their files, the packages and data they were made from.

Source: cyclonedx.org/docs/1.6/json; the library writes all but `modelCard`, which it does not know yet.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

import edgesmith

Files = Mapping[str, Mapping[str, str]]


def bill(report: Mapping[str, Any], files: Files, licence: str = "") -> bytes:
    """The bill as JSON (CycloneDX 1.6). files: target -> name in the bundle -> sha256. licence: an SPDX expression."""
    provenance = report["provenance"]
    licences = [LicenseExpression(licence)] if licence else []
    whole = Component(
        name=report["title"], type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref="model", licenses=licences
    )
    models = [_model(target, parts) for target, parts in files.items()]
    packages = [_package(*item) for item in provenance.get("versions", {}).items() if item[1] != "absent"]
    data = [_data(provenance["data"])] if provenance.get("data") else []
    bom = Bom(components=[*models, *packages, *data], serial_number=_serial(files))
    bom.metadata.component = whole
    bom.metadata.timestamp = _date(provenance.get("date", ""))
    bom.metadata.tools.components.add(Component(name="edgesmith", version=edgesmith.__version__, bom_ref="tool"))
    bom.register_dependency(whole, models)
    text = json.loads(JsonV1Dot6(bom).output_as_string())
    rows = {row["target"]: row for row in report["rows"]}
    for component in text.get("components", []):
        if component["type"] == "machine-learning-model":
            component["modelCard"] = _card(rows.get(component["name"], {}), bool(data))
    return (json.dumps(text, indent=1) + "\n").encode()


def _model(target: str, parts: Mapping[str, str]) -> Component:
    inner = [
        Component(
            name=name,
            type=ComponentType.FILE,
            bom_ref=f"file:{name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )
        for name, digest in parts.items()
    ]
    return Component(
        name=target, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=f"model:{target}", components=inner
    )


def _package(name: str, version: str) -> Component:
    place = PackageURL("pypi", name=name, version=version)
    return Component(name=name, version=version, type=ComponentType.LIBRARY, purl=place, bom_ref=str(place))


def _data(digest: str) -> Component:
    told = [Property(name="edgesmith:digest", value=str(digest))]
    return Component(name="data of the run", type=ComponentType.DATA, bom_ref="data", properties=told)


def _serial(files: Files) -> uuid.UUID:
    """The same files have the same number, so that a bundle can be made again byte for byte."""
    return uuid.uuid5(uuid.NAMESPACE_URL, json.dumps({name: dict(parts) for name, parts in files.items()}))


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        return datetime.fromtimestamp(0, timezone.utc)  # a report without a date


def _card(row: Mapping[str, Any], with_data: bool) -> dict[str, Any]:
    """What was measured of one target, each number with its interval; nothing where nothing was."""
    score, time = row.get("accuracy") or {}, row.get("p50") or {}
    found = {str(score.get("metric", "")): score, "p50 ms": time}
    metrics = [_metric(kind, cell) for kind, cell in found.items() if cell.get("value") is not None]
    card: dict[str, Any] = {"quantitativeAnalysis": {"performanceMetrics": metrics}}
    if with_data:
        card["modelParameters"] = {"datasets": [{"ref": "data"}]}
    return card


def _metric(kind: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {"lowerBound": str(cell.get("low")), "upperBound": str(cell.get("high"))}
    return {"type": kind, "value": str(cell["value"]), "confidenceInterval": bounds}
