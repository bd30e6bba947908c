"""From settings to running services: the one module that knows both ports and adapters.

Adapters and vendor SDKs are imported when they are built, so a function pays only for what it uses.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from shared import log
from shared.adapters.local_process import process_owner
from shared.adapters.log_metrics import LogMetrics
from shared.clock import SystemClock
from shared.domain.job import Job
from shared.errors import CatalogueError, SettingsError
from shared.ports import BlobStore, Clock, DocumentStore, EventBus, MetricSink, Provider
from shared.resilience.announced import Announced
from shared.settings import Settings
from shared.stores.budgets import Budgets
from shared.stores.cache import Cache
from shared.stores.jobs import Jobs
from shared.stores.ledger import Ledger

if TYPE_CHECKING:
    from shared.adapters.inspector import Inspector
    from shared.adapters.local_bus import LocalBus
    from shared.adapters.oidc import PushIdentity
    from shared.domain.catalogue import Catalogue
    from shared.domain.request import Request
    from shared.domain.safety import SafetyRules
    from shared.domain.selection import Health
    from shared.resilience.breakers import Breakers
    from shared.resilience.limiters import Limiters, Limits


T = TypeVar("T")

RELEASES_KEPT_S = 300.0
_RESOURCE = re.compile(r"\(default\)|[a-z0-9][a-z0-9._:-]{2,98}[a-z0-9]")
_ALLOWED = {
    "ATELIER_STATE_URL": "sqlite:///PATH, firestore://PROJECT or firestore://PROJECT/DATABASE",
    "ATELIER_BLOBS_URL": "file:///PATH or gs://PREFIX",
    "ATELIER_BUS_URL": "local:, local:///PATH or pubsub://PROJECT",
    "ATELIER_METRICS_URL": "log: or monitoring://PROJECT",
}


class Services:
    """Everything a stage may use, built on first use and shared by the threads of one instance."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        documents: DocumentStore,
        *,
        blobs: BlobStore | None = None,
        bus: EventBus | None = None,
        metrics: MetricSink | None = None,
    ) -> None:
        """Back ends that are not given are those that the settings name, built when they are first used."""
        self.settings = settings
        self.clock = clock
        self.documents = documents
        self._given: dict[str, Any] = {"blobs": blobs, "bus": bus, "metrics": metrics}
        self.owner = process_owner()
        self.announced = Announced()
        self.cache = Cache(documents, settings.cache_s)
        self.ledger = Ledger(documents)
        limits = {
            "all": settings.daily_budget_usd,
            "tenant": settings.tenant_daily_budget_usd,
            "user": settings.user_daily_budget_usd,
        }
        self.budgets = Budgets(documents, limits, shards=settings.budget_shards, soft_fraction=settings.soft_limit)
        self.jobs = Jobs(documents, self.budgets, self.ledger)
        self._providers: dict[str, Provider] = {}
        self._lock = threading.RLock()
        self._last: dict[str, float] = {}
        self._released: Counter[str] = Counter()

    @property
    def blobs(self) -> BlobStore:
        """Where pieces and manifests are."""
        return self._part("blobs", lambda: _blobs(self.settings))

    @property
    def bus(self) -> EventBus:
        """Where events are published."""
        return self._part("bus", lambda: _bus(self.settings, self.clock))

    @property
    def metrics(self) -> MetricSink:
        """Where measurements go."""
        return self._part("metrics", lambda: _metrics(self.settings, self.clock))

    @cached_property
    def catalogue(self) -> Catalogue:
        """The built-in rows, and the user's own over them."""
        from shared.domain.catalogue import parse_catalogue

        own = self.settings.catalogue
        documents = [_built_in("shared", "catalogue.toml")]
        return parse_catalogue(*documents, *([_toml(own, CatalogueError)] if own else []))

    @cached_property
    def safety_rules(self) -> SafetyRules:
        """The built-in blocked terms, or the user's own in their place."""
        from shared.domain.safety import parse_terms

        own = self.settings.blocked_terms
        return parse_terms(_toml(own, SettingsError) if own else _built_in("shared.domain", "blocked_terms.toml"))

    @cached_property
    def breakers(self) -> Breakers:
        """Which models may be called, as all instances see it."""
        from shared.resilience.breakers import Breakers

        return Breakers(self.documents, self.clock)

    @cached_property
    def limiters(self) -> Limiters:
        """How many calls of a model all instances together may make."""
        from shared.resilience.limiters import Limiters

        return Limiters(self.documents, self.clock, limits=self._limits)

    @cached_property
    def inspector(self) -> Inspector:
        """Opens and measures pieces; loads its decoders on the first piece."""
        from shared.adapters.inspector import Inspector

        return Inspector()

    def verify_push(self, authorization: str | None) -> None:
        """Check who sends an event, if the settings ask for it. Raises Unauthenticated, StoreUnavailable."""
        if self.settings.push_audience:
            self._push_identity.verify(authorization)

    @cached_property
    def _push_identity(self) -> PushIdentity:
        from shared.adapters.oidc import PushIdentity

        s = self.settings
        return PushIdentity(
            s.push_audience, s.push_service_account or None, certs_url=s.push_certs_url, clock=self.clock
        )

    def provider(self, name: str) -> Provider:
        """Return the adapter of a vendor. Raises SettingsError for one this version cannot call."""
        with self._lock:
            if name not in self._providers:
                self._providers[name] = _build_provider(name, self.settings, self.clock)
            return self._providers[name]

    def health(self, kind: str) -> Mapping[str, Health]:
        """What is known of the models of a kind that are switched on; may be some seconds old."""
        from shared.domain.selection import Health

        models = [m.id for m in self.catalogue.by_kind.get(kind, ()) if m.provider in self.settings.providers]
        breakers = self.breakers.health(models)
        now = self.clock.now()
        return {
            model: Health(available=b.is_callable(now), disabled=b.disabled and not b.is_callable(now))
            for model, b in breakers.items()
        }

    def request_of(self, job: Job) -> Request:
        """Return the checked request that a job was made from, with the prompt as it is sent."""
        from shared.domain.request import parse_request

        request = parse_request(job.request, known_models=lambda _: True, schema_problem=lambda _: None)
        return replace(request, prompt=job.used_prompt)

    def inbox(self, bucket: str) -> str:
        """The logical name of a bucket that an event names."""
        return "inbox" if bucket.endswith("inbox") else bucket

    def released(self, tenant: str) -> None:
        """Count a parked job of *tenant* as released by this instance."""
        self._released[tenant] += 1

    def released_lately(self) -> Mapping[str, int]:
        """Jobs released per tenant in the last minutes, so that those who got fewer catch up first."""
        if self.due_now("forget_releases", RELEASES_KEPT_S):
            self._released.clear()
        return self._released

    def due_now(self, what: str, every_s: float) -> bool:
        """Whether this instance has not done *what* for *every_s* seconds; True marks it as done now."""
        now = self.clock.now().timestamp()
        with self._lock:
            if now - self._last.get(what, 0.0) < every_s:
                return False
            self._last[what] = now
            return True

    def close(self) -> None:
        """Hand over what was measured, and close every back end's connections."""
        for part in (*self._given.values(), self.documents):
            if hasattr(part, "close"):
                part.close()

    def _part(self, name: str, build: Callable[[], T]) -> T:
        """The back end of that name, built once: its client is shared by all threads."""
        with self._lock:
            if self._given[name] is None:
                self._given[name] = build()
            part: T = self._given[name]
            return part

    def _limits(self, model: str) -> Limits | None:
        from shared.resilience.limiters import Limits

        row = self.catalogue.by_name.get(model)
        if row is None or not (row.rpm or row.rpd or row.tpm):
            return None
        return Limits(row.rpm, row.rpd, row.tpm)


