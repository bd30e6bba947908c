"""What every simulated vendor shares: the clock, faults, the record of calls, files, and what is still to come."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from shared.log import log
from shared.ports import Clock
from shared.simulators.http_server import Answer, Request, Response, Silence
from shared.simulators.vendor_calls import Calls, Units, VendorCall
from shared.simulators.vendor_faults import REFUSING, RETRY_AFTER_S, TRANSPORT, WEBHOOK, Fault, FaultPlan, Faults
from shared.simulators.vendor_http import Refused, bearer
from shared.simulators.vendor_media import Media

TICK_S = 0.05  # real seconds between two looks at what is due


class Later:
    """Something that happens once, when its time has come by the clock."""

    def __init__(self, clock: Clock, at: datetime, action: Callable[[], None]) -> None:
        self.at = at
        self._clock, self._action = clock, action
        self._lock = threading.Lock()
        self._is_done = False

    def happened(self) -> bool:
        """Let it happen if it is due; return whether it has, cancelled ones included."""
        if self._clock.now() < self.at:
            return self._is_done
        with self._lock:
            if not self._is_done:
                self._is_done = True
                self._act()
        return True

    def cancel(self) -> bool:
        """Never let it happen; return False when it has."""
        with self._lock:
            cancelled, self._is_done = not self._is_done, True
            return cancelled

    def _act(self) -> None:
        try:
            self._action()
        except Exception:  # noqa: BLE001 - a bug here must show, and must not stop the vendors
            log.exception("vendors.later")


class VendorCore:
    """The part of the simulator that no vendor has for itself; safe in threads."""

    def __init__(self, clock: Clock, plan: FaultPlan, webhook_secret: str, tokens: Mapping[str, str]) -> None:
        self.clock = clock
        self.faults = Faults(plan)
        self.calls = Calls()
        self.media = Media(clock)
        self.webhook_secret = webhook_secret
        self._tokens = tokens
        self._later: list[Later] = []
        self.waits: list[Callable[[], None]] = []  # for what was begun in threads of its own
        self._lock = threading.Lock()

    def authorize(self, vendor: str, request: Request) -> None:
        """Raise Refused (401) unless the request has a bearer token: the vendor's, where one was given."""
        bearer(request, self._tokens.get(vendor))

    def admit(
        self, vendor: str, operation: str, model: str, key: str, *, without: frozenset[str] = WEBHOOK
    ) -> Fault | None:
        """Return what will go wrong with a well-formed create; nothing is accepted yet.

        *key*: path and canonical body. *without*: faults that this operation cannot show.
        Raises Refused: 402, 404, 429, 500 or 503.
        """
        if model in self.faults.plan.retired_models:
            raise self._refusal(Fault("retired"), model)
        now = self.clock.now()
        if not self.faults.within_quota(vendor, model, now):
            wait_s = 60 - now.second - now.microsecond / 1e6
            raise self._refusal(Fault("rate_limited", {"retry_after_s": math.ceil(wait_s)}), model)
        fault = self.faults.draw(vendor, operation, model, key, without)
        if fault is not None and fault.name in REFUSING:
            raise self._refusal(fault, model)
        return fault

    def accept(
        self,
        vendor: str,
        operation: str,
        model: str,
        prompt: str,
        *,
        fault: Fault | None,
        billed: Units | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> VendorCall:
        """Write an accepted call down; from here on it is billed."""
        call = VendorCall(
            vendor, operation, model, prompt, self.clock.now(), dict(labels or {}), dict(billed or {}), fault
        )
        self.calls.add(call)
        return call

    def answer(self, call: VendorCall, response: Response) -> Answer:
        """Return *response* to a create, unless the call's fault is about how it is sent. Raises Refused (504).

        What was delivered at once into a lost answer stays "accepted", and billed.
        """
        if call.state == "delivered" and call.has("hang", "drop", "gateway"):
            call.state = "accepted"
        return self.sent(call.fault, response)

    def asked(self, vendor: str, operation: str, model: str = "") -> Fault | None:
        """Return the single fault, if any, of a question that costs nothing; only those that name the operation.

        Raises Refused for those that refuse; `sent` applies the others.
        """
        fault = self.faults.single(vendor, operation, model, named_only=True)
        if fault is not None and fault.name in REFUSING:
            raise self._refusal(fault, model or "this")
        return fault

    def sent(self, fault: Fault | None, response: Response) -> Answer:
        """Return *response* as *fault* lets it through. Raises Refused (504)."""
        if fault is None or fault.name not in TRANSPORT:
            return response
        plan = self.faults.plan
        if fault.name == "gateway":
            raise Refused(504, "Deadline expired before operation could complete.", code="DEADLINE_EXCEEDED")
        if fault.name == "slow":
            return replace(response, delay_s=float(fault.options.get("slow_s", plan.slow_s)))
        return Silence(float(fault.options.get("hang_s", plan.hang_s)) if fault.name == "hang" else 0.0)

    def later(self, after_s: float, action: Callable[[], None]) -> Later:
        """Let *action* happen once, *after_s* seconds from now by the clock."""
        due = Later(self.clock, self.clock.now() + timedelta(seconds=after_s), action)
        with self._lock:
            self._later.append(due)
        return due

    def settle(self) -> None:
        """Let everything happen that is due, and wait for what is just happening."""
        now = self.clock.now()
        with self._lock:
            due = {each for each in self._later if each.at <= now}
        for each in sorted(due, key=lambda each: each.at):
            each.happened()
        with self._lock:
            self._later = [each for each in self._later if each not in due]

    def tick(self, stop: threading.Event) -> None:
        """Settle again and again until *stop* is set."""
        while not stop.wait(TICK_S):
            self.settle()

    @staticmethod
    def _refusal(fault: Fault, model: str) -> Refused:
        if fault.name == "rate_limited":
            after = f"{fault.options.get('retry_after_s', RETRY_AFTER_S):g}"
            message = "Resource exhausted, please try again later."
            return Refused(429, message, code="RESOURCE_EXHAUSTED", headers={"Retry-After": after})
        if fault.name == "rate_limited_silent":
            return Refused(429, "Resource exhausted, please try again later.", code="RESOURCE_EXHAUSTED")
        if fault.name == "retired":
            return Refused(404, f"Model `{model}` was not found or is retired.", code="NOT_FOUND")
        if fault.name == "credits":
            return Refused(402, "The account has no credit left.", code="FAILED_PRECONDITION")
        if fault.name == "unavailable":
            return Refused(503, "The service is currently unavailable.", code="UNAVAILABLE")
        return Refused(500, "Internal error encountered.", code="INTERNAL")
