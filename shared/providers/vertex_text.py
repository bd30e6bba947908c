"""Words of Gemini models: with system text, input files, structured output and thoughts that fit the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.genai import Client
from google.genai.types import GenerateContentResponse, Part, ThinkingConfig, ThinkingLevel

from shared.ports import Asset, BlobStore, Call, Done
from shared.providers.vertex_content import ending, send, tokens
from shared.providers.vertex_inputs import part

_LEVELS = (ThinkingLevel.MINIMAL, ThinkingLevel.LOW, ThinkingLevel.MEDIUM, ThinkingLevel.HIGH)
_THINKING = {
    "fast": ThinkingLevel.MINIMAL,
    "general": ThinkingLevel.LOW,
    "content": ThinkingLevel.LOW,
    "complex": ThinkingLevel.MEDIUM,
    "reasoning": ThinkingLevel.HIGH,
}
# Thoughts count against max_tokens: with less room than this they could leave nothing for the answer. Figures: the
# thinking budgets that LiteLLM takes for the same levels, docs.litellm.ai/docs/providers/gemini.
_ROOM = {ThinkingLevel.MEDIUM: 2048, ThinkingLevel.HIGH: 4096}
# The other models answer MINIMAL with 400 (ai.google.dev/gemini-api/docs/generate-content/thinking#thinking-levels).
_MINIMAL = frozenset(
    {
        "gemini-3-flash-preview",
        "gemini-3.1-flash-lite",
        "gemini-3.5-flash",
        "gemini-3.5-flash-lite",
        "gemini-3.6-flash",
    }
)
_CUT_OFF = frozenset({"MAX_TOKENS", "CONTINUATION"})


def start(call: Call, client: Client, blobs: BlobStore) -> Done:
    """Make a text. One that was cut off, even to nothing, is delivered: it was paid for. Raises ProviderFaults."""
    p = call.params
    parts = [*(part(uri, blobs) for uri in p.get("inputs", ())), Part.from_text(text=p["prompt"])]
    response = send(
        call,
        client,
        parts,
        system_instruction=p.get("system"),
        temperature=p.get("temperature"),
        top_p=p.get("top_p"),
        max_output_tokens=p["max_tokens"],
        thinking_config=ThinkingConfig(thinking_level=thinking_level(call.model, p["task"], p["max_tokens"])),
        **_structure(call),
    )
    end = ending(response)
    media_type = "application/json" if "response_schema" in p else "text/plain"
    finish = "max_tokens" if end.reason in _CUT_OFF else "stop"
    return Done((Asset(media_type, text=end.text),), _usage(response), finish)


def thinking_level(model: str, task: str, max_tokens: int) -> ThinkingLevel:
    """Return how much a model may think about a task of which *max_tokens* is all that it may write."""
    wanted = _THINKING.get(task, ThinkingLevel.LOW)
    if wanted is ThinkingLevel.MINIMAL:
        return wanted if model in _MINIMAL else ThinkingLevel.LOW
    fitting = [level for level in _LEVELS[1 : _LEVELS.index(wanted) + 1] if max_tokens >= _ROOM.get(level, 0)]
    return fitting[-1]


def _structure(call: Call) -> Mapping[str, Any]:
    schema = call.params.get("response_schema")
    return {} if schema is None else {"response_mime_type": "application/json", "response_json_schema": schema}


def _usage(response: GenerateContentResponse) -> Mapping[str, int]:
    read, _, written = tokens(response.usage_metadata)
    return {"input_token": read, "output_token": written} if read or written else {}
