from pathlib import Path

import pytest

from edgesmith.errors import MissingPackage, MissingResource
from edgesmith.runtimes.coreai import CoreAIRuntime


def test_an_asset_is_not_run_and_why_is_said():
    with pytest.raises((MissingPackage, MissingResource), match=r"edgesmith\[coreai\]|macOS 27"):
        CoreAIRuntime.describe(Path("model.aimodel"))
