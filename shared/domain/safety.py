"""Blocked terms: finding them in prompts and generated texts, however they are disguised.

Terms match whole words, in any case. Look-alike letters, accents, invisible characters and digits for letters are
seen through; so are letters set apart ("b o m b", "b.o.m.b"). The terms are data; see `parse_terms`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.letter_folding import fold
from shared.domain.redaction import redact
from shared.errors import SettingsError

__all__ = ["Finding", "SafetyRules", "check_prompt", "find_blocked_terms", "parse_terms", "redact"]

_STAND_INS = {
    "a": "[a4@]",
    "b": "[b8]",
    "e": "[e3]",
    "g": "[g9]",
    "i": "[i1!|]",
    "l": "[l1|]",
    "o": "[o0]",
    "s": "[s5$]",
    "t": "[t7+]",
    "z": "[z2]",
}
_GAP = r"[\W_]+"
_LETTER = r"[^\W\d_]"
_NOTHING = r"(?!)"
_MAX_TERM_CHARS = 200
# Scripts written without blanks between words, or with endings attached: there a term may stand inside a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)

# Single letters in a row, with anything between them; and with always the same between them, so that a wider gap
# ends the word ("m a k e   a   b o m b").
_SPELLED = re.compile(r"(?<![^\W_])[^\W_](?:[\W_]{1,4}[^\W_](?![^\W_])){2,}")
_SPELLED_EVENLY = re.compile(r"(?<![^\W_])[^\W_]([\W_]{1,4})[^\W_](?:\1[^\W_](?![^\W_]))+")
_ARTICLES = ("a", "i")  # words of one letter, which a row of single letters may start with
_BROKEN_WORD = re.compile(r"(?<![^\W_])[^\W_]++(?:(?:[^\w\s]|_){1,3}+[^\W_]++)+")
_CONTRACTION = re.compile(r"[^\W_]+['\u2019](?:s|ll|re|ve|d|t|m)")
_NOT_A_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of blocked term that a text holds; neither the term nor the text, so that it can be shown and stored."""

    category: str
    code: str = "blocked_term"

    @property
    def message(self) -> str:
        """What people are told."""
        return f"contains a blocked term ({self.category})"


@dataclass(frozen=True, slots=True)
class _Search:
    """One pattern for many terms; the number of the group that took part, less one, is the place of the term."""

    pattern: re.Pattern[str]
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SafetyRules:
    """Blocked terms, ready to be looked for.

    Attributes:
        categories: category by folded term.
        blocked: finds the terms.
        allowed: finds phrases inside which a term does not count.
    """

    categories: Mapping[str, str]
    blocked: _Search
    allowed: _Search


def parse_terms(document: Mapping[str, Any]) -> SafetyRules:
    """Return the rules of a TOML document: tables `blocked` (category = list of terms) and, if any, list `allowed`.

    Raises:
        SettingsError: another form, or a term too short or too long; the message names the place.
    """
    unknown = sorted(set(document) - {"blocked", "allowed"})
    if unknown or not isinstance(document.get("blocked"), dict):
        raise SettingsError(f"blocked terms: a table `blocked` and a list `allowed` are expected, not {unknown}")
    categories = {
        term: category
        for category, terms in document["blocked"].items()
        for term in _folded_terms(terms, f"blocked.{category}")
    }
    allowed = _folded_terms(document.get("allowed", []), "allowed")
    return SafetyRules(categories, _search_for(categories), _search_for(allowed))


def check_prompt(text: str, rules: SafetyRules) -> list[Finding]:
    """Return one finding for each category of blocked terms in *text*; empty when it may be used."""
    return [Finding(category) for category in dict.fromkeys(rules.categories[term] for term in _found(text, rules))]


def find_blocked_terms(text: str, rules: SafetyRules) -> list[str]:
    """Return the blocked terms in a text that was generated, each once, as the rules spell them (folded)."""
    return list(dict.fromkeys(_found(text, rules)))


