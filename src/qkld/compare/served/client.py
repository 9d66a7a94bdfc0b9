"""Asking a server over HTTP, again where it does not answer, and saying so where it never does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from qkld.compare.served.address import KEY_VARIABLE, ServedModel
from qkld.errors import ServerError

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same question may be answered; others mean that the question is refused."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds before the second attempt, doubled for each further one up to the longest."""

CONNECT_SECONDS = 10.0


class Client:
    """One server. Every call is tried `ServedModel.attempts` times, with waits between that double.

    ``wait`` is called with the seconds to wait.
    """

    def __init__(self, model: ServedModel, *, wait: Callable[[float], None] = time.sleep) -> None:
        self.model = model
        self._wait = wait
        headers = {"Authorization": f"Bearer {model.key}"} if model.key else {}
        timeout = httpx.Timeout(model.timeout, connect=min(CONNECT_SECONDS, model.timeout))
        self._http = httpx.Client(base_url=model.base_url, headers=headers, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        """The JSON at a path; see `post`."""
        return self._answer("GET", path, None, self.model.attempts)

    def post(self, path: str, body: Mapping[str, Any], *, attempts: int | None = None) -> Any:
        """The JSON that the server answers; ``attempts`` in place of the model's.

        Raises
        ------
        ServerError
            If the server refuses (any status that is not in `AGAIN`), or every attempt failed: no connection, no answer
            in time, a connection that broke, an answer that is no JSON, or a status in `AGAIN`.
        """
        return self._answer("POST", path, dict(body), attempts or self.model.attempts)

    def _answer(self, method: str, path: str, body: dict[str, Any] | None, attempts: int) -> Any:
        seconds, problem = FIRST_WAIT, ""
        for attempt in range(attempts):
            if attempt:
                self._wait(seconds)
                seconds = min(2 * seconds, LONGEST_WAIT)
            try:
                response = self._http.request(method, path, json=body)
                if response.is_success:
                    return response.json()
                problem = f"status {response.status_code}: {response.text[:400]}"
            except (httpx.TransportError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code not in AGAIN:
                raise self._refused(method, path, problem, response.status_code)
        raise ServerError(
            f"The server of '{self.model.label}' does not answer {method} {path}.",
            expected=f"an answer from {self.model.base_url} within {self.model.timeout:g} s",
            found=f"{problem}, after {attempts} attempts",
            do="start the server again and give the same command: windows that are finished are kept",
        )

    def _refused(self, method: str, path: str, problem: str, status: int) -> ServerError:
        keys = (
            f"set {KEY_VARIABLE} to the server's key" if status in (401, 403) else "correct the address or its settings"
        )
        return ServerError(
            f"The server of '{self.model.label}' refuses {method} {path}.", expected="an answer", found=problem, do=keys
        )
