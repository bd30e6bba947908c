"""One call of `generateContent`, and what its answer says before anything of it is used.

None of its refusals is an error in HTTP: a blocked prompt has no candidate, a blocked answer has a candidate without
content, and a picture can be refused in words with the reason STOP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.genai import Client
from google.genai.types import (
    AutomaticFunctionCallingConfig,
    Content,
    GenerateContentConfig,
    GenerateContentResponse,
    GenerateContentResponseUsageMetadata,
    Part,
)

from shared.errors import Ambiguous, Blocked
from shared.ports import Call
from shared.providers.vertex_clients import within
from shared.providers.vertex_errors import VENDOR, built, paid, support_codes
from shared.providers.vertex_inputs import asked, labels, safety_settings

_BLOCKS = frozenset(
    {
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)


@dataclass(frozen=True, slots=True)
class Ending:
    """What came out of a call that was not blocked: its parts without thoughts, and the vendor's reason to stop."""

    reason: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All words."""
        return "".join(part.text or "" for part in self.parts)


def send(call: Call, client: Client, parts: list[Part], **config: Any) -> GenerateContentResponse:
    """Make the call, once, and return the answer.

    Raises:
        ProviderFault: as `vertex_errors.paid` says.
    """
    settings = built(
        GenerateContentConfig,
        candidate_count=1,
        seed=call.params.get("seed"),
        safety_settings=safety_settings(),
        labels=labels(call),
        automatic_function_calling=AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,  # it would make, and pay for, further calls that nobody priced
        http_options=within(call.timeout_s),
        **config,
    )
    with paid(asked(call)):
        return client.models.generate_content(
            model=call.model, contents=[Content(role="user", parts=parts)], config=settings
        )


def ending(response: GenerateContentResponse) -> Ending:
    """Return how the call ended.

    Raises:
        Blocked: the prompt or the answer.
        Ambiguous: the answer says neither what was made nor why nothing was.
    """
    if not response.candidates:
        feedback = response.prompt_feedback
        if feedback is None or feedback.block_reason is None:
            raise Ambiguous(f"{VENDOR} answered without a candidate and without a reason")
        codes = support_codes(feedback.block_reason_message)
        raise Blocked(f"{VENDOR} blocked the prompt: {feedback.block_reason.value}{codes}", usage=spent(response))
    first = response.candidates[0]
    reason = str(first.finish_reason.value) if first.finish_reason else ""
    if reason in _BLOCKS:
        told = f"{VENDOR} blocked what it had made: {reason}{support_codes(first.finish_message)}"
        raise Blocked(told, usage=spent(response))
    parts = (first.content.parts if first.content else None) or []
    return Ending(reason, tuple(part for part in parts if not part.thought))


def tokens(usage: GenerateContentResponseUsageMetadata | None, modality: str = "") -> tuple[int, int, int]:
    """Return the tokens read, those of the answer in *modality*, and all others that were written, thoughts included.

    Every count may be missing.
    """
    if usage is None:
        return 0, 0, 0
    details = usage.candidates_tokens_details or []
    special = sum(each.token_count or 0 for each in details if each.modality and each.modality.value == modality)
    others = max(0, (usage.candidates_token_count or 0) - special) + (usage.thoughts_token_count or 0)
    return usage.prompt_token_count or 0, special, others


def spent(response: GenerateContentResponse) -> dict[str, int]:
    """Return the tokens of a call that delivered nothing: what it read is charged all the same."""
    read, image, others = tokens(response.usage_metadata, "IMAGE")
    units = {"input_token": read, "image_token": image, "output_token": others}
    return {unit: count for unit, count in units.items() if count}
