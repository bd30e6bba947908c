"""`simulate`: the vendors on this machine, for a user's own tests and for trying faults out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from shared import log
from shared.errors import SettingsError
from shared.settings import Settings
from shared.simulators.vendors import WEBHOOK_SECRET, Vendors

ANY = "simulated"  # the simulators take any credentials


def simulate(options: argparse.Namespace, settings: Settings) -> int:
    """Serve until Ctrl-C or SIGTERM. Raises SettingsError: the port is taken, or the faults are malformed."""
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, signal.default_int_handler)
    log.configure(settings.log_level, sys.stderr)
    vendors = Vendors(options.port, faults=_faults(options.faults))
    try:
        vendors.start()
    except OSError as error:
        told = os.strerror(error.errno or 0)
        raise SettingsError(f"port {options.port} on localhost cannot be used: {told}") from None
    try:
        _say(vendors.url, as_json=options.json)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopping", file=sys.stderr)
    finally:
        vendors.stop()
    return 0


def _faults(spec: str | None) -> dict[str, Any] | None:
    """Return the fault plan that is given as JSON, or in a file of it. Raises SettingsError."""
    if spec is None:
        return None
    where = "faults" if spec.lstrip().startswith("{") else spec
    try:
        text = spec if where == "faults" else Path(spec).read_text("utf-8")
        document = json.loads(text)
    except OSError as error:
        told = os.strerror(error.errno or 0)
        raise SettingsError(f"faults: {spec} is neither a JSON object nor a file that can be read: {told}") from None
    except ValueError as error:
        raise SettingsError(f"{where}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{where}: not a JSON object")
    return document


def _atelier(url: str) -> dict[str, str]:
    """Return the variables that make Atelier call the simulators."""
    pointed = dataclasses.replace(
        Settings(),
        providers=("vertex", "runway", "replicate", "huggingface"),
        vertex_project=ANY,
        vertex_base_url=url,
        runway_api_secret=ANY,
        runway_base_url=url,
        replicate_api_token=ANY,
        replicate_base_url=url,
        replicate_webhook_secrets=(WEBHOOK_SECRET,),
        huggingface_token=ANY,
        huggingface_base_url=url,
    )
    return pointed.environment()


def _sdks(url: str) -> dict[str, str]:
    """Return the variables that make the vendors' own SDKs call the simulators; Hugging Face's takes `base_url`."""
    return {
        "GOOGLE_VERTEX_BASE_URL": url,
        "RUNWAYML_BASE_URL": url,
        "RUNWAYML_API_SECRET": ANY,
        "REPLICATE_BASE_URL": url,
        "REPLICATE_API_TOKEN": ANY,
        "HF_TOKEN": ANY,
    }


def _say(url: str, *, as_json: bool) -> None:
    atelier, sdks = _atelier(url), _sdks(url)
    calls = f"{url}/_sim/calls"
    if as_json:
        print(json.dumps({"url": url, "calls": calls, "environment": atelier, "sdk_environment": sdks}), flush=True)
        return
    print(f"vendors   {url}\ncalls     {calls}  (what was accepted and is billed)\n")
    print(f"In another terminal, Atelier calls them after\n{_exports(atelier)}\n")
    print(f"and the vendors' own SDKs after\n{_exports(sdks)}\n\nCtrl-C stops", flush=True)


def _exports(variables: dict[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
