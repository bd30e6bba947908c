"""The words in which Vertex AI says that a safety filter stepped in."""

from __future__ import annotations

PROMPT_REASON, IMAGE_REASON, TEXT_REASON = "PROHIBITED_CONTENT", "IMAGE_SAFETY", "SAFETY"
INPUT_CODE, OUTPUT_CODE = "90789179", "63429089"  # "sexual", input and output, in Google's list of support codes
REFUSAL = "I'm sorry, I can't help with that."
PROMPT_MESSAGE = "The prompt could not be submitted because it may violate the usage guidelines."
OUTPUT_MESSAGE = "Unable to show the generated output because it may violate the usage guidelines."


def rai_reason(code: str) -> str:
    """Return the reason for a filtered picture or clip, with its support code."""
    return f"{OUTPUT_MESSAGE} Support codes: {code}"
