"""What a JSON property probably holds, by its name: "metaDescription" a description, "unit_price" a price."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from shared.domain.platforms import joins
from shared.providers.studio.text_writer import Fits, Writer

_NAME_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_ROLES = {
    "headline": "title headline heading name label product",
    "subject": "subject",
    "hook": "hook tagline slogan opening teaser",
    "question": "question",
    "call": "cta call action",
    "step": "step instruction task",
    "closer": "conclusion closing takeaway verdict recommendation",
    "point": "point bullet feature benefit highlight pro con tip fact argument",
    "risk": "risk limitation caveat warning",
}
_PROSE = (
    "summary description abstract overview caption text content body message post intro introduction paragraph answer "
    "explanation reason reasoning analysis detail details review story script comment note notes bio about section"
)
_PHRASES = "tag keyword topic category theme phrase entity term concept ingredient material item option choice value"
_FIXED = {
    "en": "language lang locale",
    "USD": "currency",
    "#2f6f8f": "color colour",
    "+1-555-0100": "phone telephone mobile",
    "positive": "sentiment",
    "friendly": "tone mood voice style",
    "ready": "status state",
    "piece": "unit",
    "1.0": "version",
    "Example Studio": "author brand company organization publisher creator",
}
_FORMATS = {
    "date": "date day birthday",
    "time": "time",
    "date-time": "timestamp datetime",
    "email": "email mail",
    "uri": "url uri link href website homepage image thumbnail",
    "uuid": "uuid guid",
}
_NUMBERS = {
    19.5: "price cost amount total fee budget",
    4.5: "rating stars",
    0.8: "confidence probability ratio share weight score similarity relevance",
    75.0: "percent percentage",
    2026.0: "year",
    6.0: "month",
    30.0: "age days",
    15.0: "duration minutes seconds time",
    3.0: "count quantity number num index rank position priority level",
}


def _by_word(table: dict[str, str]) -> dict[str, str]:
    return {word: meaning for meaning, words in table.items() for word in words.split()}


_ROLE_OF, _FIXED_OF, _FORMAT_OF = _by_word(_ROLES), _by_word(_FIXED), _by_word(_FORMATS)
_NUMBER_OF = {word: value for value, words in _NUMBERS.items() for word in words.split()}
_IS_PROSE, _IS_PHRASE = frozenset(_PROSE.split()), frozenset(_PHRASES.split())


def words_of(name: str) -> Iterator[str]:
    """Yield the words of a property name in the singular, the last (the noun) first."""
    for part in reversed(_NAME_PART.findall(name)):
        word = part.lower()
        yield word
        if word.endswith("ies"):
            yield word[:-3] + "y"
        elif word.endswith("s"):
            yield word[:-1]


def number_for(name: str, writer: Writer) -> float:
    """Return a plausible number for a property of that name."""
    return next((_NUMBER_OF[word] for word in words_of(name) if word in _NUMBER_OF), 1.0 + writer.dice.below(9))


def text_for(name: str, least: int, writer: Writer, fits: Fits) -> str:
    """Return a plausible text for a property of that name; prose as soon as *least* characters are more than a line."""
    words = list(words_of(name))
    for word in words:
        if word in _IS_PROSE:
            return writer.prose(least, fits)
        if word in _ROLE_OF:
            return writer.sentence(_ROLE_OF[word])
        if word in _FIXED_OF:
            return _FIXED_OF[word]
        if word in _FORMAT_OF:
            return formatted(_FORMAT_OF[word], writer) or ""
        if word in _IS_PHRASE:
            return writer.phrase()
        if word == "hashtag":
            return "#" + writer.topic.tags(7)[writer.dice.below(7)]
        if word in {"slug", "key", "handle", "path", "file", "filename"}:
            return writer.topic.slug
        if word in {"id", "sku", "code", "identifier"}:
            return f"{writer.topic.slug[:12].strip('-')}-{1000 + writer.dice.below(9000)}"
    return writer.phrase()


def formatted(name: str, writer: Writer) -> str | None:
    """Return a text of a JSON schema `format`; None for formats without a rule. Addresses are reserved ones."""
    maker = _MAKERS.get(name)
    return None if maker is None else maker(writer)


def _digits(count: int) -> Callable[[Writer], str]:
    return lambda writer: "".join(f"{writer.dice.below(16):x}" for _ in range(count))


def _date(writer: Writer) -> str:
    return f"2026-{1 + writer.dice.below(12):02}-{1 + writer.dice.below(28):02}"


def _time(writer: Writer) -> str:
    return f"{8 + writer.dice.below(10):02}:{5 * writer.dice.below(12):02}:00Z"


def _uuid(writer: Writer) -> str:
    return "-".join(part(writer) for part in map(_digits, (8, 4))) + "-4{0}-a{0}-{1}".format(
        _digits(3)(writer), _digits(12)(writer)
    )


def _slug(writer: Writer) -> str:
    """Return a slug short enough for a host name (63 characters a label, RFC 1035)."""
    return writer.topic.slug[:40].strip("-")


# Host names and addresses reserved for documentation: RFC 2606, RFC 5737, RFC 3849.
_MAKERS: dict[str, Callable[[Writer], str]] = {
    "date": _date,
    "time": _time,
    "date-time": lambda w: f"{_date(w)}T{_time(w)}",
    "duration": lambda w: f"PT{1 + w.dice.below(59)}M",
    "email": lambda w: f"{_slug(w)}@example.com",
    "idn-email": lambda w: f"{_slug(w)}@example.com",
    "hostname": lambda w: f"{_slug(w)}.example.com",
    "idn-hostname": lambda w: f"{_slug(w)}.example.com",
    "uri": lambda w: f"https://example.com/{_slug(w)}",
    "url": lambda w: f"https://example.com/{_slug(w)}",
    "iri": lambda w: f"https://example.com/{_slug(w)}",
    "uri-reference": lambda w: f"/{_slug(w)}",
    "iri-reference": lambda w: f"/{_slug(w)}",
    "uuid": _uuid,
    "ipv4": lambda w: f"192.0.2.{1 + w.dice.below(254)}",
    "ipv6": lambda w: f"2001:db8::{1 + w.dice.below(9999)}",
    "json-pointer": lambda w: f"/{_slug(w)}",
    "regex": lambda w: f"^{_slug(w)}$",
}


def sized(name: str, least: int, most: int, writer: Writer, fits: Fits) -> str:
    """Return a plausible text of *least* to *most* characters: one that fits as it is, else one that is cut to fit."""

    def has_room(text: str) -> bool:
        return len(text) <= most and fits(text)

    text = text_for(name, least, writer, has_room)
    for _ in range(4):
        if least <= len(text) <= most:
            return text
        text = text_for(name, least, writer, has_room) if len(text) > most else writer.prose(least, has_room)
    phrases = (writer.phrase() for _ in range(8))
    return next((p for p in phrases if least <= len(p) <= most), None) or _cut(text, least, most, writer)


def _cut(text: str, least: int, most: int, writer: Writer) -> str:
    """Return *text* cut between words where there is room, else between graphemes, filled up with dots."""
    if len(text) < least:
        text = writer.prose(least, lambda _: True)
    if len(text) <= most:
        return text
    end = text.rfind(" ", least, most + 1)
    if end <= 0:
        end = most
        while end > max(least, 1) and joins(text[end - 1], text[end]):
            end -= 1
    cut = text[:end].rstrip(" ,;:")
    return cut + "." * (least - len(cut))
