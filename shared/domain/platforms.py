"""What each publishing platform accepts: lengths in its own unit, hashtags, titles, threads.

Limits checked 2026-11. Sources, by platform:
    x          docs.x.com/fundamentals/counting-characters; twitter-text config/v3.json (weights, 23 per URL).
    linkedin, facebook, pinterest
               docs.upload-post.com/resources/character-limits (the networks name the figures in their editors only).
    instagram  developers.facebook.com, Instagram Platform, IG User Media, `caption`: 2,200 characters, 30 hashtags.
    threads    developers.facebook.com/documentation/threads/posts: 500, "emojis are counted as the number of UTF-8
               bytes"; only one tag of a post becomes a topic.
    tiktok     developers.tiktok.com/doc/content-posting-api-reference-direct-post, `title`: 2,200 UTF-16 runes.
    youtube    developers.google.com/youtube/v3/docs/videos, `snippet`: description 5,000 bytes, title 100 characters,
               neither with < or >; YouTube Help, "Use hashtags": above 60 all of them are ignored, 3 are shown.
    bluesky    lexicon app.bsky.feed.post, `text`: 300 graphemes.
    email      RFC 5322, 2.1.1: a line has at most 998 characters; Gmail clips a body above 102 KB.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

Unit = Literal["characters", "weighted", "graphemes", "utf16", "bytes", "emoji_bytes"]


@dataclass(frozen=True, slots=True)
class Platform:
    """Rules of one platform.

    Attributes:
        max_chars: longest text it takes (each part of a thread), counted in *unit*.
        unit: characters (code points), weighted (x: 1 or 2, a URL 23), graphemes, utf16 (code units),
            bytes (UTF-8), or emoji_bytes (characters, but an emoji is its UTF-8 bytes).
        max_hashtags: above it the platform refuses or ignores them; None where it publishes no limit.
        advised_hashtags: what reads well; above it the text is marked down, not refused.
        thread: whether paragraphs separated by a blank line are posts of their own.
        title_label: a first line `label: …` is the title and does not count as text.
        title_chars: longest title, in characters.
        forbidden: characters the platform refuses.
    """

    name: str
    max_chars: int
    unit: Unit = "characters"
    max_hashtags: int | None = None
    advised_hashtags: int = 3
    thread: bool = False
    title_label: str | None = None
    title_chars: int | None = None
    forbidden: str = ""


PLATFORMS: Mapping[str, Platform] = {
    platform.name: platform
    for platform in (
        Platform("x", 280, "weighted", advised_hashtags=2, thread=True),
        Platform("linkedin", 3000, advised_hashtags=5),
        Platform("instagram", 2200, max_hashtags=30, advised_hashtags=5),
        Platform("facebook", 63206),
        Platform("tiktok", 2200, "utf16", advised_hashtags=5),
        Platform("youtube", 5000, "bytes", 60, 3, title_label="Title", title_chars=100, forbidden="<>"),
        Platform("threads", 500, "emoji_bytes", advised_hashtags=1),
        Platform("bluesky", 300, "graphemes"),
        Platform("pinterest", 500, advised_hashtags=5, title_label="Title", title_chars=100),
        Platform("email", 102_400, advised_hashtags=0, title_label="Subject", title_chars=989),
    )
}
_UNITS: Mapping[Unit, str] = {
    "characters": "characters",
    "weighted": "characters (an emoji counts two)",
    "graphemes": "characters",
    "utf16": "characters (an emoji counts two)",
    "bytes": "bytes",
    "emoji_bytes": "characters (an emoji counts four)",
}
_OLD_NAMES = {"twitter": "x"}

_PICTOGRAPH = (
    "[\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    "\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
    "[\ufe0f\U0001f3fb-\U0001f3ff]*[\U000e0020-\U000e007f]*"
)
EMOJI = re.compile(
    f"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3|{_PICTOGRAPH}(?:\u200d{_PICTOGRAPH})*|[\U0001f1e6-\U0001f1ff]"
)
# With a scheme anything counts; without one x links the domains it knows, of which these are the usual ones.
URL = re.compile(
    r"https?://[^\s<>\"]*[^\s<>\".,;:!?)\]}'…]"
    r"|(?<![\w@./-])(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|info|io|ai|app|dev|co|me|tv|uk|de|fr|es|it|nl|eu|us|jp)"
    r"(?![\w.-]*[\w@])(?:/[^\s<>\"]*[^\s<>\".,;:!?)\]}'…])?",
    re.IGNORECASE,
)
# Word characters, and the marks that Indic and South-East Asian scripts write their vowels with.
_TAG = (
    r"[\w\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
    r"\u0e00-\u0e3e\u0e40-\u0e4e\u0e80-\u0eff\u1000-\u1049\u1780-\u17d3]"
)
HASHTAG = re.compile(rf"(?<![\w&/#\uff03])[#\uff03](?=\w*[^\W\d_]){_TAG}+")
_WEIGHS_TWO = re.compile("[^\u0000-\u10ff\u2000-\u200d\u2010-\u201f\u2032-\u2037]")
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_URL_WEIGHT = 23


def find_platform(name: str) -> Platform | None:
    """Return the platform of that name in any case ("X", "Twitter"), None where there is none."""
    key = name.strip().lower()
    return PLATFORMS.get(_OLD_NAMES.get(key, key))


# ---------------------------------------------------------------- lengths


def brief(platform: Platform) -> str:
    """Return a platform's rules as an instruction to a model: they are what its text will be checked by."""
    name, unit = platform.name.capitalize(), _UNITS[platform.unit]
    told = [f"Write one post for {name}, of at most {platform.max_chars} {unit}."]
    if platform.title_label is not None:
        told.append(f"Begin with a line `{platform.title_label}: …` of at most {platform.title_chars} characters.")
    told.append(
        f"Use at most {platform.advised_hashtags} hashtags." if platform.advised_hashtags else "Use no hashtags."
    )
    if platform.forbidden:
        told.append(f"Do not use any of the characters {' '.join(platform.forbidden)}.")
    return " ".join(told)


