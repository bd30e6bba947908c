"""The prompt optimiser: words that usually help are added to what was asked, and nothing of it is changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.domain.platforms import brief, find_platform
from shared.domain.prompt_words import DEFAULT_WORDS, SOFTER_WORDS, PromptWords
from shared.domain.request import Request, TextRequest

MIN_CHARS, MAX_CHARS = 5, 1_000
_WORD = re.compile(r"\w+")
# "in the style of …" up to the next comma or sentence end: a vendor that knows the artist refuses to recite.
_IMITATION = re.compile(r",?\s*\bin the (?:style|manner) of [^,.;:!?]+", re.IGNORECASE)
_SENTENCE_ENDS = ".!?,;:…。！？、"


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """What is sent for a prompt.

    Attributes:
        original: as asked.
        used: as sent: *original*, then *added*.
        negative: what the piece must not show, as sent; None when there is nothing.
        added: the terms added to the prompt, in order.
        system: of a text for a platform, the system text as sent: as asked, and the platform's rules. Else None.
    """

    original: str
    used: str
    negative: str | None
    added: tuple[str, ...]
    system: str | None = None

    def document(self) -> dict[str, Any]:
        """Return what a job keeps of the plan: what is sent, without what it only repeats."""
        doc: dict[str, Any] = {"negative": self.negative, "added": list(self.added)}
        if self.used != self.original:
            doc["used"] = self.used
        if self.system is not None:
            doc["system"] = self.system
        return doc


def as_sent(request: Request, prompt: Mapping[str, Any]) -> Request:
    """Return *request* with its texts as vendors get them: that is what is priced. *prompt*: `Job.prompt`."""
    texts = {"prompt": prompt.get("used", request.prompt), "negative_prompt": prompt.get("negative")}
    if isinstance(request, TextRequest):
        texts["system"] = prompt.get("system", request.system)
    return replace(request, **texts)


def optimise(request: Request, words: PromptWords = DEFAULT_WORDS) -> PromptPlan:
    """Return the prompt with terms for its style and kind; a text's prompt, and one not to be enhanced, as it is.

    A term that prompt or negative prompt already has is not added, nor one that would make it longer than 1,000
    characters. So a prompt that was optimised before stays as it is.
    """
    prompt, negative = request.prompt, request.negative_prompt
    if isinstance(request, TextRequest):
        platform = find_platform(request.platform or "")
        if platform is None:
            return PromptPlan(prompt, prompt, negative, ())
        return PromptPlan(prompt, prompt, negative, (), "\n\n".join(filter(None, (request.system, brief(platform)))))
    if not request.enhance_prompt or request.kind not in words.quality:
        return PromptPlan(prompt, prompt, negative, ())
    wanted = (*words.styles.get(request.style or "", ()), *words.quality[request.kind])
    used, added = _with_terms(prompt, wanted)
    unwanted = [term for term in words.negative.get(request.kind, ()) if not _says(prompt, term)]
    return PromptPlan(prompt, used, _with_terms(negative or "", unwanted)[0] or None, added)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A prompt made acceptable to a safety filter; *replaced* is the difference, as (words before, words after)."""

    text: str
    replaced: tuple[tuple[str, str], ...]


def rewrite(prompt: str, words: Mapping[str, str] = SOFTER_WORDS) -> Rewrite | None:
    """Return *prompt* without what vendors' filters often refuse; None when nothing of that is in it.

    Never longer by more than the words that stand in, and never the same prompt.
    """
    replaced = [(found.group(0).strip(" ,"), "") for found in _IMITATION.finditer(prompt)]
    text = _IMITATION.sub("", prompt)

    def softer(found: re.Match[str]) -> str:
        instead = words[found.group(0).casefold()]
        replaced.append((found.group(0), instead))
        return instead

    # The longest first, so that "dead body" is not taken apart.
    terms = "|".join(re.escape(term) for term in sorted(words, key=len, reverse=True))
    text = re.sub(rf"\b(?:{terms})\b", softer, text, flags=re.IGNORECASE).strip(" ,")
    return Rewrite(text, tuple(replaced)) if replaced and len(text) >= MIN_CHARS else None


def _with_terms(text: str, terms: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    added: list[str] = []
    for term in terms:
        longer = text + _separator(text) + term
        if len(longer) <= MAX_CHARS and not _says(text, term):
            text = longer
            added.append(term)
    return text, tuple(added)


def _separator(text: str) -> str:
    if not text:
        return ""
    return " " if text.endswith(tuple(_SENTENCE_ENDS)) else ", "


def _says(text: str, term: str) -> bool:
    """Whether *text* has the words of *term* side by side, in any case and however they are joined."""
    return f" {_plain(term)} " in f" {_plain(text)} "


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))
