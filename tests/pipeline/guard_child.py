"""An instance of `generate` in a process of its own, whose clock and deliveries come from a test.

Started as `python -m tests.pipeline.guard_child`. Orders and answers are lines of JSON:

    {"do": "open", "environment": {…}, "now": TIME}        ->  []
    {"do": "generate", "now": TIME, "payloads": [{…}, …]}  ->  for each: null (ack), or seconds until it may come again
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from functions import _runtime, generate
from functions._decode import Event
from shared import bootstrap
from shared.bootstrap import Services
from shared.clock import ManualClock
from shared.errors import Retryable
from shared.ports import Json
from shared.settings import Settings

logging.getLogger("atelier").setLevel(logging.CRITICAL)


class Instance:
    """The services of this process; a new home gets new ones."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._services: Services | None = None

    def obey(self, order: Json) -> list[Any]:
        """Carry one order out."""
        now = datetime.fromisoformat(order["now"])
        if order["do"] == "open":
            self.close()
            self._clock = ManualClock(now)
            self._services = bootstrap.build(Settings.from_environment(order["environment"]), self._clock)
            return []
        self._clock.move_to(now)
        return self._generate(order["payloads"])

    def close(self) -> None:
        """Give up connections and files."""
        if self._services is not None:
            self._services.close()

    def _generate(self, payloads: Sequence[Json]) -> list[float | None]:
        assert self._services is not None
        outcomes: list[float | None] = []
        for payload in payloads:
            try:
                _runtime.deliver(
                    generate.handle, Event(payload, f"{payload['job_id']}-{payload['seq']}"), self._services
                )
            except Retryable as error:
                outcomes.append(error.retry_after_s)
            else:
                outcomes.append(None)
        return outcomes


def serve() -> None:
    """Carry out the orders on standard input until it ends."""
    instance = Instance()
    for line in sys.stdin:
        print(json.dumps(instance.obey(json.loads(line))), flush=True)
    instance.close()


if __name__ == "__main__":
    serve()
