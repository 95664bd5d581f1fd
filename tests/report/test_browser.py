"""The page in a real browser: no console message, nothing loaded from elsewhere, readable on a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgesmith.report.html import render
from tests.report.sample import report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)
# The only script there is: put into the page by the test, to measure it.
PROBE = (
    "<script>document.title = [document.documentElement.scrollWidth, window.innerWidth, document.images.length, "
    "performance.getEntriesByType('resource').length].join(' ')</script></body>"
)


@pytest.mark.needs(program=Path(CHROMIUM).name)
@pytest.mark.parametrize("width", [1440, 500])
def test_the_page_fits_and_loads_nothing(tmp_path: Path, width: int) -> None:
    page = tmp_path / "report.html"
    text, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", render(report()))
    assert policies == 1  # it forbids scripts, so it stands aside for the probe
    page.write_text(text.replace("</body>", PROBE))
    argv = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom"]
    done = subprocess.run([*argv, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    title = done.stdout.split("<title>")[1].split("</title>")[0]
    needed, there, pictures, resources = (int(word) for word in title.split())
    assert needed <= there, "the page itself must not scroll sideways"
    assert (pictures, resources) == (0, 0)
    assert "CONSOLE" not in done.stderr
