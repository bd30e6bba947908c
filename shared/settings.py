"""Every setting: an environment variable `ATELIER_*`, read once, with default, unit and meaning.

The empty environment is the local system. An unknown `ATELIER_*` name is an error, because a typo in a budget
must not spend money.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.money import format_usd, parse_usd
from shared.errors import SettingsError

PREFIX = "ATELIER_"


def setting(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    read: Callable[[str], Any] | None = None,
    secret: bool = False,
) -> Any:
    """Declare one setting; its type is that of the default unless *read* says otherwise. A *secret* is never shown."""
    bounds = {"minimum": minimum, "maximum": maximum, "choices": choices}
    metadata = {"meaning": meaning, "unit": unit, **bounds, "read": read, "secret": secret}
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


def _usd(text: str) -> int:
    return parse_usd(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - every bad value is told the same way
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. Field `lease_s` is read from `ATELIER_LEASE_S`, and so on."""

    home: str = setting(".atelier", "Folder of the local system: state, buckets, logs, the offline provider's record.")
    state_url: str = setting(
        "", "Where documents live: `sqlite:///FILE` or `firestore://PROJECT/DATABASE`. Empty: `state.db` in the home."
    )
    blobs_url: str = setting(
        "",
        "Where objects live: `file:///FOLDER`, or `gs://PREFIX` for the buckets `PREFIX-inbox` and `PREFIX-outputs`. "
        "Empty: `buckets` in the home.",
    )
    bus_url: str = setting(
        "",
        "Where events travel: `local:`, `local:///FILE` or `pubsub://PROJECT`. Empty: `bus.db` in the home.",
    )
    metrics_url: str = setting(
        "", "Where measurements go: `log:` or `monitoring://PROJECT` (Cloud Monitoring). Empty: the log."
    )
    push_audience: str = setting(
        "",
        "Audience of the OIDC tokens that events must carry, usually the function's URL. Empty: none is asked for, as "
        "behind Cloud Run's own check, which takes the token's signature away.",
    )
    push_service_account: str = setting(
        "", "The e-mail of the account whose tokens are accepted; needed with `ATELIER_PUSH_AUDIENCE`."
    )
    push_certs_url: str = setting(
        "https://www.googleapis.com/oauth2/v1/certs", "Where the keys are that tokens are signed with."
    )
    providers: tuple[str, ...] = setting(("offline",), "Vendors that may be used, separated by commas.", read=_names)
    calls_vendors: bool = setting(
        default=True,
        meaning="Whether this process calls vendors itself. Where not, as in every deployed function but `generate`, "
        "their credentials are not missed.",
    )
    vertex_project: str = setting(
        "", "The Google Cloud project whose Vertex AI is called; credentials are its default."
    )
    vertex_base_url: str = setting(
        "", "In place of Vertex AI's own address, for a simulator or proxy. Without TLS no credentials are sent."
    )
    runway_api_secret: str = setting("", "Runway's API secret.", secret=True)
    runway_base_url: str = setting("https://api.dev.runwayml.com", "Runway's address, or that of a simulator or proxy.")
    replicate_api_token: str = setting("", "Replicate's API token.", secret=True)
    replicate_base_url: str = setting("https://api.replicate.com", "Replicate's address, or a simulator's or proxy's.")
    replicate_webhook_secrets: tuple[str, ...] = setting(
        (),
        "Secrets that Replicate's webhooks may be signed with (`whsec_…`), separated by commas: the new one and the "
        "old one while they change.",
        read=_names,
        secret=True,
    )
    webhook_url: str = setting(
        "", "The public HTTPS address of `on_webhook`. Empty: vendors are only asked, and never told to call."
    )
    huggingface_token: str = setting("", "Hugging Face's access token.", secret=True)
    huggingface_base_url: str = setting(
        "https://router.huggingface.co", "Hugging Face's router, a dedicated endpoint, a simulator or proxy."
    )
    call_timeout_s: float = setting(
        150.0, "No call of a vendor takes longer; past it, nobody knows whether it was accepted.", unit="s", minimum=0.1
    )
    catalogue: str = setting("", "A TOML file whose rows are added to the built-in catalogue or override it.")
    blocked_terms: str = setting("", "A TOML file of blocked terms in place of the built-in list.")
    daily_budget_usd: int = setting(1_000_000_000, "Cap on everything per UTC day.", unit="USD", read=_usd)
    tenant_daily_budget_usd: int = setting(500_000_000, "Cap per tenant and UTC day.", unit="USD", read=_usd)
    user_daily_budget_usd: int = setting(100_000_000, "Cap per user and UTC day.", unit="USD", read=_usd)
    soft_limit: float = setting(
        0.7, "Share of a daily budget from which on only the cheaper half is chosen.", minimum=0, maximum=1
    )
    budget_shards: int = setting(
        1,
        "Documents a tenant's and the whole day's budget is split into. One document of Firestore takes few writes a "
        "second: 8 or more for a busy system. For a scope that was used today, another number counts from tomorrow on.",
        minimum=1,
        maximum=64,
    )
    max_attempts: int = setting(4, "Tries per job over all models.", minimum=1, maximum=20)
    fallback_when_blocked: bool = setting(default=False, meaning="Whether a vendor's safety block may try another.")
    rewrite_when_blocked: bool = setting(
        default=False,
        meaning="Whether a prompt that a vendor's safety filter refused is softened and tried once more, where the "
        "request allows `enhance_prompt`.",
    )
    lease_s: int = setting(
        270, "The longest lease of a paid call; shorter than the generate function may run.", unit="s", minimum=1
    )
    stale_s: float = setting(
        120.0, "An active job that has not moved for this long gets its event again.", unit="s", minimum=1
    )
    operation_timeout_s: int = setting(1200, "After this a running operation counts as lost.", unit="s", minimum=1)
    suspense_s: int = setting(
        86_400, "After this, money in doubt is booked as spent (basis `unconfirmed`).", unit="s", minimum=1
    )
    cache_s: int = setting(604_800, "How long an answer may be given again.", unit="s", minimum=0)
    tick_s: float = setting(
        1.0, "How often the local system ticks; the cloud's Scheduler: every minute.", unit="s", minimum=0.05
    )
    tick_page: int = setting(200, "Jobs one tick event looks at before it hands on.", minimum=1, maximum=1000)
    workers: int = setting(4, "Threads of the local system.", minimum=1, maximum=64)
    max_event_bytes: int = setting(524_288, "A larger event is refused.", unit="bytes", minimum=1024)
    max_manifest_bytes: int = setting(33_554_432, "A larger manifest is refused.", unit="bytes", minimum=1024)
    log_level: str = setting("INFO", "Least severity that is logged.", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    offline_faults: dict[str, Any] | None = setting(
        None,
        "Seeded faults of the offline provider as JSON: rates of rate_limited, unavailable, blocked, late_failure, "
        "hang, corrupt_output, partial, ambiguous; also `seed`, `models`, `hang_s`.",
        read=_object,
    )
    offline_render_s: float = setting(1.2, "How long an offline video operation runs.", unit="s", minimum=0)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read every `ATELIER_*` variable.

        Raises:
            SettingsError: an unknown name, or a value that is not allowed; the message says what is.
        """
        fields = {PREFIX + f.name.upper(): f for f in dataclasses.fields(cls)}
        values = {}
        for name, text in environ.items():
            if not name.startswith(PREFIX):
                continue
            if name not in fields:
                raise SettingsError(_unknown(name, list(fields)))
            values[fields[name].name] = _value(name, text, fields[name])
        return cls(**values)

    def environment(self) -> dict[str, str]:
        """Return the variables that make another process read these same settings."""
        return {
            PREFIX + f.name.upper(): _text(f, getattr(self, f.name))
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }


def describe() -> list[dict[str, str]]:
    """Return name, default, unit and meaning of every setting, for the command line and the README."""
    return [
        {
            "name": PREFIX + f.name.upper(),
            "default": _text(f, f.default),
            "unit": f.metadata["unit"],
            "meaning": f.metadata["meaning"],
        }
        for f in dataclasses.fields(Settings)
    ]


def _text(field: dataclasses.Field[Any], value: Any) -> str:
    """The value as it stands in the environment."""
    if field.metadata["unit"] == "USD":
        return format_usd(value)
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{name} is not a setting{hint} `python -m functions settings` lists them all."


def _value(name: str, text: str, field: dataclasses.Field[Any]) -> Any:
    try:
        value = (field.metadata["read"] or _READERS[type(field.default)])(text)
    except ValueError as error:
        told = "(secret)" if field.metadata["secret"] else repr(text)
        raise SettingsError(f"{name}={told}: {error}") from None
    _check_range(name, value, field)
    return value


def _check_range(name: str, value: Any, field: dataclasses.Field[Any]) -> None:
    low, high, choices = (field.metadata[k] for k in ("minimum", "maximum", "choices"))
    if choices and value not in choices:
        raise SettingsError(f"{name}={value!r} is not one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{name}={value!r} is not a number")
    if (low is not None and value < low) or (high is not None and value > high):
        raise SettingsError(f"{name}={value!r} is not within {low} to {'any' if high is None else high}")


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise ValueError("not true or false")
    return text.lower() in {"true", "1"}


_READERS: dict[type, Callable[[str], Any]] = {str: str, int: int, float: float, bool: _boolean}
