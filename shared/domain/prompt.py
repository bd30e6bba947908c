"""The prompt optimiser: words that usually help are added to what was asked, and nothing of it is changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.domain.prompt_words import DEFAULT_WORDS, PromptWords
from shared.domain.request import Request

MAX_CHARS = 1_000
_WORD = re.compile(r"\w+")
_SENTENCE_ENDS = ".!?,;:…。！？、"


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """What is sent for a prompt.

    Attributes:
        original: as asked.
        used: as sent: *original*, then *added*.
        negative: what the piece must not show, as sent; None when there is nothing.
        added: the terms added to the prompt, in order.
    """

    original: str
    used: str
    negative: str | None
    added: tuple[str, ...]


def optimise(request: Request, words: PromptWords = DEFAULT_WORDS) -> PromptPlan:
    """Return the prompt with terms for its style and kind; a text's prompt, and one not to be enhanced, as it is.

    A term that prompt or negative prompt already has is not added, nor one that would make it longer than 1,000
    characters. So a prompt that was optimised before stays as it is.
    """
    prompt, negative = request.prompt, request.negative_prompt
    if not request.enhance_prompt or request.kind not in words.quality:
        return PromptPlan(prompt, prompt, negative, ())
    wanted = (*words.styles.get(request.style or "", ()), *words.quality[request.kind])
    used, added = _with_terms(prompt, wanted)
    unwanted = [term for term in words.negative.get(request.kind, ()) if not _says(prompt, term)]
    return PromptPlan(prompt, used, _with_terms(negative or "", unwanted)[0] or None, added)


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
