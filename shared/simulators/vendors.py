"""Simulators of the vendors on one port: strict wire formats, real media, an own record of calls, faults on demand.

Every vendor answers at its own paths, so one base URL serves all. Of ours: GET /_sim/calls (what was accepted and
is billed), GET /_sim/faults (the plan), POST /_sim/fail (a single fault), GET /_sim/files/… (finished files).
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from shared.clock import SystemClock
from shared.log import log
from shared.ports import Clock
from shared.simulators.http_server import Answer, NotAnObject, Request, Response, Server, json_response
from shared.simulators.huggingface import HuggingFaceApi
from shared.simulators.replicate import ReplicateApi
from shared.simulators.runway import RunwayApi
from shared.simulators.vendor_core import VendorCore
from shared.simulators.vendor_faults import FAULTS, VENDORS, FaultPlan
from shared.simulators.vendor_http import Refused, VendorApi, between, check
from shared.simulators.vendor_media import FILES
from shared.simulators.vertex import VertexApi

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a secret of the simulator").decode()  # not worth hiding

_OPTIONS = ("retry_after_s?", "hang_s?", "slow_s?", "webhook_late_s?", "reason?", "code?", "status?")


class Vendors:
    """Vertex AI, Runway, Replicate and Hugging Face behind `url`, on this machine only.

    Args:
        port: 0 takes a free one.
        clock: by which operations run, quotas refill and URLs expire; a ManualClock makes waiting needless.
        faults: as `FaultPlan.parse` reads them.
        webhook_secret: what Replicate's webhooks are signed with, `whsec_` and base64.
        tokens: the one bearer token a vendor accepts, by vendor; of the others any.

    Raises:
        SettingsError: *faults* are malformed.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        clock: Clock | None = None,
        faults: Mapping[str, Any] | None = None,
        webhook_secret: str = WEBHOOK_SECRET,
        tokens: Mapping[str, str] | None = None,
    ) -> None:
        self._port = port
        self._core = VendorCore(clock or SystemClock(), FaultPlan.parse(faults), webhook_secret, tokens or {})
        vendors = (VertexApi, RunwayApi, ReplicateApi, HuggingFaceApi)
        self._apis: list[VendorApi] = [vendor(self._core) for vendor in vendors]
        self._server: Server | None = None
        self._stopping = threading.Event()
        self._ticker: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where all of them listen, once started."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = Server(self._port, self._respond, "vendors")
        self._port = self._server.server_port
        self._core.media.url = self.url
        self._stopping.clear()
        self._ticker = threading.Thread(
            target=self._core.tick, args=(self._stopping,), name="vendors-tick", daemon=True
        )
        self._ticker.start()

    def stop(self) -> None:
        """Close the port and all connections; does nothing when it is not running."""
        if self._server is None or self._ticker is None:
            return
        self._server.stop()
        self._stopping.set()
        self._ticker.join()
        self._core.media.close()
        self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def calls(self) -> list[dict[str, Any]]:
        """Return what was accepted, in that order, as it stands now by the clock; see `VendorCall`."""
        self._core.settle()
        return self._core.calls.entries(self._core.clock.now())

    def settle(self) -> None:
        """Let everything happen now that is due by the clock: files are written, webhooks sent."""
        self._core.settle()
        for wait in self._core.waits:
            wait()

    def fail(
        self,
        fault: str,
        *,
        vendor: str | None = None,
        model: str | None = None,
        operation: str | None = None,
        times: int = 1,
        **options: Any,
    ) -> None:
        """Make the next *times* creates that fit fail.

        A question that costs nothing fails only when *operation* names it: at Vertex AI `fetchPredictOperation`,
        `interactions.get`, `interactions.cancel`; reading a finished file is `file`. *options* of the fault:
        `retry_after_s`, `hang_s`, `slow_s`, and what the vendor's operation knows besides, such as `reason` of a
        blocked output or `code` of a late failure at Vertex AI. Raises ValueError: there is no such fault.
        """
        self._core.faults.add(fault, vendor, model, operation, times, options)

    def mend(self) -> None:
        """Take back the faults of `fail`; the plan stays."""
        self._core.faults.clear()

    def _respond(self, request: Request) -> Answer:
        api: VendorApi = next((each for each in self._apis if each.owns(request.path)), _Own(self._core, self))
        try:
            return api.respond(request)
        except Refused as refused:
            return api.error(refused)
        except NotAnObject:
            return api.error(Refused(400, "The body is not a JSON object.", code="INVALID_ARGUMENT"))
        except Exception:  # noqa: BLE001 - a bug here must not look like a network fault to the client
            log.exception("vendors.failed")
            return api.error(Refused(500, "the simulator failed; its log says how", code="INTERNAL"))


class _Own:
    """The simulator's own paths, and those that are nobody's."""

    name = "simulator"

    def __init__(self, core: VendorCore, vendors: Vendors) -> None:
        self._core, self._vendors = core, vendors

    def owns(self, path: str) -> bool:
        return path.startswith("/_sim/")

    def respond(self, request: Request) -> Answer:
        line = f"{request.method} {request.path}"
        if line == "GET /_sim/calls":
            return json_response({"calls": self._vendors.calls()})
        if line == "GET /_sim/faults":
            return json_response(self._core.faults.plan.document())
        if line == "POST /_sim/fail":
            return self._fail(request.json())
        if request.method in {"GET", "HEAD"} and request.path.startswith(FILES):
            fault = self._core.asked("simulator", "file")
            return self._core.sent(fault, self._core.media.serve(request))
        raise Refused(404, "there is nothing here")

    def error(self, refused: Refused) -> Response:
        return json_response({"error": refused.message}, refused.status, refused.headers)

    def _fail(self, asked: dict[str, Any]) -> Response:
        shape = {"fault": frozenset(FAULTS), "vendor?": frozenset(VENDORS), "model?": str, "operation?": str}
        options = dict.fromkeys(_OPTIONS, (str, float))
        check(asked, {**shape, "times?": between(1, 10**6), **options})
        self._vendors.fail(asked.pop("fault"), **asked)
        return json_response({})
