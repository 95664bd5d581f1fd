"""The page in a real browser: no console message, every plot drawn, nothing loaded from elsewhere, fit for a phone."""

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
# Put into the page by the test, to measure it: opens all that is folded, so that every plot is drawn.
PROBE = """<script>
document.querySelectorAll("details").forEach((one) => { one.open = true; });
setTimeout(() => {
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = plots.filter((one) => one.querySelector(".scatterlayer .trace path, .barlayer .trace path"));
  const resources = performance.getEntriesByType("resource").length;
  document.title = [document.documentElement.scrollWidth, innerWidth, plots.length, drawn.length, resources].join(" ");
}, 500);
</script></body>"""


def opened(page: str, folder: Path, width: int, *more: str) -> tuple[list[str], str]:
    """The words of the probe, and what the browser wrote to its log."""
    file = folder / "report.html"
    text, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert policies == 1  # it forbids other scripts, so it stands aside for the probe
    file.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    argv = [CHROMIUM, *FLAGS, *more, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run([*argv, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.split("<title>")[1].split("</title>")[0].split(), done.stderr


@pytest.mark.needs(program=Path(CHROMIUM).name)
@pytest.mark.parametrize(
    "width, more", [(1440, ()), (500, ("--blink-settings=preferredColorScheme=0",))], ids=["light", "dark"]
)
def test_the_page_fits_draws_everything_and_loads_nothing(tmp_path: Path, width: int, more: tuple[str, ...]) -> None:
    words, log = opened(render(report()), tmp_path, width, *more)
    needed, there, plots, drawn, resources = map(int, words)
    assert needed <= there, "the page itself must not scroll sideways"
    assert plots == drawn > 3 and resources == 0
    assert "CONSOLE" not in log


@pytest.mark.needs(program=Path(CHROMIUM).name)
def test_the_policy_lets_our_scripts_run_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    evil = '<script>document.title = "evil"</script><img src="x" onerror="document.title = \'evil\'"></body>'
    file.write_text(render(report()).replace("</body>", evil), encoding="utf-8")
    argv = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    assert "<title>A small run</title>" in done.stdout and "main-svg" in done.stdout
    assert "Content Security Policy" in done.stderr
