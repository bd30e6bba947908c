"""The clocks behind `ports.Clock`."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told; safe in threads."""

    def __init__(self, start: datetime = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the time it was last moved to."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on by *seconds* at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by *seconds*."""
        with self._lock:
            self._now += timedelta(seconds=seconds)

    def move_to(self, when: datetime) -> None:
        """Move to *when*, never back."""
        with self._lock:
            self._now = max(self._now, when)
