"""What every command of the command line does first and last."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from shared import bootstrap, log
from shared.adapters.local_bus import LocalBus
from shared.bootstrap import Services
from shared.settings import Settings


def open_services(settings: Settings) -> Services:
    """Build the services; a command's own output is the text, so only what went wrong is logged beside it."""
    log.configure("ERROR" if settings.log_level == "INFO" else settings.log_level, sys.stderr)
    return bootstrap.build(settings)


def demand_usable(services: Services) -> None:
    """Raise SettingsError or CatalogueError now for what would otherwise only show while a job is under way.

    Of the deployed functions only `generate` calls vendors; on the local bus it runs in this process.
    """
    _ = services.catalogue, services.safety_rules
    if services.settings.calls_vendors or isinstance(services.bus, LocalBus):
        for name in services.settings.providers:
            services.provider(name)


def show(options: argparse.Namespace, document: Any, text: str) -> None:
    """Print *document* with `--json`, else *text*."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str) if options.json else text)
