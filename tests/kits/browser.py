"""A module in headless Chromium, the folder of its page served on loopback."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
FLAGS = ("--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync")
PAGE = """<!doctype html><html><head><title>waiting</title></head><body><script type="module">
{code}
let said;
try {{ said = await answer(); }} catch (error) {{ said = `${{error.name}}: ${{error.message}}`; }}
await fetch('/answer', {{ method: 'POST', body: String(said) }});
</script></body></html>
"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: object, said: list[str], done: threading.Event, **options: object) -> None:
        self.said, self.done = said, done
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        self.said.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()
        self.done.set()

    def log_message(self, *args: object) -> None:
        """Nothing: the test says what it found."""


def answer(folder: Path, code: str, limit_s: float = 60.0) -> str:
    """What `answer()` of the module gave, as text; an exception as its message."""
    (folder / "asked.html").write_text(PAGE.format(code=code))
    said: list[str] = []
    done = threading.Event()
    handler = partial(_Handler, directory=str(folder), said=said, done=done)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/asked.html"
        argv = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", url]
        browser = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done.wait(limit_s)
        finally:
            browser.terminate()
            browser.wait(20)
            server.shutdown()
            thread.join()
    return said[0] if said else f"no answer in {limit_s} s"
