"""MetricSink that writes each measurement as a log line, for log-based metrics: no call, no rate limit."""

from __future__ import annotations

from collections.abc import Mapping

from shared.log import log
from shared.metrics import check


class LogMetrics:
    """Writes one structured line per measurement."""

    def record(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Log one measurement. Raises ValueError when it is not declared."""
        check(name, labels)
        log.info("metric", extra={"metric": name, "value": value, "labels": dict(labels)})

    def flush(self) -> None:
        """Do nothing: each measurement was written at once."""

    def close(self) -> None:
        """Do nothing: there is no rest and no connection."""
