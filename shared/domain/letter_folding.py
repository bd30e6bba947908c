"""Fold text so that what looks alike is alike, for comparing words that somebody may have disguised."""

from __future__ import annotations

import unicodedata

# Letters drawn like a Latin one: Cyrillic, Greek, Armenian, small capitals, IPA. Their other case counts as the same
# letter unless it is listed under another. The idea is that of https://www.unicode.org/reports/tr39/#Confusable_Detection.
_LOOK_ALIKES = {
    "a": "\u0430\u03b1\u0251\u1d00",
    "b": "\u044c\u13cf\u0299\u15af\u0412\u0392\u0184",
    "c": "\u0441\u03f2\u1d04\u217d",
    "d": "\u0501\u1d05\u0111",
    "e": "\u0435\u03b5\u04bd\u1d07\u0454\u025b\u0259",
    "f": "\u0192\ua730",
    "g": "\u0261\u0262\u0581",
    "h": "\u04bb\u0570\u029c\u041d\u0397",
    "i": "\u0456\u03b9\u0131\u026a\u04c0\u04cf",
    "j": "\u0458\u03f3\u1d0a",
    "k": "\u043a\u03ba\u1d0b",
    "l": "\u029f\u0142",
    "m": "\u043c\u1d0d\u039c",
    "n": "\u0578\u057c\u0274\u039d\u03b7",
    "o": "\u043e\u03bf\u0585\u1d0f\u00f8\u03c3",
    "p": "\u0440\u03c1\u1d18",
    "q": "\u051b\u0566",
    "r": "\u0280\u1d26",
    "s": "\u0455\ua731\u0282",
    "t": "\u0442\u03c4\u1d1b",
    "u": "\u03c5\u057d\u1d1c",
    "v": "\u03bd\u0475\u1d20",
    "w": "\u051d\u03c9\u1d21",
    "x": "\u0445\u03c7",
    "y": "\u0443\u04af\u028f\u03b3\u03a5",
    "z": "\u1d22\u0396",
}
_INVISIBLE_RANGES = (
    (0x00AD, 0x00AD),  # soft hyphen
    (0x061C, 0x061C),  # Arabic letter mark
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180E),  # Mongolian selectors and vowel separator
    (0x200B, 0x200F),  # zero-width space, joiners, direction marks
    (0x202A, 0x202E),  # direction overrides
    (0x2060, 0x206F),  # word joiner, invisible operators, isolates
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFA0, 0xFFA0),  # half-width Hangul filler
    (0xFFF9, 0xFFFB),  # annotation marks
    (0xE0000, 0xE01EF),  # tags, more variation selectors
)
_LETTER_SIGNS = ((0x1F130, 26), (0x1F150, 26), (0x1F170, 26), (0x1F1E6, 26))  # squared, circled, regional indicators


def _table() -> dict[int, str | None]:
    table: dict[int, str | None] = {}
    for latin, others in _LOOK_ALIKES.items():
        capitals = {other.upper(): latin for other in others if len(other.upper()) == 1}
        table |= {ord(capital): latin for capital in capitals if ord(capital) not in table}
    table |= {ord(other): latin for latin, others in _LOOK_ALIKES.items() for other in others}
    for start, count in _LETTER_SIGNS:
        table |= {start + i: chr(ord("a") + i) for i in range(count)}
    for first, last in _INVISIBLE_RANGES:
        table |= dict.fromkeys(range(first, last + 1))
    return table


_TABLE = _table()


def fold(text: str) -> str:
    """Return *text* in lower case, without accents and invisible characters, look-alike letters as Latin ones.

    The same must be done to what it is compared with: words of other scripts come out half Latin.
    """
    if text.isascii():
        return text.lower()
    # Marks go first: sorting a long run of them takes the square of its length.
    plain = _without_marks(unicodedata.normalize("NFKD", _without_marks(text)))
    return unicodedata.normalize("NFC", plain.translate(_TABLE).casefold())


def _without_marks(text: str) -> str:
    if not any(map(unicodedata.combining, text)):
        return text
    return "".join([char for char in text if not unicodedata.combining(char)])
