"""Ask an interpreter on a device what its machine is."""

from __future__ import annotations

import json
from dataclasses import replace

from edgesmith import records
from edgesmith.devices.processes import Completed
from edgesmith.errors import MissingResource
from edgesmith.results import DeviceInfo

# For `python -c`, with the worker's sources on the path.
QUESTION = "import json; from edgesmith import records; from edgesmith.devices.facts import this_machine; "
QUESTION += "print(json.dumps(records.to_json(this_machine())))"


def told(name: str, answer: Completed) -> DeviceInfo:
    """The facts in an answer to QUESTION. Raises: MissingResource, DamagedArtifact."""
    try:
        found = records.from_json(DeviceInfo, json.loads(answer.stdout))
    except ValueError as error:
        last = answer.stderr.strip().splitlines()[-1:] or ["no answer"]
        raise MissingResource(f"ask {name} what it is", last[0], "install numpy there") from error
    return replace(found, name=name)
