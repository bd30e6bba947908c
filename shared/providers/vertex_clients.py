"""The SDK's clients: one per location, because that is part of a client's address, built once and kept."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
from google.auth.credentials import Credentials
from google.genai import Client
from google.genai.types import HttpOptions, HttpRetryOptions
from google.oauth2.credentials import Credentials as FixedToken

from shared.providers.deadline import UNTIL, bound
from shared.providers.http import ASK_S, CONNECT_S
from shared.providers.vertex_errors import begin_request

_VERSION = "v1"
_INTERACTIONS_VERSION = "v1beta1"


class Clients:
    """Clients of one project; safe in threads."""

    def __init__(self, project: str, base_url: str) -> None:
        """*base_url*: empty for Google's own; one of "http://" gets no credentials of ours."""
        self._project = project
        self._base_url = base_url
        self._clients: dict[tuple[str, str], Client] = {}
        self._lock = threading.Lock()

    def at(self, location: str) -> Client:
        """Return the client of a location; it sends every request once."""
        return self._client(location, _VERSION)

    def interactions(self, location: str) -> Any:
        """Return the Interactions API of a location, which by itself would send a create several times."""
        api = self._client(location, _INTERACTIONS_VERSION).interactions
        # `HttpRetryOptions(attempts=n)` counts repeats here, and 0 is turned into 1 on the way.
        api.sdk_configuration.retry_config = None
        return api

    def close(self) -> None:
        """Give up all connections."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, location: str, version: str) -> Client:
        with self._lock:
            if (location, version) not in self._clients:
                self._clients[location, version] = self._build(location, version)
            return self._clients[location, version]

    def _build(self, location: str, version: str) -> Client:
        # Project and location as arguments: with a base URL of its own the SDK ignores them in the environment.
        return Client(
            enterprise=True,
            project=self._project,
            location=location,
            credentials=_local() if self._base_url.startswith("http://") else None,
            http_options=HttpOptions(
                base_url=self._base_url or None,
                api_version=version,
                timeout=milliseconds(ASK_S),
                # By default the SDK's client would send a create on to wherever an answer points.
                client_args={
                    "event_hooks": {"request": [_begin], "response": [bound]},
                    "follow_redirects": False,
                },
                retry_options=HttpRetryOptions(attempts=1),
            ),
        )


def within(timeout_s: float) -> HttpOptions:
    """Return the options of one request; without a timeout the SDK waits for ever."""
    return HttpOptions(timeout=milliseconds(timeout_s))


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))


def _begin(request: httpx.Request) -> None:
    """Bound a request as a whole; its timeout is that of each step of it, connecting included."""
    begin_request()
    bounds = request.extensions["timeout"]
    request.extensions[UNTIL] = time.monotonic() + bounds["read"]
    bounds["connect"] = min(CONNECT_S, bounds["connect"])


def _local() -> Credentials:
    """For a simulator or proxy without TLS, to which a real token must never be sent. The SDK insists on some token."""
    return FixedToken(token="local")  # type: ignore[no-untyped-call]  # noqa: S106 - stands for no token at all
