"""What an offline picture shall show: subject, mood, layout and title, read from the prompt's own words."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from shared.providers.studio.palette import Palette, choose_palette

SUBJECTS = {
    "product": "product bottle perfume watch cosmetic cream serum cup mug coffee tea jar packaging box headphone"
    " speaker lamp candle phone smartphone laptop shoe sneaker bag jewelry skincare soap gadget device vase"
    " whisky wine cocktail juice smoothie podium lipstick chocolate food cake drink bread",
    "portrait": "portrait person woman man girl boy face people model founder ceo artist dancer musician author chef"
    " doctor student headshot fashion human runner athlete",
    "hall": "lecture conference keynote talk seminar concert stage festival classroom university podcast theatre"
    " theater cinema audience webinar workshop presentation meetup event",
    "city": "city street skyline building architecture urban tower skyscraper downtown neon cyberpunk town metropolis"
    " office bridge tokyo london paris york berlin car traffic business startup",
    "space": "space planet galaxy cosmos astronaut nebula rocket universe satellite mars orbit alien comet",
    "botanical": "flower botanical bouquet rose tulip leaf plant garden herb floral blossom fruit orchid fern monstera"
    " bee butterfly organic olive lavender",
    "abstract": "abstract geometric pattern music album cover jazz shape gradient texture wallpaper background logo"
    " bauhaus cubism data algorithm network ai fractal vinyl record sound math",
    "forest": "forest tree wood woodland jungle grove bamboo pine deer trail bear owl",
    "sea": "sea ocean beach lake river boat ship sail sailing harbour harbor coast island wave lighthouse water surf"
    " surfer whale dolphin fishing lagoon pier",
    "landscape": "landscape mountain hill valley desert dune field meadow canyon sunset sunrise horizon volcano cabin"
    " farm vineyard snow winter camp camping hiking countryside sky fox cat dog bird wolf rabbit horse road balloon"
    " savanna elephant lion camel",
}
_WEIGHTS = {"product": 3.0, "portrait": 2.4, "hall": 2.4, "space": 1.8, "city": 1.5, "abstract": 1.4, "forest": 1.2}
_SUBJECT_WORDS = {word: name for name, words in SUBJECTS.items() for word in words.split()}
_UNTOLD = ("landscape", "abstract", "botanical", "sea", "landscape", "forest")

_LEAD = re.compile(
    r"^(please |create |generate |make |draw |design |render |show |paint |imagine |me |us |an? |the |of |with |for |"
    r"(stunning|beautiful|high[- ]quality|professional|detailed|minimalist|modern|cinematic|photorealistic|realistic) |"
    r"(photo(graph)?|photography|image|picture|illustration|shot|video|clip|(oil )?painting|watercolou?r|drawing|sketch"
    r"|rendering|portrait|view|scene|close-?up|product shot|product photo|footage)s? (of |for |showing |with )?)+",
    re.IGNORECASE,
)
_JOINING = frozenset(
    re.findall(r"\w+", "a an and as at by for from in into is its near of on or over the through to under with")
)
_MEDIUM = re.compile(r"\b(posters?|album( cover)?|cover( art)?|flyers?|banners?|wallpapers?)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_TITLE_WORDS, _TITLE_LETTERS = 5, 30


@dataclass(frozen=True, slots=True)
class Brief:
    """What to compose. *key* and *seed* decide every random draw.

    Attributes:
        words: lower-case words of the prompt, in order, singular.
        layout: "full" (small caption), "poster" (framed, titled) or "album" (large title).
        title: the prompt's own key words; "" when the font has no letters for them.
        detail: 0.5..1, how rich the composition is.
    """

    key: str
    seed: int
    words: tuple[str, ...]
    subject: str
    palette: Palette
    style: str | None
    layout: str
    title: str
    detail: float

    def rng(self, name: str) -> np.random.Generator:
        """Return the random stream called *name*: streams do not disturb one another."""
        text = f"{self.key}\x00{self.seed}\x00{name}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "big"))

    def draw(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """Return one number in [low, high) of its own stream."""
        return float(self.rng(name).uniform(low, high))

    def chance(self, name: str, probability: float) -> bool:
        """Return True with *probability*."""
        return self.draw(name) < probability

    def says(self, *words: str) -> bool:
        """Return whether the prompt has one of *words*."""
        return any(word in self.words for word in words)

    def count(self, full: float) -> int:
        """Return how many of something to draw at this detail; at least one."""
        return max(1, round(full * self.detail))


def read_brief(prompt: str, seed: int, style: str | None, detail: float = 1.0) -> Brief:
    """Return the brief of *prompt*; the same words give related pictures, the *seed* tells them apart."""
    told = _told(prompt)
    words = tuple(word for word, _ in told)
    subject = _subject(told)
    key = " ".join(words) or prompt
    mood = _stable(f"{key}/{seed}/palette")
    layout = "album" if {"album", "vinyl", "record"} & set(words) else "poster" if _is_poster(words) else "full"
    palette = choose_palette(told, mood, _moods(subject))
    return Brief(key, seed, words, subject, palette, style, layout, _title(prompt), max(0.5, min(1.0, detail)))


def _is_poster(words: tuple[str, ...]) -> bool:
    return bool({"poster", "flyer", "banner", "magazine", "invitation", "advert", "advertisement"} & set(words))


def _moods(subject: str) -> tuple[str, ...]:
    """Return palettes that suit a subject when no word asks for one."""
    return {
        "product": ("pastel", "gold", "rose", "vintage", "ocean", "graphite", "forest", "sunset"),
        "city": ("sunset", "night", "dawn", "neon", "storm", "vintage"),
        "hall": ("night", "neon", "sunset", "gold", "ocean", "rose"),
        "space": ("night", "neon", "sunset", "ocean"),
        "forest": ("forest", "autumn", "dawn", "winter"),
        "botanical": ("spring", "forest", "vintage", "rose", "tropical", "pastel"),
    }.get(subject, ("sunset", "dawn", "day", "autumn", "vintage", "rose", "tropical", "desert", "winter", "night"))


def _stable(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _told(prompt: str) -> list[tuple[str, float]]:
    """Return the words of *prompt* with their weight: what comes first counts most, added terms little."""
    plain = unicodedata.normalize("NFKC", prompt).lower()
    first = re.split(r"[,.;:|!?\n]", plain.lstrip(" ,.;:|!?\n"), maxsplit=1)[0]
    head = len(_WORD.findall(first))
    words = _WORD.findall(plain)[:80]
    return [(_singular(word), (1.0 if i < head else 0.3) / (1 + 0.07 * i)) for i, word in enumerate(words)]


def _singular(word: str) -> str:
    known = word in _SUBJECT_WORDS or not word.endswith("s") or word.endswith("ss")
    return word if known else word[:-1]


def _subject(told: list[tuple[str, float]]) -> str:
    votes: dict[str, float] = {}
    for word, weight in told:
        if word in _SUBJECT_WORDS:
            name = _SUBJECT_WORDS[word]
            votes[name] = votes.get(name, 0) + _WEIGHTS.get(name, 1.0) * weight
    if votes:
        return max(votes, key=lambda name: votes[name])
    return _UNTOLD[int(_stable(" ".join(word for word, _ in told) + "/subject") * len(_UNTOLD))]


def _title(prompt: str) -> str:
    """Return the first words that carry the prompt, in capitals, or "" where the font would show boxes."""
    flat = unicodedata.normalize("NFKD", prompt).translate({0x2019: "'", 0x2018: "'", 0x2013: "-", 0x2014: "-"})
    letters = "".join(c for c in flat if not unicodedata.combining(c)).replace("ß", "ss")
    if not letters.isascii() and sum(c.isascii() for c in letters) < 0.9 * len(letters):
        return ""
    clause = re.split(r"[,.;:|!?\n()\"]| - ", _MEDIUM.sub("", _LEAD.sub("", letters.strip())).strip())[0]
    kept: list[str] = []
    for word in re.findall(r"[A-Za-z0-9&'+-]+", clause)[:_TITLE_WORDS]:
        if len(" ".join([*kept, word])) > _TITLE_LETTERS:
            break
        kept.append(word)
    while kept and kept[-1].lower() in _JOINING:
        kept.pop()
    while kept and kept[0].lower() in _JOINING:
        kept.pop(0)
    return " ".join(kept).upper()
