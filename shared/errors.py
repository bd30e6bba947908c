"""Errors, named by what the caller must do about them.

`Permanent` is acknowledged, recorded and never retried. `Retryable` is nacked and carries `retry_after_s`.
`ProviderFault` says how a vendor call ended; adapters translate vendor exceptions into one of its classes,
so nothing further in sees a vendor's own types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: where, a stable code for programs, and a sentence for people."""

    field: str
    code: str
    message: str


class PipelineError(Exception):
    """Base of every error this project raises on purpose."""


class Permanent(PipelineError):
    """Trying again cannot help."""


class Retryable(PipelineError):
    """Trying again later can help."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InvalidRequest(Permanent):
    """The request is not one we accept; *errors* say which field and why."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = errors


class InvalidEvent(Permanent):
    """An event that cannot be read as any of the forms we accept."""


class Unauthenticated(Permanent):
    """The caller of a function could not prove who it is; nothing was read.

    *status* is 401 for a missing or bad proof, and 403 for the good proof of a caller who may not call.
    """

    def __init__(self, message: str, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class InvalidMessage(Permanent):
    """A message of our own that the bus refuses; whoever caused it must not be told that all is done."""


class SettingsError(Permanent):
    """What whoever started us has to mend: a setting, a file, a port, credentials, a missing program."""


class CatalogueError(Permanent):
    """A catalogue file is malformed; the message names the row."""


class PriceUnknown(Permanent):
    """The catalogue has no price for what was asked, so the model must not be called."""


class BudgetExceeded(Permanent):
    """A hold does not fit. Amounts are micro-USD."""

    def __init__(self, scope: str, limit: int, used: int, asked: int) -> None:
        super().__init__(f"{scope}: {used} of {limit} micro-USD used or held, {asked} more asked")
        self.scope, self.limit, self.used, self.asked = scope, limit, used, asked


class InvalidTransition(Permanent):
    """A job was asked to move to a state its present state does not lead to: a bug."""


class DocumentTooLarge(Permanent):
    """A document is over the 1 MiB that the strictest back end stores."""


class InvalidDocument(Permanent):
    """A path, value or query that the strictest back end would refuse."""


class BlobNotFound(Permanent):
    """There is no such object."""


class BlobTooLarge(Permanent):
    """An object is over the size the caller is ready to read."""


class InvalidBlobName(Permanent):
    """An object name that would leave its bucket, or that the strictest back end would refuse."""


class BlobExists(PipelineError):
    """The object is already there, or its generation is not the one demanded: compare, then decide."""


class StoreConflict(Retryable):
    """A precondition of a commit did not hold; read again and decide anew."""

    def __init__(self, message: str = "a document changed meanwhile") -> None:
        super().__init__(message, retry_after_s=0.05)


class StoreUnavailable(Retryable):
    """A back end, or who publishes the keys of tokens, did not answer in time."""


class StoreUnusable(StoreUnavailable):
    """A back end refuses us as things are set up: a permission, project, database, bucket or topic is missing.

    The message says which, and how to mend it.
    """


class EventAhead(Retryable):
    """The event came before its own cause was visible."""


class LeaseHeld(Retryable):
    """Another instance is making this paid call right now."""


class ProviderFault(PipelineError):
    """How a vendor call ended when it did not deliver.

    Attributes:
        code: stable word used in documents, metrics and tests.
        counts_against_health: whether the breaker counts it.
        cost_micro_usd: what the vendor charged all the same, if it says so in money.
        usage: the billable units it charged all the same, if it reports those.
    """

    code = "provider_fault"
    counts_against_health = False

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        cost_micro_usd: int = 0,
        usage: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.cost_micro_usd = cost_micro_usd
        self.usage = dict(usage or {})


class Blocked(ProviderFault):
    """The vendor's safety filter refused; never retried unchanged."""

    code = "blocked"


class InvalidCall(ProviderFault):
    """The vendor refused the parameters; another model may accept them."""

    code = "invalid"


class RateLimited(ProviderFault):
    """The vendor has no capacity for us now; nothing was accepted."""

    code = "rate_limited"


class Unavailable(ProviderFault):
    """The vendor failed or was not reached; nothing was accepted, or the accepted operation failed."""

    code = "unavailable"
    counts_against_health = True


class AccountRefused(ProviderFault):
    """The vendor refuses our account, for its credentials, permissions or credit: nothing was accepted."""

    code = "account_refused"
    counts_against_health = True


class ModelGone(ProviderFault):
    """The vendor no longer has this model: disable it and fall back."""

    code = "model_gone"


class Ambiguous(ProviderFault):
    """The call may or may not have been accepted: adopt it or put its money in suspense."""

    code = "ambiguous"
    counts_against_health = True
