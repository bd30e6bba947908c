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
from contextlib import suppress
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared import log
from shared.adapters.local_process import process_owner
from shared.adapters.log_metrics import LogMetrics
from shared.clock import SystemClock
from shared.domain.job import Job
from shared.errors import BlobExists, CatalogueError, SettingsError
from shared.ports import BlobStore, Clock, DocumentStore, EventBus, MetricSink, Provider
from shared.resilience.announced import Announced
from shared.settings import PREFIX, Settings
from shared.stores.budgets import Budgets
from shared.stores.cache import Cache
from shared.stores.jobs import Jobs
from shared.stores.ledger import Ledger

if TYPE_CHECKING:
    from shared.adapters.inspector import Inspector
    from shared.adapters.oidc import PushIdentity
    from shared.domain.catalogue import Catalogue
    from shared.domain.request import Request
    from shared.domain.safety import SafetyRules
    from shared.domain.selection import Health
    from shared.resilience.breakers import Breakers
    from shared.resilience.limiters import Limiters, Limits


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
        blobs: Callable[[], BlobStore],
        bus: Callable[[], EventBus],
        metrics: Callable[[], MetricSink],
    ) -> None:
        """Take the documents, which everything needs, and how to build the other back ends when they are first used."""
        self.settings = settings
        self.clock = clock
        self.documents = documents
        self._builders: dict[str, Callable[[], Any]] = {"blobs": blobs, "bus": bus, "metrics": metrics}
        self._built: dict[str, Any] = {"documents": documents}
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
        self._outputs_proven = False
        self._lock = threading.RLock()
        self._last: dict[str, float] = {}
        self._released: Counter[str] = Counter()

    @property
    def blobs(self) -> BlobStore:
        """Where pieces and manifests are."""
        found: BlobStore = self._part("blobs")
        return found

    @property
    def bus(self) -> EventBus:
        """Where events are published."""
        found: EventBus = self._part("bus")
        return found

    @property
    def metrics(self) -> MetricSink:
        """Where measurements go."""
        found: MetricSink = self._part("metrics")
        return found

    @cached_property
    def catalogue(self) -> Catalogue:
        """The built-in rows, and the user's own over them."""
        return catalogue_of(self.settings)

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

    def verify_webhook(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the id of a webhook that Replicate signed. Raises Unauthenticated, SettingsError."""
        from shared.providers.replicate_webhook import verify

        return verify(headers, body, self.settings.replicate_webhook_secrets, self.clock.now())

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
                self._providers[name] = self._build_provider(name)
            return self._providers[name]

    def demand_outputs(self) -> None:
        """Prove once that pieces can be stored. Raises StoreUnavailable."""
        if self._outputs_proven:
            return
        with suppress(BlobExists):  # somebody has proven it before; whoever may not write is not told this
            self.blobs.create(self.blobs.uri("outputs", "health"), b"ok\n", "text/plain")
        self._outputs_proven = True

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
        """Return the checked request that a job was made from, with its prompts as they are sent."""
        from shared.domain.prompt import as_sent
        from shared.domain.request import parse_request

        request = parse_request(job.request, known_models=lambda _: True, schema_problem=lambda _: None)
        return as_sent(request, job.prompt)

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
        for part in (*self._providers.values(), *self._built.values()):
            part.close()

    def _part(self, name: str) -> Any:
        """The back end of that name, built once: its client is shared by all threads."""
        with self._lock:
            if name not in self._built:
                self._built[name] = self._builders[name]()
            return self._built[name]

    def _build_provider(self, name: str) -> Provider:
        if not self.settings.calls_vendors:
            raise SettingsError("no vendor is called from here: ATELIER_CALLS_VENDORS is false")
        if missing := missing_credentials(name, self.settings):
            raise SettingsError(f"provider {name} needs {missing}")
        return _PROVIDERS[name](self)

    def _limits(self, model: str) -> Limits | None:
        from shared.resilience.limiters import Limits

        row = self.catalogue.by_name.get(model)
        if row is None or not (row.rpm or row.rpd or row.tpm):
            return None
        return Limits(row.rpm, row.rpd, row.tpm)


def catalogue_of(settings: Settings) -> Catalogue:
    """Return the built-in rows, and the user's own over them. Raises CatalogueError."""
    from shared.domain.catalogue import parse_catalogue

    own = settings.catalogue
    documents = [_built_in("shared", "catalogue.toml")]
    return parse_catalogue(*documents, *([_toml(own, CatalogueError)] if own else []))


def missing_credentials(provider: str, settings: Settings) -> str:
    """Return the setting without which a vendor cannot be called; empty when nothing is missing here."""
    if not settings.calls_vendors:
        return ""
    needed = {
        "vertex": "vertex_project",
        "runway": "runway_api_secret",
        "replicate": "replicate_api_token",
        "huggingface": "huggingface_token",
    }.get(provider)
    return "" if needed is None or getattr(settings, needed) else PREFIX + needed.upper()


def _offline(services: Services) -> Provider:
    from shared.providers.offline import OfflineProvider

    s = services.settings
    record = home_path(s) / "offline_calls.jsonl"
    return OfflineProvider(record, services.clock, faults=s.offline_faults, render_s=s.offline_render_s)


def _template(_services: Services) -> Provider:
    from shared.providers.template import TemplateProvider

    return TemplateProvider()


def _vertex(services: Services) -> Provider:
    from shared.providers.vertex import VertexProvider

    s = services.settings
    return VertexProvider(s.vertex_project, services.blobs, services.clock, base_url=s.vertex_base_url)


def _runway(services: Services) -> Provider:
    from shared.providers.runway import RunwayProvider

    s = services.settings
    return RunwayProvider(s.runway_api_secret, services.blobs, base_url=s.runway_base_url)


def _replicate(services: Services) -> Provider:
    from shared.providers.replicate import ReplicateProvider

    s = services.settings
    return ReplicateProvider(
        s.replicate_api_token,
        services.blobs,
        services.clock,
        base_url=s.replicate_base_url,
        webhook_url=s.webhook_url,
    )


def _huggingface(services: Services) -> Provider:
    from shared.providers.huggingface import HuggingFaceProvider

    s = services.settings
    return HuggingFaceProvider(s.huggingface_token, services.blobs, base_url=s.huggingface_base_url)


_PROVIDERS: Mapping[str, Callable[[Services], Provider]] = {
    "offline": _offline,
    "template": _template,
    "vertex": _vertex,
    "runway": _runway,
    "replicate": _replicate,
    "huggingface": _huggingface,
}


def build(settings: Settings, clock: Clock | None = None, *, bus: EventBus | None = None) -> Services:
    """Build the services that *settings* name. Raises SettingsError for a URL no adapter understands.

    *bus*: in place of the one that the settings name.
    """
    if settings.push_audience and not settings.push_service_account:
        # An audience is no secret: any Google account gets a token for it.
        raise SettingsError("ATELIER_PUSH_AUDIENCE needs ATELIER_PUSH_SERVICE_ACCOUNT: whose tokens are accepted")
    if settings.webhook_url and not settings.replicate_webhook_secrets:
        raise SettingsError(
            "ATELIER_WEBHOOK_URL needs ATELIER_REPLICATE_WEBHOOK_SECRETS: what is not signed is refused"
        )
    unknown = sorted(set(settings.providers) - (_PROVIDERS.keys() - {"template"}))
    if unknown:
        allowed = ", ".join(sorted(_PROVIDERS.keys() - {"template"}))
        raise SettingsError(f"ATELIER_PROVIDERS names {unknown[0]!r}, which is not known; it may name: {allowed}")
    clock = clock or SystemClock()
    # All URLs are read now, so that a wrong one is told at the start and not with the first piece.
    builders = _documents(settings), _blobs(settings), _bus(settings, clock), _metrics(settings, clock)
    documents, blobs, events, metrics = builders
    return Services(settings, clock, documents(), blobs, events if bus is None else lambda: bus, metrics)


_services: Services | None = None
_services_lock = threading.Lock()


def services() -> Services:
    """The services of this process, built from its environment on first use."""
    global _services  # noqa: PLW0603 - one set of services per process
    with _services_lock:
        if _services is None:
            import sys

            settings = Settings.from_environment(os.environ)
            log.configure(settings.log_level, sys.stdout, os.environ.get("GOOGLE_CLOUD_PROJECT", ""))
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


def _documents(settings: Settings) -> Callable[[], DocumentStore]:
    if settings.state_url.startswith("firestore:"):
        project, database = _resource("ATELIER_STATE_URL", settings.state_url, "firestore")

        def cloud() -> DocumentStore:
            from shared.adapters.firestore import FirestoreDocumentStore

            return FirestoreDocumentStore(project, database)

        return cloud
    path = _local_path("ATELIER_STATE_URL", settings.state_url, "sqlite", home_path(settings) / "state.db")

    def local() -> DocumentStore:
        from shared.adapters.sqlite import SqliteDocumentStore

        return SqliteDocumentStore(str(path))

    return local


def _blobs(settings: Settings) -> Callable[[], BlobStore]:
    if settings.blobs_url.startswith("gs:"):
        prefix, _ = _resource("ATELIER_BLOBS_URL", settings.blobs_url, "gs")

        def cloud() -> BlobStore:
            from shared.adapters.gcs import CloudStorageBlobStore

            return CloudStorageBlobStore(prefix)

        return cloud
    path = _local_path("ATELIER_BLOBS_URL", settings.blobs_url, "file", home_path(settings) / "buckets")

    def local() -> BlobStore:
        from shared.adapters.filesystem import FilesystemBlobStore

        return FilesystemBlobStore(path)

    return local


def _bus(settings: Settings, clock: Clock) -> Callable[[], EventBus]:
    if settings.bus_url.startswith("pubsub:"):
        project, _ = _resource("ATELIER_BUS_URL", settings.bus_url, "pubsub")

        def cloud() -> EventBus:
            from shared.adapters.pubsub import PubSubBus

            return PubSubBus(project)

        return cloud
    path = _local_path("ATELIER_BUS_URL", settings.bus_url, "local", home_path(settings) / "bus.db")

    def local() -> EventBus:
        from shared.adapters import wiring
        from shared.adapters.local_bus import LocalBus

        return LocalBus(str(path), clock, subscriptions=wiring.subscriptions())

    return local


def _metrics(settings: Settings, clock: Clock) -> Callable[[], MetricSink]:
    if settings.metrics_url in {"", "log:"}:
        return LogMetrics
    project, _ = _resource("ATELIER_METRICS_URL", settings.metrics_url, "monitoring")

    def cloud() -> MetricSink:
        from shared.adapters.cloud_monitoring import CloudMonitoringMetrics

        return CloudMonitoringMetrics(project, clock)

    return cloud


def _resource(name: str, url: str, scheme: str) -> tuple[str, str]:
    """The project or prefix that a URL names, and what comes after it. Raises SettingsError."""
    first, _, second = url.removeprefix(f"{scheme}://").partition("/")
    rest_is_named = not second or (scheme == "firestore" and _RESOURCE.fullmatch(second))
    if not url.startswith(f"{scheme}://") or not _RESOURCE.fullmatch(first) or not rest_is_named:
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


def _built_in(package: str, name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(package).joinpath(name).read_text("utf-8"))


def _toml(path: str, error: type[CatalogueError | SettingsError]) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise error(f"{path} cannot be read as TOML: {problem}") from None
