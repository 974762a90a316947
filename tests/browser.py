"""JupyterLab in a real browser, for the tests of widgets: whatever asks for another machine is refused and told."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lab.notebooks.stills import HOW, find_chromium

__all__ = ["HOW", "ROOT", "Browser", "browser", "find_chromium", "jupyter_lab"]
ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "build" / "browser"
HERE = ("127.0.0.1", "localhost", "::1")
SECONDS = 120  # the longest that anything may take, on a machine that has much else to do


@contextmanager
def jupyter_lab(folder: Path, app: str = "jupyterlab") -> Iterator[tuple[str, str]]:
    """A server over the notebooks of `folder`, with settings of its own: its address and its token.

    `app` is "jupyterlab", or "notebook" for Notebook 7.
    """
    private = {name: folder / ".private" / name for name in ("config", "data", "runtime", "ipython")}
    for path in private.values():
        path.mkdir(parents=True)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(private["config"]),
        "JUPYTER_DATA_DIR": str(private["data"]),
        "JUPYTER_RUNTIME_DIR": str(private["runtime"]),
        "IPYTHONDIR": str(private["ipython"]),
        "JUPYTER_CONFIG_PATH": str(ROOT / "notebooks" / ".jupyter"),
        "PYTHONPATH": str(ROOT),
        "LAB_RUNS": str(folder / "runs"),
    }
    command = [
        sys.executable, "-m", app, "--ip=127.0.0.1", "--port=0", "--no-browser", "--allow-root",
        "--expose-app-in-browser", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    with open(folder / ".private" / "server.log", "w") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield _answering(server, private["runtime"], folder / ".private" / "server.log")
    finally:
        server.terminate()  # which ends its kernels too
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()


def _answering(server: subprocess.Popen, runtime: Path, log: Path) -> tuple[str, str]:
    """Wait until the server has written down where it is."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                known = json.loads(path.read_text())
            except ValueError:  # it is being written
                continue
            return f"http://127.0.0.1:{known['port']}", known["token"]
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@dataclass
class Browser:
    """One page, and what it asked of other machines, and what it complained of."""

    page: object
    address: str
    token: str
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, name: str, under: str = "lab/tree") -> None:
        """Open a notebook of the server's folder, and wait for its kernel; Notebook 7 has them under "notebooks"."""
        # The page goes on asking the server for news, so it is never loaded in the usual sense.
        self.page.goto(
            f"{self.address}/{under}/{name}?token={self.token}&reset",
            wait_until="commit",
            timeout=1000 * SECONDS,
        )
        self.page.wait_for_selector(".jp-Notebook", timeout=1000 * SECONDS)
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp?.shell.currentWidget;
                return panel?.sessionContext?.session?.kernel?.status === "idle" && panel.context.isReady;
            }""",
            timeout=1000 * SECONDS,
        )

    def run_all(self, seconds: float = SECONDS) -> None:
        """Run all cells and wait until the kernel has run them; a cell that fails is an error."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const cells = panel.content.widgets.filter(cell => cell.model.type === "code");
                return cells.every(cell => cell.model.executionCount !== null)
                    && panel.sessionContext.session.kernel.status === "idle";
            }""",
            timeout=1000 * seconds,
        )

    def until(self, holds: Callable[[], bool], seconds: float = 30) -> bool:
        """Whether it comes to hold, in so many seconds: what is done on the page goes to the kernel and comes back."""
        end = time.monotonic() + seconds
        while not (held := holds()) and time.monotonic() < end:
            self.page.wait_for_timeout(50)
        return held

    def settle(self) -> None:
        """Wait until the kernel is idle and has been for a moment."""
        quiet = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
        self.page.wait_for_timeout(250)
        self.page.wait_for_function(quiet, timeout=1000 * SECONDS)
        self.page.wait_for_timeout(100)

    def picture(self, name: str, selector: str | None = None) -> None:
        """Keep what is seen, of one element or of the page, under build/."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        target = self.page if selector is None else self.page.locator(selector).first
        target.screenshot(path=PICTURES / f"{name}.png")


@contextmanager
def browser(chromium: str, address: str, token: str, profile: Path) -> Iterator[Browser]:
    """A page in a browser with a fresh profile that reaches nothing but this computer."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu"],
            viewport={"width": 1280, "height": 1200},
        )
        context.set_default_timeout(1000 * SECONDS)
        made = Browser(context.new_page(), address, token)

        def only_here(route):
            url = urlsplit(route.request.url)
            if url.scheme in ("data", "blob") or url.hostname in HERE:
                route.continue_()
            else:
                made.outside.append(route.request.url)
                route.abort()

        context.route("**/*", only_here)
        context.on("console", lambda said: made.errors.append(said.text) if said.type == "error" else None)
        context.on("weberror", lambda failed: made.errors.append(str(failed.error)))
        try:
            yield made
        finally:
            context.close()
