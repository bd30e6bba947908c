"""What a simulated model takes from its instructions."""

from __future__ import annotations

import re

from shared.domain.platforms import PLATFORMS


def platform_named(system: str) -> str | None:
    """Return the platform that a system text names, as a model would understand it; None when it names none."""
    return next((name for name in PLATFORMS if _names(name, system)), None)


def _names(platform: str, system: str) -> bool:
    word = r"\bX\b|(?i:\btwitter\b)" if platform == "x" else rf"(?i:\b{re.escape(platform)}\b)"
    return re.search(word, system) is not None
