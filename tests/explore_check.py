"""Run the exploration notebook without a screen and look for errors, also in what its widgets printed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import papermill
from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type

from qkld.study.paths import project_root
from qkld.workflow.notebooks import kernel_environment

EXPLORER = Path("notebooks") / "explore" / "study.ipynb"
LONGEST_CELL = 300
"""Seconds after which a cell is taken for lost."""

LOOK_AGAIN = 0.2
"""Seconds between two looks at a socket on which a reply is awaited."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class WatchedChannel(AsyncZMQSocketChannel):
    """A channel that looks again for what it waits for.

    nbclient answers a widget on the socket on which it waits for the cell's reply. A reply that comes during that send
    wakes nobody, because ZeroMQ tells of a message once, and would lie there until the wait for it is given up.
    """

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message; raises `Empty` where there is none after ``timeout`` seconds."""
        begun = time.monotonic()
        while not await self.socket.poll(int(1000 * LOOK_AGAIN)):
            if timeout is not None and time.monotonic() - begun > timeout:
                raise Empty
        return await self._recv()


class WatchedClient(AsyncKernelClient):
    """A client that waits so for replies."""

    shell_channel_class = Type(WatchedChannel)


class WatchedManager(AsyncKernelManager):
    """Starts a kernel with such a client."""

    client_factory = Type(WatchedClient, AsyncKernelClient)


def outputs_of(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every output of a notebook's cells, and those that widgets captured: a widget shows an error, it raises none."""
    for cell in notebook["cells"]:
        yield from cell.get("outputs", [])
    for store in notebook["metadata"].get("widgets", {}).values():
        for model in store.get("state", {}).values():
            yield from model.get("state", {}).get("outputs", [])


def check_explorer(repository: Path, output: Path, **parameters: Any) -> dict[str, Any]:
    """Execute the explorer with papermill in a kernel of its own and assert that it shows what it promises.

    The study is found as everywhere: through ``QKLD_ROOT`` and ``QKLD_RUNS`` of this process. Returns the notebook.
    """
    os.environ.update(kernel_environment())
    papermill.execute_notebook(
        repository / EXPLORER,
        output,
        parameters,
        kernel_name="python3",
        cwd=project_root(),
        progress_bar=False,
        execution_timeout=LONGEST_CELL,
        kernel_manager_class=WatchedManager,
    )
    notebook = json.loads(output.read_text())
    outputs = list(outputs_of(notebook))
    errors = [o for o in outputs if o["output_type"] == "error" or "Traceback" in "".join(o.get("text", ""))]
    assert not errors, errors
    views = [o for o in outputs if o["output_type"] == "execute_result" and WIDGET_VIEW in o["data"]]
    pages = ["".join(o["data"]["text/html"]) for o in outputs if "text/html" in o.get("data", {})]
    assert len(views) == 3, "a slider for the zone, an item and a window to choose"
    assert any("taken by" in page and "right" in page for page in pages), "one item under both models"
    assert "no such item" not in pages, "the item widget starts with an item"
    assert any("rgba(213,94,0" in page for page in pages), "one window, token by token"
    return notebook
