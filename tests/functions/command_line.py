"""The command line as people start it: in a process of its own, in a home of its own."""

import json
import os
import selectors
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 100
START_S, END_S = 60, 20  # of a command that goes on


@dataclass(frozen=True)
class Outcome:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The whole of stdout as one JSON value; fails when anything else is there."""
        return json.loads(self.out)


class CommandLine:
    """Runs `python -m functions` with *home* as its ATELIER_HOME."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")}
        return {**kept, "ATELIER_HOME": str(self.home), "PYTHONPATH": str(REPOSITORY), **settings}

    def __call__(self, *arguments: str | Path, **settings: str) -> Outcome:
        found = subprocess.run(
            [sys.executable, "-m", "functions", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=self.environment(**settings),
            cwd=self.home.parent,
        )
        return Outcome(found.returncode, found.stdout, found.stderr)

    def calls(self) -> list[Any]:
        """What the offline provider says it has accepted."""
        record = self.home / "offline_calls.jsonl"
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


class Started:
    """A command that runs."""

    def __init__(self, atelier: CommandLine, *arguments: str | Path, **settings: str) -> None:
        self.home = atelier.home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "functions", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=atelier.environment(**settings),
            cwd=atelier.home.parent,
        )

    def line(self) -> str:
        """The first line it prints."""
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if ready.select(START_S) else ""
        if not line:
            self.process.kill()
            pytest.fail(f"it printed nothing, but said: {self.process.communicate()[1]}")
        return line

    def end(self, sent: int | None = None) -> tuple[int, str, str]:
        """Wait for its end, after a signal if one is given; return exit code and the rest of its output."""
        if sent is not None:
            self.process.send_signal(sent)
        out, err = self.process.communicate(timeout=END_S)
        return self.process.returncode, out, err

    def kill(self) -> None:
        """Kill it if it still runs."""
        self.process.kill()
        self.process.communicate()


def note(request_id: str, **fields: Any) -> dict[str, Any]:
    """A cheap request."""
    return {
        "request_id": request_id,
        "kind": "text",
        "task": "fast",
        "prompt": f"A short note about the tides, number {request_id}",
        **fields,
    }


def picture(request_id: str, **fields: Any) -> dict[str, Any]:
    """A small picture; there is no way to have one for nothing."""
    return {
        "request_id": request_id,
        "kind": "image",
        "size": "512",
        "prefer": "cost",
        "prompt": f"A paper boat on a quiet pond, number {request_id}",
        **fields,
    }


def write_lines(path: Path, *lines: Any) -> Path:
    """Write a JSON Lines file; a string is a line as it is."""
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path
