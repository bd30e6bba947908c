"""Names that follow from content: of a job, of what was asked, and of what would come out.

Every name is a hash over its parts, each with its length in front and the purpose first, so that no two lists of
parts, and no two purposes, can meet.
"""

from __future__ import annotations

import hashlib
import json

from shared.domain.request import Request, request_to_doc

_ID_CHARS = 32  # of hex: 128 bits

# What changes neither the pieces nor who may have them; the prompts go in as they are sent to the vendor.
# A field added later counts as changing the output until it is listed here: two purchases, never a wrong answer.
_NOT_OUTPUT = frozenset(
    {
        "request_id",
        "user",
        "priority",
        "max_cost_usd",
        "deadline_s",
        "callback_url",
        "labels",
        "cache",
        "enhance_prompt",
        "prompt",
        "negative_prompt",
        "model",
    }
)


def job_id(tenant: str, request_id: str) -> str:
    """Return the id of the job of a request that names itself."""
    return _digest("job by request", tenant, request_id)[:_ID_CHARS]


def job_id_from_transport(tenant: str, identity: str) -> str:
    """Return the id of the job of a request without a name: *identity* is the message's, or file and line."""
    return _digest("job by transport", tenant, identity)[:_ID_CHARS]


def conflict_job_id(tenant: str, request_id: str, content_hash: str) -> str:
    """Return the id under which a second, different request of the same name is refused."""
    return _digest("job by conflict", tenant, request_id, content_hash)[:_ID_CHARS]


def content_hash(request: Request) -> str:
    """Return the SHA-256, in hex, of everything asked; the same however the fields were ordered or spelt out.

    The name under which it was asked, `request_id`, is no part of it.
    """
    doc = request_to_doc(request)
    doc.pop("request_id", None)
    return _digest("content", _canonical(doc))


def fingerprint(
    request: Request, prompt_used: str, negative_prompt_used: str | None, model_resolved: str | None
) -> str:
    """Return the SHA-256, in hex, of everything that changes the output, and of the tenant.

    Args:
        request: what was asked.
        prompt_used: as it goes to the vendor.
        negative_prompt_used: likewise; None when there is none.
        model_resolved: the catalogue's id of the model asked for, so that an alias means the same; None for any.
    """
    doc = {name: value for name, value in request_to_doc(request).items() if name not in _NOT_OUTPUT}
    doc["used"] = [prompt_used, negative_prompt_used, model_resolved]
    return _digest("output", _canonical(doc))


def _canonical(doc: dict[str, object]) -> str:
    return json.dumps(doc, sort_keys=True, separators=(",", ":"))


def _digest(*parts: str) -> str:
    # Identities come from requests that may be refused for what they hold, half surrogate pairs among it.
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in encoded)).hexdigest()
