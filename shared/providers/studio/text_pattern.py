"""Strings that match a regular expression, for the simple patterns of JSON schemas.

The expression is read into `Chars`, `Sequence`, `Choice` and `Repeat`, and a string is drawn from them. Anchors and
look-arounds draw nothing: whoever draws has to test the result against the real expression.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass

from shared.errors import InvalidCall
from shared.providers.studio.text_topic import Dice

_WORD = string.ascii_lowercase + string.ascii_uppercase + string.digits
_PRINTABLE = _WORD + " -_.,:;!?()/+*@#$%&='"
_CLASSES = {
    "d": string.digits,
    "w": _WORD + "_",
    "s": " ",
    "D": string.ascii_letters,
    "W": " -.,",
    "S": _WORD,
}
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_HEX_DIGITS = {"x": 2, "u": 4}
_ZERO_WIDTH = "bBAZzG"
_MOST_CHARS = 20_000
_LONG_REPEAT = 50


@dataclass(frozen=True, slots=True)
class Chars:
    """One of these characters."""

    choices: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """All parts, one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the alternatives."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """*part* between *low* and *high* times; None: without end."""

    part: Node
    low: int
    high: int | None


Node = Chars | Sequence | Choice | Repeat


def draw(node: Node, dice: Dice, spread: int, *, full: bool = False) -> str:
    """Return a string that *node* describes.

    Args:
        node: what to draw.
        dice: which of the possible strings.
        spread: how many more than its fewest repeats a `Repeat` may take.
        full: take all of them instead of a random number.
    """
    match node:
        case Chars(choices):
            return choices[dice.below(len(choices))]
        case Sequence(parts):
            return "".join([draw(part, dice, spread, full=full) for part in parts])
        case Choice(parts):
            return draw(parts[dice.below(len(parts))], dice, spread, full=full)
        case Repeat(part, low, high):
            most = low + spread if high is None else min(low + spread, high)
            count = most if full else low + dice.below(most - low + 1)
            return "".join([draw(part, dice, spread, full=full) for _ in range(count)])


def shortest(node: Node) -> int:
    """Return the length of the shortest string that *node* describes."""
    match node:
        case Chars():
            return 1
        case Sequence(parts):
            return sum(map(shortest, parts))
        case Choice(parts):
            return min(map(shortest, parts))
        case Repeat(part, low):
            return low * shortest(part)


def is_nested(node: Node, *, inside: bool = False) -> bool:
    """Whether a long repeat stands inside another: such an expression can take ages to refuse a string."""
    if isinstance(node, Chars):
        return False
    if isinstance(node, Repeat):
        long = node.high is None or node.high > _LONG_REPEAT
        return (long and inside) or is_nested(node.part, inside=inside or long)
    return any(is_nested(part, inside=inside) for part in node.parts)


def read_pattern(pattern: str) -> Node:
    """Return the structure of *pattern*.

    Raises:
        InvalidCall: it uses something that is not understood here, such as a back-reference, or asks for too much.
    """
    reader = _Reader(pattern)
    node = reader.choice()
    if reader.left():
        raise reader.fault("an unmatched )")
    if shortest(node) > _MOST_CHARS:
        raise reader.fault(f"more than {_MOST_CHARS} characters")
    return node


def drawn(node: Node, dice: Dice, least: int) -> Iterator[str]:
    """Yield some strings that *node* describes, short ones first, then of about *least* characters."""
    yield draw(node, dice, 0)
    missing = max(0, least - shortest(node))
    if missing and not is_nested(node):
        yield draw(node, dice, missing, full=True)
    for spread, times in ((2, 20), (8, 40), (30, 20)):
        for _ in range(times):
            yield draw(node, dice, spread)
    if missing and not is_nested(node):
        for _ in range(20):
            yield draw(node, dice, missing)


class _Reader:
    """Recursive descent over one expression."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at = pattern, 0

    def left(self) -> bool:
        return self._at < len(self._pattern)

    def fault(self, what: str) -> InvalidCall:
        return InvalidCall(f"schema pattern {self._pattern!r} has {what}, which the offline writer cannot follow")

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise self.fault("an early end")
        self._at += 1
        return char

    def _skip(self, text: str) -> bool:
        if self._pattern.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def choice(self) -> Node:
        parts = [self._sequence()]
        while self._skip("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self.left() and self._peek() not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, part: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return part
        self._skip("?") or self._skip("+")
        low, high = bounds
        if high is not None and high < low:
            raise self.fault(f"a repeat of {low} to {high}")
        return Repeat(part, low, high)

    def _bounds(self) -> tuple[int, int | None] | None:
        for mark, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._skip(mark):
                return bounds
        end = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at + 1 : end].partition(",")
        if self._peek() != "{" or end < 0 or not (low + high).isdigit():
            return None
        self._at = end + 1
        least = int(low or 0)
        return least, (int(high) if high else None) if comma else least

    def _atom(self) -> Node:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return Chars(self._class())
        if char == ".":
            return Chars(_WORD + " ")
        if char in "^$":
            return Sequence(())
        if char == "\\":
            return self._escape()
        return Chars(char)

    def _group(self) -> Node:
        looks = False
        if self._skip("?"):
            looks = any(map(self._skip, ("=", "!", "<=", "<!")))
            if not looks and not self._skip(":"):
                self._name()
        node = self.choice()
        if not self._skip(")"):
            raise self.fault("an unclosed (")
        return Sequence(()) if looks else node

    def _name(self) -> None:
        end = self._pattern.find(">", self._at)
        if not (self._skip("P<") or self._skip("<")) or end < 0:
            raise self.fault(f"the group (?{self._peek()}")
        self._at = end + 1

    def _escape(self) -> Node:
        char = self._next()
        if char in _ZERO_WIDTH:
            return Sequence(())
        if char in _CLASSES:
            return Chars(_CLASSES[char])
        if char.isdigit() and char != "0":
            raise self.fault("a back-reference")
        return Chars(self._escaped(char))

    def _escaped(self, char: str) -> str:
        digits = _HEX_DIGITS.get(char)
        if digits is None:
            return _ESCAPES.get(char, char)
        code = self._pattern[self._at : self._at + digits]
        self._at += digits
        try:
            return chr(int(code, 16))
        except ValueError:
            raise self.fault(f"the escape \\{char}{code}") from None

    def _class(self) -> str:
        negated = self._skip("^")
        chars = ""
        first = True
        while first or self._peek() != "]":
            first = False
            chars += self._range()
        self._next()
        if negated:
            chars = "".join(char for char in _PRINTABLE if char not in chars)
        if not chars:
            raise self.fault("an empty class")
        return chars

    def _range(self) -> str:
        low = self._next()
        if low == "\\":
            escaped = self._next()
            if escaped in _CLASSES:
                return _CLASSES[escaped]
            low = self._escaped(escaped)
        if self._peek() != "-" or self._pattern[self._at + 1 : self._at + 2] in ("]", ""):
            return low
        self._next()
        high = self._next()
        if high == "\\":
            high = self._escaped(self._next())
        # A wide range (all of Unicode, say) is represented by its beginning.
        return "".join(map(chr, range(ord(low), min(ord(high), ord(low) + 127) + 1)))
