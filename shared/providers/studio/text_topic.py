"""What a prompt is about: its key phrases, found without knowing its language.

A phrase is a run of words that no function word, no word of the request ("write a post about …") and no mark
interrupts. Scripts without spaces are cut at kana and at common function words. A prompt without words
lends its emoji.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from shared.domain.platforms import EMOJI, HASHTAG, URL, joins

_LOOKED_AT = 2000  # characters of a prompt; what it is about is said early
_WORDS_IN_PHRASE = 4
_WORD_CHARS = 22
_PHRASE_CHARS = 34
_PHRASES = 7

_ASCII_WORD = re.compile(r"([A-Za-z0-9]+(?:['&+._-][A-Za-z0-9]+)*)|\S")
# Ideographs and katakana run together; hiragana part them.
_RUN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f\U00030000-\U000323af\u30a1-\u30fa\u30fc-\u30ff"
# Whatever is no space, mark, symbol, control or private character is part of a word, so that the vowel signs of
# Indic scripts and Thai stay with their letters.
_NO_LETTER = (
    r"\s\x00-/:-@\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u02c2-\u02df\u055a-\u055f\u0589\u05be\u05c0\u05c3\u05f3"
    r"\u05f4\u0600-\u060f\u061b-\u061f\u066a-\u066d\u06d4\u06dd\u0964\u0965\u0e3f\u0e5a\u0e5b\u104a-\u104f\u17d4-\u17db"
    r"\u180e\u2000-\u206f\u20a0-\u20ff\u2100-\u2bff\u2ff0-\u30a0\u30fb\u3100-\u33ff\u4dc0-\u4dff\ud800-\uf8ff\ufd3e\ufd3f"
    r"\ufdd0-\ufdff\ufe00-\ufe6f\ufeff-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff"
    r"\U0001d000-\U0001d3ff\U0001f000-\U0001ffff\U000e0000-\U0010ffff"
)
_LETTER = f"[^{_NO_LETTER}{_RUN}]"
_ANY_WORD = re.compile(rf"([{_RUN}]{{1,10}}|{_LETTER}+(?:['\u2019\u200c&+._-]{_LETTER}+)*)|\S")
_ADDRESS = re.compile(r"\S*@\S+")
_NOT_TAG = re.compile(r"[\s'\u2019\u200c&+._-]+")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@cache
def tables() -> dict[str, Any]:
    """Return the phrase tables of phrases.toml, read once."""
    return tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))


class Dice:
    """A small deterministic generator: the same on every machine and version, and cheaper to start than `random`.

    A 64-bit linear congruential generator with the multiplier of Knuth's MMIX; only its high bits are used.
    """

    __slots__ = ("_state",)

    def __init__(self, *parts: object) -> None:
        text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
        self._state = int.from_bytes(blake2b(text, digest_size=8).digest(), "big")

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound)."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self._state >> 33) % bound

    def pick(self, values: list[str]) -> str:
        """Return one of *values*."""
        return values[self.below(len(values))]


@dataclass(frozen=True, slots=True)
class Topic:
    """What a prompt is about.

    Attributes:
        phrases: its key phrases, the subject first; at least one, each at most four words.
        article: the word before the subject that belongs to it ("our "), "" for none.
    """

    phrases: tuple[str, ...]
    article: str = ""

    @property
    def subject(self) -> str:
        """The first phrase, without its article."""
        return self.phrases[0]

    @property
    def slug(self) -> str:
        """The subject for addresses: lower-case ASCII words with hyphens, "piece" where it has none."""
        return _NOT_SLUG.sub("-", self.subject.lower()).strip("-") or "piece"

    def tags(self, count: int) -> list[str]:
        """Return *count* different words for hashtags without "#", from the phrases and then from a stock."""
        words = ["".join(w[:1].upper() + w[1:] for w in _NOT_TAG.split(phrase)) for phrase in self.phrases]
        found: dict[str, str] = {}
        for word in words + tables()["words"]["tags"]:
            if len(word) <= 2 * _WORD_CHARS and HASHTAG.fullmatch("#" + word):
                found.setdefault(word.casefold(), word)
        return list(found.values())[:count]


def read_topic(prompt: str, dice: Dice) -> Topic:
    """Return what *prompt* is about; its emoji, or a stock phrase, when it has no words.

    Addresses and handles are left out: they are nobody's subject and may be personal.
    """
    text = prompt[:_LOOKED_AT]
    if "@" in text:
        text = _ADDRESS.sub(" , ", text)
    if "." in text:
        text = URL.sub(" , ", text)
    found, subject = _phrases(text)
    if not found:
        emoji = list(dict.fromkeys(EMOJI.findall(text)))[:3]
        return Topic(tuple(emoji) or (dice.pick(tables()["words"]["topics"]),))
    if subject is None:
        subject = next((p for p in found if " " in p), next(iter(found)))
    rest = [p for p in found if p != subject]
    return Topic((subject, *rest[: _PHRASES - 1]), _article(found[subject], subject))


# ---------------------------------------------------------------- phrases


@cache
def _word_lists() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the words that end a phrase, those that announce the subject, and the articles."""
    words = tables()["words"]
    about = frozenset(words["about"].split())
    return frozenset(words["ignored"].split()) | about, about, frozenset(words["articles"].split())


@cache
def _joined_words() -> re.Pattern[str]:
    words = sorted(tables()["words"]["ignored_joined"].split(), key=len, reverse=True)
    return re.compile("|".join(words))


def _phrases(text: str) -> tuple[dict[str, str], str | None]:
    """Return the different phrases in order with the word before each, and the one after "about" if there is one."""
    ignored, about, _ = _word_lists()
    found: dict[str, str] = {}
    subject: str | None = None
    run: list[str] = []
    before = ""
    after_about = False
    words = _ASCII_WORD.findall(text) if text.isascii() else _ANY_WORD.findall(_joined_words().sub(" , ", text))
    words.append("")
    for word in words:
        low = word.lower()
        if word and low not in ignored:
            run.append(word)
            continue
        if run:
            phrase = _phrase(run)
            run = []
            if phrase:
                found.setdefault(phrase, before)
                if after_about and subject is None:
                    subject = phrase
                after_about = False
        before = low
        after_about = after_about or low in about
    return {phrase: word for phrase, word in found.items() if len(phrase) > 1} or found, subject


def _article(word: str, subject: str) -> str:
    """Return *word* with a space when it is an article; its first words may be gone, so "a" and "an" are set anew."""
    if word not in _word_lists()[2]:
        return ""
    if word in {"a", "an"}:
        word = "an" if subject[:1].lower() in "aeio" else "a"
    return word + " "


def _phrase(run: list[str]) -> str:
    """Return the last words of a run (the noun comes last more often than not); "" for bare numbers and letters."""
    phrase = _clip(run[-1]).removesuffix("'s").removesuffix("\u2019s")
    for word in run[-2 : -1 - _WORDS_IN_PHRASE : -1]:
        if len(phrase) + len(word) >= _PHRASE_CHARS or "\u2fff" < word < "\uac00":
            break
        phrase = f"{word} {phrase}"
    bare = phrase.replace(" ", "")
    return "" if bare.isdigit() or (len(bare) == 1 and bare.isascii()) else phrase


def _clip(word: str) -> str:
    """Return *word*, cut between graphemes when it is longer than a line should bear."""
    end = _WORD_CHARS
    if len(word) <= end:
        return word
    while end > 1 and joins(word[end - 1], word[end]):
        end -= 1
    return word[:end]
