"""What all adapters of Google Cloud say in the same words."""

from __future__ import annotations

from shared.errors import SettingsError

LOGIN = "run `gcloud auth application-default login`, or deploy with a service account"
LONGEST_LINE = 300


def line(error: BaseException | str) -> str:
    """Return an error's text in one line of bounded length."""
    return " ".join(str(error).split())[:LONGEST_LINE]


def no_credentials(service: str, error: BaseException) -> SettingsError:
    """Return our error for credentials that are missing or unreadable."""
    return SettingsError(f"{service} needs Google Cloud credentials: {LOGIN} ({line(error)})")
