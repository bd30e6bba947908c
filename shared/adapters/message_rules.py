"""The strictest bus's limits on messages, as plain functions that every bus adapter calls.

Source: cloud.google.com/pubsub/quotas#resource_limits. The Pub/Sub emulator lets attributes of 1,025 bytes pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from shared.errors import InvalidMessage
from shared.ports import Message

MAX_MESSAGE_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1_024

# One encoder for all: `json.dumps` with options makes a new one at every call.
compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(message: Message) -> str:
    """Return the payload as compact JSON text. Raises InvalidMessage when it is not JSON or a limit does not hold."""
    _check_attributes(message.attributes)
    try:
        text = compact(message.payload)
        size_bytes = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidMessage(f"the payload for {message.topic!r} is not JSON: {exc}") from None
    if size_bytes > MAX_MESSAGE_BYTES:
        raise InvalidMessage(
            f"the payload for {message.topic!r} is of {size_bytes} bytes; {MAX_MESSAGE_BYTES} are allowed"
        )
    return text


def _check_attributes(attributes: Mapping[str, str]) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidMessage(f"{len(attributes)} attributes; {MAX_ATTRIBUTES} are allowed")
    for key, value in attributes.items():
        if not 1 <= _size_bytes(key) <= MAX_KEY_BYTES or key.startswith("goog"):
            raise InvalidMessage(f"{key[:100]!r} cannot be the key of an attribute")
        if _size_bytes(value) > MAX_VALUE_BYTES:
            raise InvalidMessage(f"the attribute {key!r} is over {MAX_VALUE_BYTES} bytes")


def _size_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidMessage("an attribute is not UTF-8") from None
