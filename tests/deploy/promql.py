"""As much of PromQL as tells which metrics, labels and values an expression asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SELECTOR = re.compile(r"([A-Za-z_]\w*:\w+)\{([^{}]*)\}")
_MATCHER = re.compile(r"(\w+)(=~|!~|!=|=)'([^']*)'")
_BY = re.compile(r"\bby \(([^()]*)\)")
_WINDOW = re.compile(r"\[(\d+)([smhd])\]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOSING = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class Matcher:
    """A condition on a label; *values* has the alternatives of a regular expression."""

    label: str
    wants: bool
    values: tuple[str, ...]

    def admits(self, value: str | None) -> bool:
        return (value in self.values) is self.wants


@dataclass(frozen=True)
class Selector:
    """A metric and the conditions on its labels."""

    metric: str
    matchers: tuple[Matcher, ...]


def selectors(expression: str) -> Iterator[Selector]:
    """Yield the selectors of an expression; each must have braces."""
    found = list(_SELECTOR.finditer(expression))
    named = re.findall(r"\w+:\w+", expression)
    assert len(found) == len(named), f"a metric has no braces in {expression}"
    for selector in found:
        matchers = [
            Matcher(label, operator[0] == "=", tuple(text.split("|") if "~" in operator else [text]))
            for label, operator, text in _MATCHER.findall(selector[2])
        ]
        rest = _MATCHER.sub("", selector[2]).replace(",", "").strip()
        assert not rest, f"not understood: {rest!r} in {expression}"
        yield Selector(selector[1], tuple(matchers))


def grouped_by(expression: str) -> set[str]:
    """Return the labels that are left of some of its aggregations."""
    return {label.strip() for labels in _BY.findall(expression) for label in labels.split(",")}


def windows_s(expression: str) -> list[int]:
    """Return how far back it looks, seconds."""
    return [int(number) * _SECONDS[unit] for number, unit in _WINDOW.findall(expression)]


def is_balanced(expression: str) -> bool:
    """Whether every bracket and quote is closed."""
    is_open: list[str] = []
    for sign in re.sub(r"'[^']*'", "", expression):
        if sign in _CLOSING.values():
            is_open.append(sign)
        elif sign == "'" or (sign in _CLOSING and (not is_open or is_open.pop() != _CLOSING[sign])):
            return False
    return not is_open