# ---------------------------------------------------------------- reading the terms


def _folded_terms(terms: object, place: str) -> list[str]:
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise SettingsError(f"blocked terms: `{place}` must be a list of texts")
    folded = [" ".join(_words(fold(term))) for term in terms]
    for term, plain in zip(terms, folded, strict=True):
        if not 2 <= len(plain) <= _MAX_TERM_CHARS:
            raise SettingsError(
                f"blocked terms: `{place}` has a term not of 2 to {_MAX_TERM_CHARS} letters: {term!r:.60}"
            )
    return folded


def _words(folded: str) -> list[str]:
    return [word for word in _NOT_A_LETTER.split(folded) if word]


def _search_for(terms: Iterable[str]) -> _Search:
    """Return one pattern for all terms, as a tree by first letters: its cost hardly grows with their number."""
    spaced = [(term, term) for term in terms if not _UNSPACED.match(term)]
    unspaced = [(term, term) for term in terms if _UNSPACED.match(term)]
    ends: list[str] = []
    branches = [rf"(?<!{_LETTER}){_tree(spaced, ends)}(?!{_LETTER})", _tree(unspaced, ends)]
    return _Search(re.compile("|".join(branches)), tuple(ends))


def _tree(entries: Sequence[tuple[str, str]], ends: list[str]) -> str:
    """Return the pattern of (rest, term)s, in which what several begin with is written once, longer ones first.

    An empty group stands at the end of each term; *ends* gets the terms in the order of these groups.
    """
    rests: dict[str, list[tuple[str, str]]] = {}
    for rest, term in entries:
        rests.setdefault(rest[:1], []).append((rest[1:], term))
    complete = rests.pop("", [])
    branches = [_unit(first) + _tree(inner, ends) for first, inner in sorted(rests.items())]
    ends.extend(term for _, term in complete)
    branches += ["()"] * len(complete)
    return f"(?:{'|'.join(branches)})" if branches else _NOTHING


def _unit(char: str) -> str:
    return _GAP if char == " " else _STAND_INS.get(char) or re.escape(char)


# ---------------------------------------------------------------- looking for them


def _found(text: str, rules: SafetyRules) -> Iterator[str]:
    """Yield the terms in *text*, in the order of its forms and of their places in it."""
    folded = fold(text)
    for form in (folded, *_undisguised(folded)):
        matches = [match for match in rules.blocked.pattern.finditer(form) if not _is_mostly_digits(match.group())]
        if not matches:
            continue
        excuses = [match.span() for match in rules.allowed.pattern.finditer(form)]
        for match in matches:
            place = bisect_right(excuses, (match.start(), len(form))) - 1
            if place < 0 or excuses[place][1] < match.end():
                yield rules.blocked.terms[(match.lastindex or 0) - 1]


def _undisguised(folded: str) -> Iterator[str]:
    """Yield the words that *folded* holds in pieces, put together."""
    for row in _SPELLED.finditer(folded):
        for letters in (row, *_SPELLED_EVENLY.finditer(row.group())):
            word = _NOT_A_LETTER.sub("", letters.group())
            yield word
            if word.startswith(_ARTICLES):
                yield word[1:]
    for chunk in folded.split():
        if not chunk.isalnum():
            yield from _mended(chunk)


def _mended(chunk: str) -> Iterator[str]:
    """Yield the words in *chunk*, which has no blanks, that go on behind a mark, without their marks."""
    for match in _BROKEN_WORD.finditer(chunk):
        if _CONTRACTION.fullmatch(match.group()) is None:
            yield _NOT_A_LETTER.sub("", match.group())


def _is_mostly_digits(found: str) -> bool:
    """Whether it is a number rather than a word with digits for letters: "15d" is no drug."""
    letters = sum(map(str.isalpha, found))
    return letters * 2 < len(_NOT_A_LETTER.sub("", found))
