"""What has to follow each way in which a call of a vendor can fail: one row per vendor, operation and fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.ports import Json

OWN_ROWS = """
[[model]]
id = "imagen-4.0-generate-001"
retires_on = 2027-06-30
location = "us-central1"
sizes = ["1K"]
max_count = 4
pieces_per_call = 4
price = [{ unit = "image", amount = "0.04", from = 2026-01-01, source = "https://example.com", checked = 2026-11-20 }]

[[model]]
id = "stable-diffusion-xl"
price = [{ unit = "image", amount = "0.002", from = 2026-01-01, source = "https://example.com", checked = 2026-11-20 }]
"""
TEXT: Json = {"kind": "text", "max_tokens": 1000}
IMAGE: Json = {"kind": "image", "size": "1K", "enhance_prompt": False}
CLIP: Json = {"kind": "video", "duration_s": 4, "audio": False, "enhance_prompt": False}
WAIT_S = 30.0  # the Retry-After of `rate_limited`
PAUSE_S = 10.0  # after a 429 that names no time


@dataclass(frozen=True)
class Subject:
    """A model under test, and the healthy one that is to follow it.

    Attributes:
        calls: the vendor's operation that is paid for.
        price: the dearest that its one call can cost, micro-USD, reckoned by hand.
        rates: micro-USD per unit that the vendor reports.
    """

    request: Json
    model: str
    vendor: str
    vendor_model: str
    calls: str
    other: str
    price: int
    rates: Mapping[str, float]


# The prompt reads "A paper boat on a quiet pond, case 123": 38 characters, which the simulators count as 10 tokens.
# It is priced as 80: 34 letters and spaces by threes, a comma and three digits by one, and 64 for what the vendor adds.
SUBJECTS: Mapping[str, Subject] = {
    "vertex text": Subject(
        TEXT,
        "gemini-3.5-flash-lite",
        "vertex",
        "gemini-3.5-flash-lite",
        "generateContent",
        "gpt-oss-120b",
        24 + 2500,  # 80 at 0.30, 1000 at 2.50 USD a million
        {"input_token": 0.30, "output_token": 2.50},
    ),
    "vertex image": Subject(
        IMAGE,
        "gemini-3.1-flash-lite-image",
        "vertex",
        "gemini-3.1-flash-lite-image",
        "generateContent",
        "flux-schnell",
        20 + 33_600 + 3072,  # 80 at 0.25, 1120 at 30, 2048 at 1.50 USD a million
        {"input_token": 0.25, "output_token": 1.50, "image_token": 30},
    ),
    "imagen": Subject(
        {**IMAGE, "count": 2},
        "imagen-4.0-generate-001",
        "vertex",
        "imagen-4.0-generate-001",
        "predict",
        "flux-schnell",
        80_000,
        {"image": 40_000},
    ),
    "veo": Subject(
        CLIP,
        "veo-3.1-fast-generate-001",
        "vertex",
        "veo-3.1-fast-generate-001",
        "predictLongRunning",
        "gen4.5",
        400_000,
        {"second": 100_000},
    ),
    "omni": Subject(
        {**CLIP, "audio": True},
        "gemini-omni-1.1-flash-preview",
        "vertex",
        "gemini-omni-1.1-flash-preview",
        "interactions.create",
        "runway-veo3.1_fast",
        120 + 405_440 + 18_432,  # 80 at 1.50, 4 times 5792 at 17.50, 2048 at 9 USD a million
        {"input_token": 1.50, "output_token": 9.0, "video_token": 17.5},
    ),
    "runway image": Subject(
        IMAGE, "gen4_image", "runway", "gen4_image", "text_to_image", "flux-schnell", 80_000, {"credit": 10_000}
    ),
    "runway video": Subject(
        CLIP, "gen4.5", "runway", "gen4.5", "text_to_video", "veo-3.1-lite-generate-001", 480_000, {"credit": 10_000}
    ),
    "replicate image": Subject(
        {**IMAGE, "count": 2},
        "flux-schnell",
        "replicate",
        "black-forest-labs/flux-schnell",
        "predictions",
        "gemini-3.1-flash-lite-image",
        6000,
        {"image": 3000},
    ),
    "replicate text": Subject(
        TEXT,
        "meta-llama-3-70b-instruct",
        "replicate",
        "meta/meta-llama-3-70b-instruct",
        "predictions",
        "gemini-3.5-flash-lite",
        52 + 2750,  # 80 at 0.65, 1000 at 2.75 USD a million
        {"input_token": 0.65, "output_token": 2.75},
    ),
    "huggingface text": Subject(
        TEXT,
        "gpt-oss-120b",
        "huggingface",
        "openai/gpt-oss-120b:cerebras",
        "chat",
        "gemini-3.5-flash-lite",
        28 + 750,  # 80 at 0.35, 1000 at 0.75 USD a million
        {"input_token": 0.35, "output_token": 0.75},
    ),
    "huggingface image": Subject(
        IMAGE,
        "stable-diffusion-xl",
        "huggingface",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "image",
        "flux-schnell",
        2000,
        {"image": 2000},
    ),
}

NONE, SAME, OTHER = "nobody", "the same model", "the other model"
PRICE = -1  # the whole price of the subject
BILLED = -2  # what the vendor's record says, at the subject's rates
CLEAN, FAILED, COOLING, DISABLED = "clean", "one failure", "cooling", "disabled"


@dataclass(frozen=True)
class Row:
    """One fault and what has to come of it.

    Attributes:
        code: error code of the first attempt; "rejected" when the quality check turned its pieces down, None when good.
        then: who is tried next.
        booked, suspense: micro-USD of the first attempt.
        health: what the breaker of the subject says after the first attempt.
        accepted: how many calls of the subject the vendor accepted.
        fault_at: the operation that fails, where it is not the paid one.
        options: of the fault. settings: of our system. request: on top of the subject's.
        pause_s: virtual seconds that pass between the create and the first look.
        state: of the job in the end.
        log: event and code of a line that must be there, where it is not the fault that the code says.
    """

    subject: str
    fault: str | None
    code: str | None
    then: str = OTHER
    booked: int = 0
    suspense: int = 0
    health: str = CLEAN
    accepted: int = 1
    fault_at: str | None = None
    options: Json = field(default_factory=dict)
    settings: Json = field(default_factory=dict)
    request: Json = field(default_factory=dict)
    pause_s: float = 0.0
    state: str = "succeeded"
    log: tuple[str, str] | None = None

    @property
    def line(self) -> tuple[str, str]:
        """Event and code, or state, of the line that has to be logged."""
        if self.log is not None:
            return self.log
        if self.code in (None, "rejected"):
            return "job.moved", "succeeded" if self.code is None else "falling_back"
        return "provider.fault", str(self.code)

    @property
    def name(self) -> str:
        what = [self.subject, self.fault or "no fault", self.fault_at or "", *map(str, self.options.values())]
        what += [*self.settings, *self.request, f"after {self.pause_s:g} s" if self.pause_s else ""]
        return " ".join(filter(None, what))


BLOCKED: Json = {"code": "blocked", "then": NONE, "state": "failed"}
REFUSED: Json = {"code": "unavailable", "health": FAILED, "accepted": 0}
DOUBTFUL: Json = {"code": "ambiguous", "suspense": PRICE, "health": FAILED}
REJECTED: Json = {"code": "rejected"}
LATE: Json = {"code": "unavailable", "health": FAILED}
GONE: Json = {"code": "model_gone", "health": DISABLED, "accepted": 0}
LIMITED: Json = {"code": "rate_limited", "health": COOLING, "accepted": 0, "options": {"retry_after_s": WAIT_S}}
SILENT: Json = {"code": "rate_limited", "health": COOLING, "accepted": 0}
FINE: Json = {"code": None, "then": NONE}
NO_ACCOUNT: Json = {"code": "account_refused", "health": FAILED, "accepted": 0}
HANGS: Json = {"options": {"hang_s": 2.0}, "settings": {"call_timeout_s": 0.8}}
ADOPTED: Json = {"code": None, "then": NONE, "log": ("provider.fault", "ambiguous")}
NOT_FETCHED: Json = {"fault_at": "file", "log": ("pieces.not_fetched", "")}
ENDED = ("job.moved", "failed")
SLOW: Json = {"options": {"slow_s": 0.2}}
SCHEMA: Json = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
ALONE: Json = {"fallback": False}


TABLE = [
    # ------------------------------------------------------------ Vertex AI: Gemini text
    Row("vertex text", "rate_limited", **LIMITED),
    Row("vertex text", "rate_limited_silent", **SILENT),
    Row("vertex text", "error_500", **REFUSED),
    Row("vertex text", "unavailable", **REFUSED),
    Row("vertex text", "hang", **DOUBTFUL, **HANGS),
    Row("vertex text", "drop", **DOUBTFUL),
    Row("vertex text", "gateway", **DOUBTFUL),
    Row("vertex text", "slow", **FINE, **SLOW, booked=BILLED),
    Row("vertex text", "blocked_prompt", **BLOCKED, booked=3),  # 10 tokens at 0.30 USD a million
    Row("vertex text", "blocked_output", **BLOCKED, booked=3),
    Row("vertex text", "filtered", **BLOCKED, booked=3),
    Row("vertex text", "refusal", **FINE, booked=BILLED),
    # Half a text may end with a sentence: then only its grade says so, which is a C at most.
    Row("vertex text", "partial", **REJECTED, booked=BILLED, request={"min_grade": "B"}),
    Row("vertex text", "corrupt", **REJECTED, booked=BILLED),
    Row("vertex text", "corrupt", **REJECTED, booked=BILLED, request={"response_schema": SCHEMA}),
    Row("vertex text", "retired", **GONE),
    Row("vertex text", "unavailable", **REFUSED | {"then": SAME, "health": CLEAN, "accepted": 1}, request=ALONE),
    Row("vertex text", "rate_limited", **LIMITED | {"then": SAME, "accepted": 1}, request=ALONE),
    Row("vertex text", "drop", **DOUBTFUL | {"then": SAME, "health": CLEAN, "accepted": 2}, request=ALONE),
    Row("vertex text", "retired", **GONE | {"then": NONE, "state": "failed"}, request=ALONE),
    Row("vertex text", None, **NO_ACCOUNT, settings={"vertex_base_url": "{guarded}"}),
    # ------------------------------------------------------------ Vertex AI: Gemini pictures
    Row("vertex image", "rate_limited", **LIMITED),
    Row("vertex image", "rate_limited_silent", **SILENT),
    Row("vertex image", "error_500", **REFUSED),
    Row("vertex image", "unavailable", **REFUSED),
    Row("vertex image", "drop", **DOUBTFUL),
    Row("vertex image", "hang", **DOUBTFUL, **HANGS),
    Row("vertex image", "gateway", **DOUBTFUL),
    Row("vertex image", "slow", **FINE, **SLOW, booked=BILLED),
    Row("vertex image", "blocked_prompt", **BLOCKED, booked=3),  # 10 tokens at 0.25 USD a million
    Row("vertex image", "blocked_output", **BLOCKED, booked=3),
    Row("vertex image", "filtered", **BLOCKED, booked=3),
    Row("vertex image", "refusal", **BLOCKED, booked=BILLED),
    Row("vertex image", "corrupt", **REJECTED, booked=BILLED),
    Row("vertex image", "retired", **GONE),
    Row("vertex image", "blocked_output", code="blocked", booked=3, settings={"fallback_when_blocked": True}),
    # ------------------------------------------------------------ Vertex AI: Imagen
    Row("imagen", "rate_limited", **LIMITED),
    Row("imagen", "drop", **DOUBTFUL),
    Row("imagen", "blocked_prompt", **BLOCKED),
    Row("imagen", "filtered", **BLOCKED),
    Row("imagen", "partial", **FINE, booked=40_000),
    Row("imagen", "corrupt", **REJECTED, booked=80_000),
    Row("imagen", "retired", **GONE),
    # ------------------------------------------------------------ Vertex AI: Veo
    Row("veo", "rate_limited", **LIMITED),
    Row("veo", "error_500", **REFUSED),
    Row("veo", "unavailable", **REFUSED),
    Row("veo", "drop", **DOUBTFUL),
    Row("veo", "gateway", **DOUBTFUL),
    Row("veo", "blocked_prompt", **BLOCKED),
    Row("veo", "filtered", **BLOCKED),
    Row("veo", "late_failure", **LATE),
    Row("veo", "late_failure", code="rate_limited", health=COOLING, options={"code": 8}),
    Row("veo", "late_failure", code="account_refused", health=FAILED, options={"code": 7}),
    Row("veo", "corrupt", **REJECTED, booked=400_000),
    Row("veo", "retired", **GONE),
    Row("veo", "unavailable", **FINE, booked=400_000, fault_at="fetchPredictOperation"),
    Row("veo", "rate_limited", **FINE, booked=400_000, fault_at="fetchPredictOperation"),
    Row("veo", "retired", **DOUBTFUL, fault_at="fetchPredictOperation"),
    # ------------------------------------------------------------ Vertex AI: Omni
    Row("omni", "unavailable", **REFUSED),
    Row("omni", "drop", **DOUBTFUL),
    Row("omni", "blocked_prompt", **BLOCKED),
    Row("omni", "blocked_output", **BLOCKED, booked=BILLED),
    Row("omni", "refusal", **BLOCKED, booked=BILLED),
    Row("omni", "filtered", **BLOCKED, booked=BILLED),
    Row("omni", "late_failure", **LATE),
    # ------------------------------------------------------------ Runway
    Row("runway image", "rate_limited", **LIMITED),
    Row("runway image", "rate_limited_silent", **SILENT),
    Row("runway image", "error_500", **REFUSED),
    Row("runway image", "unavailable", **REFUSED),
    Row("runway image", "hang", **DOUBTFUL, **HANGS),
    Row("runway image", "drop", **DOUBTFUL),
    Row("runway image", "gateway", **DOUBTFUL),
    Row("runway image", "blocked_prompt", **BLOCKED),
    Row("runway image", "blocked_output", **BLOCKED, booked=80_000),
    Row("runway image", "filtered", **LATE),
    Row("runway image", "late_failure", **LATE),
    Row("runway image", "corrupt", **REJECTED, booked=80_000),
    Row("runway image", "credits", **NO_ACCOUNT),
    Row("runway image", None, **NO_ACCOUNT, settings={"runway_api_secret": "key_of_somebody_else"}),
    Row("runway image", "unavailable", **FINE, booked=80_000, fault_at="tasks"),
    Row("runway image", "unavailable", **FINE, booked=80_000, **NOT_FETCHED),
    Row("runway image", "retired", code="piece_lost", booked=80_000, **NOT_FETCHED),
    # The job's time is over, and the address too: asked again, the vendor gives a fresh one, and the picture is kept.
    Row("runway image", None, **FINE | {"state": "failed", "log": ENDED}, booked=80_000, pause_s=25 * 3600.0),
    Row("runway video", "late_failure", **LATE),
    Row("runway video", "blocked_output", **BLOCKED, booked=480_000),
    Row("runway video", "drop", **DOUBTFUL),
    # ------------------------------------------------------------ Replicate: a lost call is found in the list
    Row("replicate image", "rate_limited", **LIMITED),
    Row("replicate image", "rate_limited_silent", **SILENT),
    Row("replicate image", "error_500", **REFUSED),
    Row("replicate image", "unavailable", **REFUSED),
    Row("replicate image", "hang", **ADOPTED, **HANGS, booked=6000),
    Row("replicate image", "drop", **ADOPTED, booked=6000),
    Row("replicate image", "gateway", **ADOPTED, booked=6000),
    Row("replicate image", "blocked_prompt", **BLOCKED),
    Row("replicate image", "filtered", **BLOCKED),
    Row("replicate image", "partial", **FINE, booked=3000),
    Row("replicate image", "corrupt", **REJECTED, booked=6000),
    Row("replicate image", "late_failure", **LATE),
    Row("replicate image", "late_failure", **LATE, options={"status": "aborted"}),
    Row("replicate image", "late_failure", **LATE, options={"status": "canceled"}),
    Row("replicate image", "retired", **GONE),
    # Both come while the operation is waited for; of webhooks after that, none is needed.
    Row("replicate image", "webhook_duplicate", **FINE, booked=6000, log=("webhook.repeated", ""), pause_s=10.0),
    Row("replicate image", "webhook_late", **FINE, booked=6000, log=("webhook.unneeded", "")),
    Row("replicate image", "webhook_forged", **FINE, booked=6000, log=("webhook.refused", "")),
    Row("replicate image", "webhook_lost", **FINE, booked=6000),
    Row("replicate image", "credits", **NO_ACCOUNT),
    Row("replicate image", None, **NO_ACCOUNT, settings={"replicate_api_token": "r8_of_somebody_else"}),
    Row("replicate image", "unavailable", **FINE, booked=6000, fault_at="get"),
    Row("replicate image", "unavailable", **FINE, booked=6000, **NOT_FETCHED),
    Row("replicate image", "retired", code="piece_lost", booked=6000, **NOT_FETCHED),
    # Outputs are removed an hour after the end: it was paid for, and cannot be fetched any more.
    Row("replicate image", None, **DOUBTFUL, pause_s=2 * 3600.0, request={"deadline_s": 86_400}),
    Row("replicate text", "drop", **ADOPTED, booked=BILLED),
    Row("replicate text", "blocked_output", **BLOCKED),
    Row("replicate text", "late_failure", **LATE),
    Row("replicate text", "rate_limited", **LIMITED),
    # ------------------------------------------------------------ Hugging Face
    Row("huggingface text", "rate_limited", **LIMITED),
    Row("huggingface text", "rate_limited_silent", **SILENT),
    Row("huggingface text", "error_500", **REFUSED),
    Row("huggingface text", "unavailable", **REFUSED),
    Row("huggingface text", "hang", **DOUBTFUL, **HANGS),
    Row("huggingface text", "drop", **DOUBTFUL),
    Row("huggingface text", "gateway", **DOUBTFUL),
    Row("huggingface text", "slow", **FINE, **SLOW, booked=BILLED),
    Row("huggingface text", "blocked_prompt", **BLOCKED),
    Row("huggingface text", "blocked_output", **BLOCKED, booked=BILLED),
    Row("huggingface text", "filtered", **BLOCKED, booked=BILLED),
    Row("huggingface text", "partial", **REJECTED, booked=BILLED, request={"min_grade": "B"}),
    Row("huggingface text", "corrupt", **DOUBTFUL),
    Row("huggingface text", "retired", **GONE),
    Row("huggingface text", "credits", **NO_ACCOUNT),
    Row("huggingface text", None, **NO_ACCOUNT, settings={"huggingface_token": "hf_of_somebody_else"}),
    Row("huggingface image", "unavailable", **REFUSED),
    Row("huggingface image", "drop", **DOUBTFUL),
    Row("huggingface image", "blocked_prompt", **BLOCKED),
    Row("huggingface image", "filtered", **REJECTED, booked=2000),  # a black picture
    Row("huggingface image", "corrupt", **REJECTED, booked=2000),
]
