"""Live progress of a run: a line per finished job and one line of counts on a terminal; plain lines when piped."""

from __future__ import annotations

from collections import Counter
from typing import TextIO

from shared.domain.job import Job
from shared.domain.money import format_usd

_CLEAR_LINE = "\r\x1b[2K"


class Progress:
    """Shows each job's way through the stages."""

    def __init__(self, stream: TextIO, total: int, *, quiet: bool = False) -> None:
        self._stream = stream
        self._total = total
        self._quiet = quiet
        self._live = stream.isatty() and not quiet
        self._states: dict[str, str] = {}
        self._drawn = ""

    def show(self, job: Job) -> None:
        """Tell of a job whose state has changed since it was last shown."""
        state = str(job.state)
        if self._states.get(job.job_id) == state:
            return
        self._states[job.job_id] = state
        if job.is_finished or not self._live:
            self._line(_describe(job))

    def draw(self) -> None:
        """Draw the line of counts, on a terminal."""
        if not self._live:
            return
        counts = Counter(self._states.values())
        done = sum(counts[s] for s in ("succeeded", "refused", "failed", "cancelled"))
        parts = [f"{n} {state}" for state, n in sorted(counts.items())]
        text = f"{_bar(done, self._total)} {done}/{self._total}  {', '.join(parts)}"
        if text != self._drawn:
            self._stream.write(_CLEAR_LINE + text)
            self._stream.flush()
            self._drawn = text

    def close(self) -> None:
        """Leave the terminal clean."""
        if self._live:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()

    def _line(self, text: str) -> None:
        if self._quiet:
            return
        self._stream.write((_CLEAR_LINE if self._live else "") + text + "\n")
        self._stream.flush()
        self._drawn = ""


def _describe(job: Job) -> str:
    name = job.request_id or job.job_id[:12]
    if not job.is_finished:
        current = job.current
        progress = f" {current.progress:.0%}" if current and current.progress is not None else ""
        return f"{name}: {job.state}{progress}"
    made = job.winner
    parts = [str(job.state), *([f"grade {made.grade}", made.model] if made else [])]
    codes = ", ".join(str(e["code"]) for e in job.errors)
    return f"{name}: {' '.join(parts)} {format_usd(job.spent)} USD{' ' + codes if codes else ''}"


def _bar(done: int, total: int, width: int = 24) -> str:
    filled = width * done // max(1, total)
    return "[" + "#" * filled + "." * (width - filled) + "]"
