"""The offline text writer: pleasant texts around a prompt's own words, in the asked form, without a model.

The same arguments always give the same text. Sentences come from phrases.toml, are never repeated within a
text, and say nothing about the world: this is a stand-in that obeys lengths, platforms and schemas as a model should.
"""

from __future__ import annotations

import json
from typing import Any

from shared.domain.platforms import Platform, find_platform, length
from shared.errors import InvalidCall
from shared.providers.studio.text_schema import build_instance
from shared.providers.studio.text_topic import Dice, read_topic, tables
from shared.providers.studio.text_writer import Fits, Writer

TASKS = ("general", "content", "reasoning", "fast", "complex")
CHARS_PER_TOKEN = 4


def count_tokens(text: str) -> int:
    """Return the estimate that offline texts are billed by: four characters a token, at least one."""
    return max(1, -(-len(text) // CHARS_PER_TOKEN))


def render_text(
    prompt: str,
    *,
    task: str,
    platform: str | None = None,
    schema: dict[str, Any] | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
    system: str | None = None,
) -> tuple[str, str]:
    """Return (text, finish) for *prompt*; finish is always "stop".

    A *schema* makes it JSON that validates, a *platform* a post, else *task* decides. Whole sentences are left out
    until the text fits *max_tokens*. *system* only changes which sentences are chosen.

    Raises:
        InvalidCall: unknown task or platform; a schema that cannot be satisfied, or not within *max_tokens*.
    """
    if task not in TASKS:
        raise InvalidCall(f"unknown task {task!r}; known are {', '.join(TASKS)}")
    rules = _known(platform)
    dice = Dice(prompt, task, platform, seed, system)
    return _render(prompt, dice, rules.name if rules else task, rules, schema, max_tokens), "stop"


def render_template(
    prompt: str, *, platform: str | None = None, schema: dict[str, Any] | None = None, max_tokens: int = 1024
) -> tuple[str, str]:
    """Return (text, finish) that says in neutral words what was asked: the last resort when no model answers.

    Raises:
        InvalidCall: as for `render_text`.
    """
    rules = _known(platform)
    form = "plain"
    if rules is not None:
        form = f"plain_{rules.name}" if f"plain_{rules.name}" in tables()["forms"] else "plain_post"
    return _render(prompt, Dice(prompt), form, rules, schema, max_tokens), "stop"


def _known(platform: str | None) -> Platform | None:
    if platform is None:
        return None
    found = find_platform(platform)
    if found is None:
        raise InvalidCall(f"unknown platform {platform!r}")
    return found


def _render(
    prompt: str, dice: Dice, form: str, rules: Platform | None, schema: dict[str, Any] | None, max_tokens: int
) -> str:
    writer = Writer(read_topic(prompt, dice), dice)
    most = max(1, max_tokens) * CHARS_PER_TOKEN
    if schema is not None:
        return _json(schema, writer, _limit(10**9, rules), max_tokens)
    if rules is not None and rules.thread:
        return writer.thread(form, rules, most) or writer.tiny(most)
    return writer.text(form, _limit(most, rules)) or writer.tiny(most)


def _limit(most: int, rules: Platform | None) -> Fits:
    """Return whether a text has at most *most* characters and the platform takes its length."""
    if rules is None:
        return lambda text: len(text) <= most
    unit, longest = rules.unit, rules.max_chars
    return lambda text: len(text) <= most and length(text, unit) <= longest


def _json(schema: dict[str, Any], writer: Writer, fits: Fits, max_tokens: int) -> str:
    """Return an instance of *schema*, the shortest we know to make when a full one is over *max_tokens*."""
    text = ""
    for lean in (False, True):
        text = json.dumps(build_instance(schema, writer, fits, lean=lean), ensure_ascii=False)
        if count_tokens(text) <= max_tokens:
            return text
    raise InvalidCall(f"the schema needs about {count_tokens(text)} tokens, more than max_tokens = {max_tokens}")