def build(settings: Settings, clock: Clock | None = None, *, bus: EventBus | None = None) -> Services:
    """Build the services that *settings* name. Raises SettingsError for a URL no adapter understands.

    *bus*: in place of the one that the settings name.
    """
    if settings.push_audience and not settings.push_service_account:
        # An audience is no secret: any Google account gets a token for it.
        raise SettingsError("ATELIER_PUSH_AUDIENCE needs ATELIER_PUSH_SERVICE_ACCOUNT: whose tokens are accepted")
    return Services(settings, clock or SystemClock(), _documents(settings), bus=bus)


_services: Services | None = None
_services_lock = threading.Lock()


def services() -> Services:
    """The services of this process, built from its environment on first use."""
    global _services  # noqa: PLW0603 - one set of services per process
    with _services_lock:
        if _services is None:
            import sys

            settings = Settings.from_environment(os.environ)
            log.configure(settings.log_level, sys.stdout)
            _services = build(settings)
            atexit.register(_services.close)
        return _services


def home_path(settings: Settings) -> Path:
    """The local system's folder, created when missing. Raises SettingsError when that is not possible."""
    home = Path(settings.home).expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"ATELIER_HOME={settings.home!r} cannot be created: {error.strerror}") from None
    return home


def local_bus(settings: Settings, clock: Clock) -> LocalBus:
    """Build the durable local bus with a subscription for every row of `infra/functions.json`."""
    from shared.adapters import wiring
    from shared.adapters.local_bus import LocalBus

    path = _local_path("ATELIER_BUS_URL", settings.bus_url, "local", home_path(settings) / "bus.db")
    return LocalBus(str(path), clock, subscriptions=wiring.subscriptions())


