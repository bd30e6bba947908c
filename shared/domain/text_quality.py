"""Whether a text may be handed over: whole, within its platform's rules, in the asked shape, and not a loop.

Nothing here knows a language. A text starts with 100 points and every check that fails takes its share
(`PENALTIES`); a fatal check takes all of them. 90 and above is an A, 70 a B, 50 a C, anything less a D.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from shared.domain.platforms import PLATFORMS, find_platform, platform_rules
from shared.domain.quality import Check, PieceVerdict

GRADES = (("A", 90), ("B", 70), ("C", 50))
PENALTIES = {
    "finish": 45,  # cut off by the token limit: usable at most as a C
    "ends_whole": 20,
    "repeated_sentences": 20,
    "repeated_phrases": 20,
    "advised_hashtags": 15,
    "platform": 15,
}

# Share of repeated text above which language-model training sets drop a page: lines and sentences 0.30, words in
# repeated 5-grams 0.15 (Rae et al., "Scaling Language Models", 2021, table A1). With most of it repeated it is a loop.
SENTENCES_REPEATED = 0.30
PHRASES_REPEATED = 0.15
HEAVY = 0.6
# Speech recognition drops a segment that deflates to 1/2.4 (Whisper, compression_ratio_threshold); long prose and
# three-byte scripts reach 1/6, so only a text far beyond both is called a loop.
COMPRESSION = 10.0

# Full stops of Latin, East Asian (the next sentence follows at once), Arabic, Indic, Burmese and Ethiopic scripts.
_STOPS = r".!?\u2026\u3002\uff0e\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965\u104b\u1362"
_SENTENCE_END = re.compile(rf"[{_STOPS}]+[\"'\u201d\u2019\u00bb)\]]*(?:\s+|$)|(?<=[\u3002\uff01\uff1f\uff61])|\n+")
_GOES_ON = ",;:(\u060c\u061b\u3001\uff0c\uff1a\uff1b\u2013\u2014"
_MARKS = re.compile(r"[\W\d_]+")
_WORD = re.compile(r"\S*\w\S*")
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff\ufffe\uffff]")
_MIN_SENTENCE = 8  # letters; "Yes." may come as often as it likes
_MIN_WORDS = 20
_MIN_LETTERS = 100
_MIN_COMPRESSED = 200  # bytes
_MIN_PROSE = 80  # characters; a shorter text may be a title, a name, a slogan


def judge_text(
    text: str,
    *,
    finish: str,
    platform: str | None,
    schema_errors: list[str] | None,
    blocked_terms_found: list[str],
    min_grade: str,
) -> PieceVerdict:
    """Return the verdict on one text.

    Args:
        text: what the model delivered.
        finish: why the model stopped, "stop" or "max_tokens".
        platform: name of a platform whose rules apply; to every string in it when the text is JSON.
        schema_errors: what a JSON schema found wrong ("not JSON" among them); None when no schema was asked for.
        blocked_terms_found: terms of the block list that the text contains.
        min_grade: worst grade that is approved, "A" to "D".
    """
    wants_json = schema_errors is not None
    strings = _strings(text) if wants_json else [text]
    checks = [
        _not_empty(text),
        Check("finish", finish, "stop", finish == "stop", wants_json),
        Check("control_characters", len(_CONTROL.findall(text)), "0", _CONTROL.search(text) is None, fatal=True),
        Check("blocked_terms", list(blocked_terms_found), "none", not blocked_terms_found, fatal=True),
        *_repetition("\n".join(s for s in strings if len(s) >= _MIN_PROSE) if wants_json else text),
    ]
    if schema_errors is None:
        checks.append(_ends_whole(text))
    else:
        checks.append(Check("schema", schema_errors[:5], "no errors", not schema_errors, fatal=True))
    if platform is not None:
        checks += _platform_checks(strings, platform)
    grade, score = text_grade(checks)
    checks.append(Check("grade", f"{grade} ({score} of 100)", f"{min_grade} or better", grade <= min_grade, fatal=True))
    return PieceVerdict(grade, all(check.passed or not check.fatal for check in checks), tuple(checks))


def text_grade(checks: Sequence[Check]) -> tuple[str, int]:
    """Return (grade, score of 0 to 100) after the penalties of the failed checks."""
    failed = [check for check in checks if not check.passed]
    score = 0 if any(check.fatal for check in failed) else 100 - sum(PENALTIES[check.name] for check in failed)
    return next((grade for grade, least in GRADES if score >= least), "D"), max(0, score)


# ---------------------------------------------------------------- single checks


def _not_empty(text: str) -> Check:
    """Letters, digits and symbols (an emoji is one) make a text; spaces and punctuation do not."""
    visible = any(unicodedata.category(char)[0] in "LNS" for char in text)
    return Check("not_empty", len(text.strip()), "at least 1 letter, digit or symbol", visible, fatal=True)


def _ends_whole(text: str) -> Check:
    """Find a long last line that stops at a letter or a comma in a text that ends its other sentences."""
    text = text.rstrip()
    last = text[text.rfind("\n") + 1 :]
    cut = (
        len(text) >= _MIN_PROSE
        and len(last) > _MIN_PROSE // 2
        and not last.lstrip().startswith(("-", "*", "•", "#", "|", "http"))
        and "#" not in last[last.rfind(" ") + 1 :]
        and (unicodedata.category(last[-1])[0] in "LNM" or last[-1] in _GOES_ON)
        and _SENTENCE_END.search(text, 0, len(text) - 1) is not None
        and not _SPACELESS.match(last[-1])
    )
    return Check("ends_whole", last[-1:], "the end of a sentence", not cut, fatal=False)


def _repetition(text: str) -> Iterator[Check]:
    """Repeated sentences, repeated 5-word phrases, and loops of anything else by how far the text deflates."""
    sentences = _repeated_sentences(text)
    yield _share("repeated_sentences", sentences, SENTENCES_REPEATED)
    yield _share("repeated_phrases", _repeated_phrases(text), PHRASES_REPEATED)
    raw = text.encode("utf-8", "surrogatepass")
    ratio = round(len(raw) / len(zlib.compress(raw, 1)), 2) if len(raw) >= _MIN_COMPRESSED else 1.0
    yield Check("compression", ratio, f"<= {COMPRESSION}", ratio <= COMPRESSION, fatal=True)


def _share(name: str, measured: float, wanted: float) -> Check:
    return Check(name, round(measured, 3), f"<= {wanted}", measured <= wanted, measured > HEAVY)


def _repeated_sentences(text: str) -> float:
    """Return the share of letters in sentences or lines that came before; numbering and case do not count."""
    seen: set[str] = set()
    total = repeated = 0
    for sentence in _SENTENCE_END.split(text.casefold()):
        letters = _MARKS.sub("", sentence)
        if len(letters) < _MIN_SENTENCE:
            continue
        total += len(letters)
        if letters in seen:
            repeated += len(letters)
        seen.add(letters)
    return repeated / total if total else 0.0


def _repeated_phrases(text: str) -> float:
    """Return the share of 5-word phrases that came before (10 letters in scripts that put no space between words)."""
    spaceless = len(_SPACELESS.findall(text))
    words, size, least = _WORD.findall(text.casefold()), 5, _MIN_WORDS
    if spaceless * 2 > len(text):
        words, size, least = list("".join(words)), 10, _MIN_LETTERS
    if len(words) < least:
        return 0.0
    phrases = list(zip(*(words[start:] for start in range(size)), strict=False))
    return 1 - len(set(phrases)) / len(phrases)


# ---------------------------------------------------------------- platform, JSON


def _platform_checks(texts: Sequence[str], name: str) -> list[Check]:
    """Return each rule once, held against the text that keeps it worst."""
    platform = find_platform(name)
    if platform is None:
        return [Check("platform", name, f"one of {', '.join(PLATFORMS)}", passed=False, fatal=False)]
    worst: dict[str, Check] = {}
    for text in texts:
        for rule in platform_rules(text, platform):
            known = worst.get(rule.name)
            if known is None or (known.passed and (not rule.passed or rule.measured > known.measured)):
                worst[rule.name] = Check(rule.name, rule.measured, rule.wanted, rule.passed, rule.fatal)
    return list(worst.values())


def _strings(text: str) -> list[str]:
    """Return every string value of a JSON text; none when it is not JSON (the schema check says so)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    open_values: list[Any] = [value]
    while open_values:
        value = open_values.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            open_values.extend(value.values())
        elif isinstance(value, list):
            open_values.extend(value)
    return found
