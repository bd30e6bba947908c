"""Where the log goes while something is measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared import log


@contextmanager
def quiet_log() -> Iterator[None]:
    """Log nothing."""
    before = log.log.level
    log.log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.log.setLevel(before)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Log as the command line does: level INFO to a file in the home."""
    with path.open("a", encoding="utf-8", buffering=1) as stream:
        log.configure("INFO", stream)
        try:
            yield
        finally:
            log.log.handlers.clear()