def _documents(settings: Settings) -> DocumentStore:
    if settings.state_url.startswith("firestore:"):
        from shared.adapters.firestore import DEFAULT_DATABASE, FirestoreDocumentStore

        project, database = _resource("ATELIER_STATE_URL", settings.state_url)
        return FirestoreDocumentStore(project, database or DEFAULT_DATABASE)
    from shared.adapters.sqlite import SqliteDocumentStore

    path = _local_path("ATELIER_STATE_URL", settings.state_url, "sqlite", home_path(settings) / "state.db")
    return SqliteDocumentStore(str(path))


def _blobs(settings: Settings) -> BlobStore:
    if settings.blobs_url.startswith("gs:"):
        from shared.adapters.gcs import CloudStorageBlobStore

        return CloudStorageBlobStore(_resource("ATELIER_BLOBS_URL", settings.blobs_url)[0])
    from shared.adapters.filesystem import FilesystemBlobStore

    path = _local_path("ATELIER_BLOBS_URL", settings.blobs_url, "file", home_path(settings) / "buckets")
    return FilesystemBlobStore(path)


def _bus(settings: Settings, clock: Clock) -> EventBus:
    if not settings.bus_url.startswith("pubsub:"):
        return local_bus(settings, clock)
    from shared.adapters.pubsub import PubSubBus

    return PubSubBus(_resource("ATELIER_BUS_URL", settings.bus_url)[0])


def _metrics(settings: Settings, clock: Clock) -> MetricSink:
    if settings.metrics_url in {"", "log:"}:
        return LogMetrics()
    from shared.adapters.cloud_monitoring import CloudMonitoringMetrics

    return CloudMonitoringMetrics(_resource("ATELIER_METRICS_URL", settings.metrics_url)[0], clock)


def _resource(name: str, url: str) -> tuple[str, str]:
    """The project or prefix that a URL names, and what comes after it. Raises SettingsError."""
    scheme, _, rest = url.partition("://")
    first, _, second = rest.partition("/")
    named = _RESOURCE.fullmatch(first) and (not second or (scheme == "firestore" and _RESOURCE.fullmatch(second)))
    if not named or f"{scheme}://" not in _ALLOWED[name]:
        raise _not_understood(name, url)
    return first, second


def _local_path(name: str, url: str, scheme: str, default: Path) -> Path:
    """The path in a URL such as `sqlite:///var/state.db`; *default* when the URL is empty or names none."""
    if not url:
        return default
    parts = urlsplit(url)
    if parts.scheme != scheme or parts.netloc:
        raise _not_understood(name, url)
    return Path(parts.path) if parts.path.strip("/") else default


def _not_understood(name: str, url: str) -> SettingsError:
    return SettingsError(f"{name}={url!r} is not understood; allowed is {_ALLOWED[name]}")


def _build_provider(name: str, settings: Settings, clock: Clock) -> Provider:
    if name == "offline":
        from shared.providers.offline import OfflineProvider

        record = home_path(settings) / "offline_calls.jsonl"
        return OfflineProvider(record, clock, faults=settings.offline_faults, render_s=settings.offline_render_s)
    if name == "template":
        from shared.providers.template import TemplateProvider

        return TemplateProvider()
    raise SettingsError(f"provider {name!r} has no adapter in this version; ATELIER_PROVIDERS may name: offline")


def _built_in(package: str, name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(package).joinpath(name).read_text("utf-8"))


def _toml(path: str, error: type[CatalogueError | SettingsError]) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise error(f"{path} cannot be read as TOML: {problem}") from None
