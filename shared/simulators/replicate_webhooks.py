"""Webhooks of the simulated Replicate: signed as the real ones, sent from threads of their own, faults included.

A delivery never happens inside a request of a client, because a receiver that answers one request at a time may be
just that client. Source: replicate.com/docs/topics/webhooks; the signatures are those of standardwebhooks.com.
"""

from __future__ import annotations

import base64
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx

from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import Later, VendorCore

Sent = Mapping[str, Any]

LATE_S = 900.0
ANSWER_S = 5.0  # within which a receiver must answer
AGAIN_AFTER_S = (10.0, 20.0)  # an end that was not taken is sent again
FORGED_SECRET = "whsec_" + base64.b64encode(b"the secret of somebody else").decode()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One sent webhook; *status* is the receiver's answer, None when there was none."""

    id: str
    url: str
    status: int | None


class Webhooks:
    """Signs and sends; safe in threads.

    Attributes:
        secrets: the present one first; all of them sign, so that receivers can change over.
        deliveries: what was sent, in the order in which the answers came.
    """

    def __init__(self, core: VendorCore) -> None:
        self._core = core
        self.secrets = [core.webhook_secret]
        self.deliveries: list[Delivery] = []
        self._planned: list[Later] = []
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def rotate(self, secret: str) -> None:
        """Make *secret* the present one; the one before signs on."""
        self.secrets = [secret, *self.secrets[:1]]

    def plan(self, after_s: float, action: Callable[[], None]) -> Later:
        """Let *action*, which sends, happen *after_s* seconds from now by the clock."""
        due = self._core.later(after_s, action)
        with self._lock:
            self._planned.append(due)
        self._act()
        return due

    def send(self, url: str, webhook_id: str, prediction: Sent, call: VendorCall, attempt: int = 0) -> None:
        """Start the delivery of *prediction*, under the webhook faults of *call*."""
        thread = threading.Thread(
            target=self._run, args=(url, webhook_id, prediction, call, attempt), name="replicate-webhook", daemon=True
        )
        with self._lock:
            self._threads.add(thread)
            thread.start()

    def wait(self) -> None:
        """Return when everything that is due by the clock has been sent, also what another thread is just sending."""
        self._act()
        while True:
            with self._lock:
                threads = list(self._threads)
            if not threads:
                return
            for thread in threads:
                thread.join()

    def _act(self) -> None:
        """Let what is due happen, and forget it."""
        with self._lock:
            planned = list(self._planned)
        over = {each for each in planned if each.happened()}
        with self._lock:
            self._planned = [each for each in self._planned if each not in over]

    def _run(self, url: str, webhook_id: str, prediction: Sent, call: VendorCall, attempt: int) -> None:
        try:
            body = json.dumps(prediction, separators=(",", ":")).encode()
            for _ in range(2 if call.has("webhook_duplicate") else 1):
                taken = self._post(url, webhook_id, body, is_forged=call.has("webhook_forged"))
            if not taken and prediction["completed_at"] is not None and attempt < len(AGAIN_AFTER_S):
                again = (url, webhook_id, prediction, call, attempt + 1)
                self.plan(AGAIN_AFTER_S[attempt], lambda: self.send(*again))
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _post(self, url: str, webhook_id: str, body: bytes, *, is_forged: bool) -> bool:
        signed_at = str(int(self._core.clock.now().timestamp()))
        secrets = [FORGED_SECRET] if is_forged else self.secrets
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": signed_at,
            "webhook-signature": " ".join(signature(each, webhook_id, signed_at, body) for each in secrets),
        }
        try:
            with httpx.Client(timeout=ANSWER_S, trust_env=False, verify=_tls()) as client:
                status = client.post(url, content=body, headers=headers).status_code
        except httpx.HTTPError:
            status = None
        with self._lock:
            self.deliveries.append(Delivery(webhook_id, url, status))
        return status is not None and httpx.codes.is_success(status)


def signature(secret: str, webhook_id: str, signed_at: str, body: bytes) -> str:
    """Return `v1,` and the base64 of the HMAC-SHA256 over id, time and body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{webhook_id}.{signed_at}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()
