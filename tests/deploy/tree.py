"""A checkout seen from its configuration: the wiring table, what Terraform would create from it, and its texts.

The tests of this folder ask about this very checkout; `test_mutations.py` asks the same of broken copies.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.adapters import wiring
from shared.adapters.wiring import Subscription
from tests.deploy import planned

ROOT = Path(__file__).parents[2]
PROJECT = "project-1"
AGENT = f"serviceAccount:service-{planned.PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
STORAGE_AGENT = "serviceAccount:gs-agent@made-up.iam.gserviceaccount.com"
DATABASE = "jobs-of-ours"
REGION = "europe-west4"

# Everything is switched on but what is open to the world, and figures differ from their defaults.
VARIABLES: Mapping[str, Any] = {
    "project_id": PROJECT,
    "region": REGION,
    "database": DATABASE,
    "archive": f"archives/{'0' * 64}.zip",
    "vendors": ["vertex", "runway", "replicate", "huggingface"],
    "secret_versions": {
        "RUNWAY_API_SECRET": 1,
        "REPLICATE_API_TOKEN": 2,
        "REPLICATE_WEBHOOK_SECRETS": 3,
        "HUGGINGFACE_TOKEN": 4,
    },
    "schedules": {
        "daily": {
            "cron": "0 6 * * *",
            "request": '{"kind": "text", "prompt": "Good morning"}',
            "time_zone": "Europe/Berlin",
        }
    },
    "operators": ["user:operator@example.com"],
    "publishers": ["serviceAccount:shop@example.iam.gserviceaccount.com"],
    "readers": ["group:editors@example.com"],
    "input_buckets": ["bucket-of-inputs"],
    "daily_budget_usd": "250.5",
    "tenant_daily_budget_usd": "50",
    "user_daily_budget_usd": "7.25",
    "inbox_days": 20,
    "outputs_days": 200,
    "monthly_budget": 300,
    "alert_emails": ["on-call@example.com"],
    "billing_account": "012345-6789AB-CDEF01",
    "repository": f"projects/project-1/locations/{REGION}/connections/ours/repositories/atelier",
}

Values = Mapping[str, Any]


class Tree:
    """A checkout at *root*. Every answer is found once: it must not change any more."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.infra = root / "infra"
        self._plans: dict[str, dict[str, Any]] = {}

    @functools.cached_property
    def rows(self) -> Mapping[str, Values]:
        """The wiring table."""
        with self.wired():
            return wiring.functions()

    @functools.cached_property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """What the local bus delivers, by function."""
        with self.wired():
            found = [s for subscriptions in wiring.subscriptions().values() for s in subscriptions]
        return {s.name: s for s in found if s.name != wiring.RESULTS}

    @contextmanager
    def wired(self) -> Iterator[None]:
        """Have the code read this checkout's wiring table."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wiring, "TABLE", self.infra / "functions.json")
            yield

    def plan(self, **variables: Any) -> dict[str, Any]:
        """Address → what Terraform would create of it; *variables* in place of the usual ones."""
        if planned.TERRAFORM is None:
            pytest.skip("what Terraform would create is left out: there is no terraform on the PATH")
        key = json.dumps(variables, sort_keys=True)
        if key not in self._plans:
            with tempfile.TemporaryDirectory() as scratch:
                self._plans[key] = planned.plan(self.infra, {**VARIABLES, **variables}, Path(scratch))
        return self._plans[key]

    def each(self, address: str, **variables: Any) -> Mapping[str, Any]:
        """What is created of a resource under `for_each`, by key."""
        plan = self.plan(**variables)
        assert address in plan, f"nothing declares {address}"
        found: Mapping[str, Any] = plan[address]
        return found

    def of_type(self, kind: str, **variables: Any) -> list[Values]:
        """Everything of a type, with or without `for_each`."""
        return [
            one
            for address, values in self.plan(**variables).items()
            if address.startswith(f"{kind}.")
            for one in (values.values() if all(isinstance(one, dict) for one in values.values()) else [values])
        ]

    def output(self, name: str, **variables: Any) -> Any:
        """What `terraform output` says under a name."""
        if planned.TERRAFORM is None:
            pytest.skip("what Terraform says is left out: there is no terraform on the PATH")
        with tempfile.TemporaryDirectory() as scratch:
            return planned.output(self.infra, name, {**VARIABLES, **variables}, Path(scratch))

    def text(self, path: str) -> str:
        """A file's text."""
        return (self.root / path).read_text("utf-8")

    def json(self, path: str) -> Any:
        """A file's JSON."""
        return json.loads(self.text(path))


def service_id(name: str) -> str:
    """What a function, its service and its account are called in the cloud."""
    return f"atelier-{name.replace('_', '-')}"


def member(account_id: str) -> str:
    """A service account of this project as the member of a grant."""
    return f"serviceAccount:{email(account_id)}"


def email(account_id: str) -> str:
    """The address of a service account of this project."""
    return f"{account_id}@made-up.iam.gserviceaccount.com"


def topic_of(topic_id: str) -> str:
    """A topic's name, from its id."""
    return topic_id.removeprefix("topics/")
