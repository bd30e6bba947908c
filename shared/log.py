"""Structured logs: one JSON object per line in the fields Cloud Logging understands.

Source of the field names: "Structured logging", cloud.google.com/logging/docs/structured-logging
(`severity`, `message`, `time`, `logging.googleapis.com/trace`, `logging.googleapis.com/labels`).
An event name is the message; everything else is a field. Prompts, keys and signed URLs are never logged.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_bound: ContextVar[dict[str, Any] | None] = ContextVar("atelier_log_fields", default=None)

log = logging.getLogger("atelier")


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add *fields* to every line logged inside, in this thread."""
    token = _bound.set({**(_bound.get() or {}), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def configure(level: str, stream: IO[str], project: str = "") -> None:
    """Write the lines of level *level* and above to *stream*; calling it again replaces the stream.

    *project*: the Google Cloud project in which Cloud Logging shows all lines of a trace together.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(project))
    # What no line of ours shows need not be found out for each (docs.python.org/3/howto/logging.html#optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON."""

    def __init__(self, project: str = "") -> None:
        super().__init__()
        self._traces = f"projects/{project}/traces/" if project else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break at its end."""
        line: dict[str, Any] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            **(_bound.get() or {}),
            **{key: record.__dict__[key] for key in record.__dict__.keys() - _STANDARD},
        }
        if trace := line.pop("trace", None):
            line["logging.googleapis.com/trace"] = self._traces + trace
        if record.exc_info and record.exc_info[0]:
            # The frames tell where; the exception's own text may hold a prompt, so only its class is written.
            line["exception"] = record.exc_info[0].__name__
            line["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(record.exc_info[2])]
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
