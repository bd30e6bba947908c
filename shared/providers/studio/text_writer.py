"""Sentences around a topic, and how they become a text of an asked form and size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from shared.domain.platforms import Platform, length
from shared.providers.studio.text_topic import Dice, Topic, tables

_FEWEST_OTHERS = 2  # phrases beside the subject, so that neighbouring sentences differ
_PROSE_ROLES = ("opener", "body", "turn", "point", "risk", "step", "closer")

Fits = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Form:
    """One [forms] table, ready to use: a paragraph is (separator and prefix, role) of each piece."""

    variants: tuple[tuple[tuple[tuple[str, str], ...], ...], ...]
    tags: tuple[int, int]
    keep_last: bool


@cache
def _form(name: str) -> _Form:
    table = tables()["forms"][name]
    variants = tuple(tuple(map(_paragraph, variant)) for variant in table["variants"])
    fewest, most = table.get("tags", (0, 0))
    return _Form(variants, (fewest, most), table.get("keep_last", False))


def _paragraph(specs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pieces of "prefix role" specs; a prefixed piece starts and ends its line."""
    pieces: list[tuple[str, str]] = []
    prefixed = False
    for spec in specs:
        prefix, space, role = spec.rpartition(" ")
        separator = "\n" if prefix or prefixed else " "
        pieces.append(((separator if pieces else "") + prefix + space, role))
        prefixed = bool(prefix)
    return tuple(pieces)


class Writer:
    """Hands out sentences about one topic; each at most once until its role's stock is used up."""

    __slots__ = ("_others", "_slots", "_stock", "_turn", "dice", "topic")

    def __init__(self, topic: Topic, dice: Dice) -> None:
        self.topic, self.dice = topic, dice
        subject = topic.article + topic.subject
        self._slots = {"a": subject, "A": subject[:1].upper() + subject[1:]}
        self._others = list(topic.phrases[1:])
        fillers = tables()["words"]["fillers"]
        start = dice.below(len(fillers))
        while len(self._others) < _FEWEST_OTHERS:
            start += 1
            self._others.append(fillers[start % len(fillers)])
        self._turn = dice.below(len(self._others))
        self._stock: dict[str, list[str]] = {}

    def phrase(self) -> str:
        """Return the next key phrase; the subject comes round as well."""
        self._turn += 1
        phrases = [self.topic.subject, *self._others]
        return phrases[self._turn % len(phrases)]

    def sentence(self, role: str) -> str:
        """Return a sentence of *role*; after the last one they start again around other phrases."""
        stock = self._stock.get(role)
        if not stock:
            stock = self._stock[role] = tables()["sentences"][role].copy()
        index = self.dice.below(len(stock))
        template = stock[index]
        stock[index] = stock[-1]
        stock.pop()
        others, turn, slots = self._others, self._turn, self._slots
        self._turn = turn + 1
        slots["b"], slots["c"] = others[turn % len(others)], others[(turn + 1) % len(others)]
        return template.format_map(slots)

    def prose(self, least: int, fits: Fits) -> str:
        """Return one or two sentences, more until *least* characters are there; fewer where they do not fit."""
        text, wanted, index = "", max(least, 90), 0
        while len(text) < wanted:
            lap, role = divmod(index, 23)
            number = f"Note {lap}: " if lap else ""
            sentence = number + self.sentence(_PROSE_ROLES[role % len(_PROSE_ROLES)])
            longer = f"{text} {sentence}" if text else sentence
            if text and len(text) >= least and not fits(longer):
                break
            text, index = longer, index + 1
        return text

    def tiny(self, most: int) -> str:
        """Return a whole sentence of at most *most* (at least 4) characters."""
        sentences = tables()["sentences"]
        named = [template.format_map(self._slots) for template in sentences["short"]]
        short = [text for text in named if len(text) <= most]
        return self.dice.pick(short) if short else next(text for text in sentences["tiny"] if len(text) <= most)

    # ------------------------------------------------------------ forms

    def draft(self, form: str) -> tuple[list[list[str]], str]:
        """Return (paragraphs as their pieces, tail): hashtags or a closing paragraph, "" for none."""
        table = _form(form)
        variant = table.variants[self.dice.below(len(table.variants))]
        sentence = self.sentence
        paragraphs = [[lead + sentence(role) for lead, role in paragraph] for paragraph in variant]
        fewest, most = table.tags
        if most:
            tags = self.topic.tags(fewest + self.dice.below(most - fewest + 1))
            return paragraphs, " ".join(f"#{tag}" for tag in tags)
        return paragraphs, "".join(paragraphs.pop()) if table.keep_last else ""

    def text(self, form: str, fits: Fits) -> str | None:
        """Return a text of *form* without the sentences at its end that do not fit; None when not one does."""
        paragraphs, tail = self.draft(form)
        return shorten(paragraphs, tail, fits) or shorten(paragraphs, "", fits)

    def thread(self, form: str, platform: Platform, most: int) -> str | None:
        """Return numbered posts separated by blank lines, of at most *most* characters; None when not one fits."""
        paragraphs, tail = self.draft(form)

        def fits(post: str) -> bool:
            return len(post) <= most and length(post, platform.unit) <= platform.max_chars - len("9/9 ")

        for count in range(len(paragraphs), 0, -1):
            posts = [shorten([pieces], "", fits) for pieces in paragraphs[: count - 1]]
            posts.append(_tagged(paragraphs[count - 1], tail, fits))
            text = _numbered([post for post in posts if post])
            if text and len(text) <= most:
                return text
        return None


def _tagged(pieces: list[str], tags: str, fits: Fits) -> str | None:
    """Return a post with *tags* on a line of their own (a blank line would start another post)."""
    post = shorten([pieces], "", lambda text: fits(f"{text}\n{tags}"))
    return f"{post}\n{tags}" if post and tags else post or shorten([pieces], "", fits)


def _numbered(posts: list[str]) -> str:
    if len(posts) < 2:
        return "".join(posts)
    return "\n\n".join(f"{number}/{len(posts)} {post}" for number, post in enumerate(posts, 1))


def shorten(paragraphs: Sequence[Sequence[str]], tail: str, fits: Fits) -> str | None:
    """Return the paragraphs and *tail*, leaving out pieces from the end until they fit; None when nothing is left."""
    left = [list(pieces) for pieces in paragraphs]
    ending = [tail] if tail else []
    while left:
        text = "\n\n".join(["".join(pieces) for pieces in left] + ending)
        if fits(text):
            return text
        last = left[-1]
        last.pop()
        if not last or (len(last) == 1 and last[0].startswith("## ")):
            left.pop()
    return None
