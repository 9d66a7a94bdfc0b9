"""A real browser: Debian's Chromium driven by Playwright, and JupyterLab in it as `make lab` starts it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from playwright.sync_api import Browser, Page, sync_playwright
from slurm_cluster import free_ports

SCREENSHOTS = REPOSITORY / "build" / "screenshots"
"""Where pictures of pages are left to be looked at; git ignores it."""

WIDTH, HEIGHT, TALLEST = 1280, 900, 12_000
"""Pixels of a window, and of the tallest picture."""

START, LONGEST_RUN = 300.0, 600.0
"""Seconds that JupyterLab and one notebook get on a machine with other work."""


def chromium() -> str:
    """Debian's Chromium; where it is not there, the test that asks is skipped."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Debian's chromium is not installed")
    return found


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Chromium without a screen. Its sandbox is off where root runs it, which it refuses otherwise."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser) -> Page:
    """An empty page; waits for a page's parts are as long as a busy machine needs."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(1000 * START)
    return page


def keep_picture(page: Page, name: str, element: str | None = None) -> None:
    """A picture of the page, or of one element of it, among `SCREENSHOTS`."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    if element is None:
        page.screenshot(path=path, full_page=True)
    else:
        page.locator(element).screenshot(path=path)


# --- JupyterLab -------------------------------------------------------------------------------------------------------

SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
"""Lab keeps cells outside the window in the page, for pictures of whole notebooks, and asks for no news."""

STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const kernel = panel?.sessionContext?.session?.kernel;
  const cells = panel?.content?.model?.toJSON().cells ?? [];
  return {kernel: kernel?.status ?? null, pending: panel?.sessionContext?.pendingInput ?? false, cells};
}"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab and a page of the browser on it."""

    address: str
    token: str
    page: Page

    def open(self, notebook: str) -> None:
        """Open a notebook below the server's folder and wait for its kernel; the one that was open is shut."""
        self.page.goto(f"{self.address}/lab/tree/{notebook}?reset&token={self.token}")
        self.page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
        self._until(lambda state: state["kernel"] == "idle")

    def run_all(self) -> list[dict[str, Any]]:
        """Menu Run → Run All Cells, until every cell has run or one has failed; the notebook's cells then."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
        self.page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        return self._until(_finished)["cells"]

    def run_last(self) -> list[dict[str, Any]]:
        """Shift+Enter on the last cell; the notebook's cells then."""
        cell = self.page.locator(".jp-Notebook .jp-CodeCell").last
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        return self._until(lambda state: bool(code_cells(state["cells"])[-1]["execution_count"]))["cells"]

    def keep_picture(self, name: str) -> None:
        """The whole notebook as one picture: the window is made as tall as it is."""
        inside = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer"
        tall = self.page.locator(inside).evaluate("e => e.scrollHeight")
        self.page.set_viewport_size({"width": WIDTH, "height": min(int(tall) + 120, TALLEST)})
        self.page.locator(inside).evaluate("e => e.scrollTo(0, 0)")
        self.page.wait_for_timeout(1000)
        keep_picture(self.page, name, ".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})

    def until(self, condition: Callable[[], bool]) -> None:
        """Until a condition on what the page shows holds."""
        give_up = time.monotonic() + START
        while not condition():
            assert time.monotonic() < give_up, "the page does not get on"
            self.page.wait_for_timeout(200)

    def _until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The open notebook's state once a condition holds of it, twice in a row."""
        give_up, held = time.monotonic() + LONGEST_RUN, 0
        while True:
            state = self.page.evaluate(STATE)
            held = held + 1 if condition(state) else 0
            if held == 2:
                return state
            assert time.monotonic() < give_up, f"the notebook does not get on: kernel {state['kernel']}"
            self.page.wait_for_timeout(500)


def code_cells(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells with code in them."""
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


def _finished(state: dict[str, Any]) -> bool:
    cells = code_cells(state["cells"])
    ran = all(cell["execution_count"] for cell in cells)
    return bool(cells) and state["kernel"] == "idle" and (ran or bool(errors_of(cells)))


def errors_of(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs of cells that are errors."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output for output in outputs if output["output_type"] == "error"]


@contextmanager
def jupyter_lab(folder: Path, place: Path, variables: Mapping[str, str]) -> Iterator[Lab]:
    """JupyterLab on ``folder``, as `make lab` starts it, at a free port of the loopback address; ended at the end.

    ``place`` takes its settings and its log.
    """
    (port,), token = free_ports(1), secrets.token_hex(16)
    settings = place / "settings"
    settings.mkdir(parents=True)
    (settings / "overrides.json").write_text(json.dumps(SETTINGS))
    command = [
        *(str(Path(sys.executable).parent / "jupyter"), "lab", "--LabApp.default_url=/lab/tree/notebooks"),
        *("--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *("--LabApp.expose_app_in_browser=True", f"--LabApp.app_settings_dir={settings}"),
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    environment = {**os.environ, **variables, "JUPYTER_TOKEN": token, "JUPYTER_PREFER_ENV_PATH": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}
    environment |= {"JUPYTER_CONFIG_DIR": str(place / "config"), "JUPYTERLAB_SETTINGS_DIR": str(place / "user")}
    with (place / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for_server(server, f"{address}/api?token={token}", place / "lab.log")
        with opened_browser() as browser:
            yield Lab(address, token, new_page(browser))
    finally:
        server.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for_server(server: subprocess.Popen, address: str, log: Path) -> None:
    give_up = time.monotonic() + START
    while True:
        with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(address, timeout=5):
            return
        assert server.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < give_up, "JupyterLab does not come up"
        time.sleep(0.3)
