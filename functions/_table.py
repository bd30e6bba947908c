"""Plain text tables for the command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return aligned columns; the last one is cut where the terminal ends.

    Args:
        width: characters per line; by default the terminal's. What goes into a file or a pipe is not cut.
    """
    width = width or (shutil.get_terminal_size((160, 24)).columns if sys.stdout.isatty() else sys.maxsize)
    lines = [list(heads), *([_clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heads))]
    widths[-1] = min(widths[-1], max(20, width - sum(widths[:-1]) - 2 * (len(heads) - 1)))
    return "\n".join(
        "  ".join(_cut(cell, room).ljust(room) for cell, room in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _clean(text: str) -> str:
    """Text from outside must not move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
