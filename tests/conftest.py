"""The `needs` marker, and the list at the end of what was not proven on this machine."""

from __future__ import annotations

import os
import platform
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from edgesmith.plugins import is_installed

# A skip for any other reason fails a STRICT run.
ALLOWED = ("gpu", "darwin", "linux", "cpu", "data", "slow", "tensorrt", "executorch", "coreai_torch", "arm64", "uv")
_skipped: dict[str, list[str]] = defaultdict(list)


def _missing(marker: pytest.Mark) -> str | None:
    """Why this machine cannot run a marked test, or None. Reasons start with a word of ALLOWED where they may."""
    for module in marker.args:
        if not is_installed(module):
            return f"{'tensorrt' if module.startswith('tensorrt') else module}: module {module} is not installed"
    if marker.kwargs.get("gpu") and shutil.which("nvidia-smi") is None:
        return "gpu: no NVIDIA GPU"
    host = marker.kwargs.get("host")
    if host and platform.system().lower() != host:
        return f"{host}: this is {platform.system()}"
    data = marker.kwargs.get("data")
    if data:
        root = os.environ.get("EDGESMITH_DATA")
        if not root or not (Path(root) / data).exists():
            return f"data: set EDGESMITH_DATA to a folder that has {data}"
    if marker.kwargs.get("arm64_root") and not os.environ.get("EDGESMITH_ARM64_ROOT"):
        return "arm64: set EDGESMITH_ARM64_ROOT to the folder of an arm64 system (docs/devices.md)"
    programs = marker.kwargs.get("program", ())
    for program in (programs,) if isinstance(programs, str) else programs:
        # Servers such as sshd stand where only root's PATH looks.
        if shutil.which(program) is None and shutil.which(program, path="/usr/sbin:/sbin") is None:
            return f"{program}: not on the PATH"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    by_hand = "slow" in (config.option.markexpr or "")
    for item in items:
        reasons = [reason for marker in item.iter_markers("needs") if (reason := _missing(marker))]
        if item.get_closest_marker("slow") and not by_hand:
            reasons.append("slow: run by hand with -m slow")
        if reasons:
            item.add_marker(pytest.mark.skip(reason=reasons[0]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        _skipped[reason].append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _skipped:
        return
    terminalreporter.section("not proven here")
    for reason, tests in sorted(_skipped.items()):
        terminalreporter.line(f"{reason} ({len(tests)})")
        for test in tests:
            terminalreporter.line(f"  {test}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    strict = os.environ.get("STRICT") == "1"
    forbidden = [reason for reason in _skipped if not reason.startswith(tuple(f"{word}:" for word in ALLOWED))]
    if strict and forbidden and exitstatus == 0:
        print(f"\nSTRICT: skipped for a reason that is not allowed: {forbidden}")
        session.exitstatus = 1
