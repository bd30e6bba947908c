"""A simulator of Cloud Storage that runs on a thread: preconditions, checksums, resumable uploads, signed URLs, faults.

The emulators one can install ignore preconditions, on which "exactly one output" rests. Clients find this one by
`STORAGE_EMULATOR_HOST`, the `gcloud` command by `CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.log import log
from shared.simulators.cloud_storage_api import Api
from shared.simulators.cloud_storage_http import Fault, Server
from shared.simulators.cloud_storage_objects import Metadata, Objects, StoredObject


class CloudStorage:
    """Buckets and objects behind `url`, which is on this machine only. What is stored outlives `stop`, not the object.

    Args:
        port: 0 takes a free one, and keeps it for a later `start`.
        on_finalize: called with the metadata of each new object once it can be read, by the thread that answers the
            upload; what it raises is logged.
        keys: public keys by account; with them every signed URL is verified. Without, only its time is.
    """

    def __init__(
        self,
        port: int = 0,
        on_finalize: Callable[[Metadata], None] | None = None,
        *,
        keys: Mapping[str, RSAPublicKey] | None = None,
    ) -> None:
        self._port, self._on_finalize = port, on_finalize
        self._objects = Objects()
        self._api = Api(self._objects, self._finalized, keys or {})
        self._faults: list[Fault] = []
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Where it listens, once it was started."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = Server(self._port, self._api.respond, self._faults)
        self._port = self._server.server_port
        self._objects.url = self.url

    def stop(self) -> None:
        """Close the port and all connections; does nothing when it is not running."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket. Raises Refused when there is one, or when no bucket can have this name."""
        self._objects.create_bucket({"name": name})

    def fail(self, match: str = "", **fault: Any) -> Fault:
        """Make coming requests fail; arguments are those of `Fault`, whose `times` tells how many are still due."""
        added = Fault(match, **fault)
        self._faults.append(added)
        return added

    def mend(self) -> None:
        """Take back all faults."""
        self._faults.clear()

    def _finalized(self, stored: StoredObject) -> None:
        if self._on_finalize is None:
            return
        try:
            self._on_finalize(dict(stored.metadata))
        except Exception:  # noqa: BLE001 - the upload is done; what a listener does about it is its own
            log.exception("cloud_storage.on_finalize")