def weighted_length(text: str) -> int:
    """Return the length x counts: NFC, 23 for a URL, 2 for an emoji and for most scripts beyond U+10FF, else 1."""
    bare, urls = URL.subn("", unicodedata.normalize("NFC", text))
    if bare.isascii():
        return len(bare) + _URL_WEIGHT * urls
    bare, emoji = EMOJI.subn("", bare)
    return len(bare) + len(_WEIGHS_TWO.findall(bare)) + 2 * emoji + _URL_WEIGHT * urls


def joins(before: str, char: str) -> bool:
    """Whether *char* continues the grapheme that the character *before* belongs to (flags are not looked at)."""
    if before == "\u200d" or char == "\u200d" or "\U0001f3fb" <= char <= "\U0001f3ff":
        return before != "\n"
    return unicodedata.category(char) in {"Mn", "Me", "Mc"} or "\U000e0020" <= char <= "\U000e007f"


def grapheme_length(text: str) -> int:
    """Return how many characters a reader sees: a close reading of UAX #29 (rule GB9c and prepended marks left out)."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n")
    if text.isascii():
        return len(text)
    count, before, in_flag = 0, "\n", False
    for char in text:
        is_flag = "\U0001f1e6" <= char <= "\U0001f1ff"
        in_flag = is_flag and not in_flag
        if not joins(before, char) and (in_flag or not is_flag):
            count += 1
        before = char
    return count


def length(text: str, unit: Unit) -> int:
    """Return the length of *text* as a platform with that *unit* counts it."""
    match unit:
        case "characters":
            return len(text)
        case "weighted":
            return weighted_length(text)
        case "graphemes":
            return grapheme_length(text)
        case "utf16":
            return len(text.encode("utf-16-le", "surrogatepass")) // 2
        case "bytes":
            return len(text.encode("utf-8", "surrogatepass"))
        case "emoji_bytes":
            return len(text) + sum(len(found.encode()) - len(found) for found in EMOJI.findall(text))
    assert_never(unit)


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a platform held against a text."""

    name: str
    measured: int
    wanted: str
    passed: bool
    fatal: bool = True


def split_title(text: str, platform: Platform) -> tuple[str | None, str]:
    """Return (title, text without it); the title is None when the first line is not one."""
    first, _, rest = text.lstrip().partition("\n")
    label, colon, title = first.strip("*_ \r").partition(":")
    if platform.title_label is None or not colon or label.strip("*_ ").casefold() != platform.title_label.casefold():
        return None, text
    return title.strip("*_ "), rest.strip()


def thread_parts(text: str) -> list[str]:
    """Return the posts of a thread: paragraphs separated by blank lines."""
    return [part for part in _BLANK_LINE.split(text.strip()) if part]


def platform_rules(text: str, platform: Platform) -> list[Rule]:
    """Return every rule of *platform* with what was measured, kept or not."""
    title, body = split_title(text, platform)
    posts = thread_parts(body) if platform.thread else [body.strip()]
    longest = max((length(post, platform.unit) for post in posts), default=0)
    unit = f"{platform.unit} in each post" if platform.thread else platform.unit
    rules = [Rule("platform_length", longest, f"<= {platform.max_chars} {unit}", longest <= platform.max_chars)]
    rules += _hashtag_rules(len(HASHTAG.findall(text)), platform)
    if title is not None and platform.title_chars is not None:
        wanted = f"1 to {platform.title_chars} characters"
        rules.append(Rule("platform_title", len(title), wanted, 1 <= len(title) <= platform.title_chars))
    if platform.forbidden:
        count = sum(map(text.count, platform.forbidden))
        rules.append(Rule("platform_forbidden", count, f"none of {' '.join(platform.forbidden)}", not count))
    return rules


def _hashtag_rules(count: int, platform: Platform) -> list[Rule]:
    advised = platform.advised_hashtags
    rules = [Rule("advised_hashtags", count, f"<= {advised}", count <= advised, fatal=False)]
    if platform.max_hashtags is not None:
        limit = platform.max_hashtags
        rules.append(Rule("platform_hashtags", count, f"<= {limit}", count <= limit))
    return rules


def platform_checks(text: str, platform: Platform) -> list[Rule]:
    """Return the problems: the rules of *platform* that *text* breaks; empty when it can be published as it is."""
    return [rule for rule in platform_rules(text, platform) if not rule.passed]
