"""What this instance has published lately; it may forget, and then only publishes twice."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock


class Announced:
    """Which batons this instance has published lately, so that a lost ack does not publish a result twice."""

    def __init__(self, size: int = 8192) -> None:
        self._recent: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def add(self, job_id: str, seq: int) -> None:
        """Remember one."""
        with self._lock:
            self._recent[(job_id, seq)] = None
            while len(self._recent) > self._size:
                self._recent.popitem(last=False)

    def has(self, job_id: str, seq: int) -> bool:
        """Whether it is remembered."""
        return (job_id, seq) in self._recent
