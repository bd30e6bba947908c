"""The deployed system on one machine: the functions as they are served, on the emulators of Google Cloud.

Firestore and Pub/Sub are the emulators of the Google Cloud SDK, Cloud Storage is our own, and every function is a
Functions Framework process. What belongs to the services there is done by threads here: notifications of the inbox
bucket, the Scheduler's tick, and starting an instance anew when one has died.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from functions._decode import bucket_notification
from functions._emulated.dispatcher import Dispatcher
from functions._emulated.emulators import Emulators, start_emulators
from functions._emulated.processes import ProcessGroup, free_port
from shared import bootstrap
from shared.adapters import pubsub_topology, wiring
from shared.adapters.chaos import Chaos
from shared.adapters.pubsub_topology import Topology
from shared.bootstrap import Services
from shared.errors import PipelineError, SettingsError, StoreUnavailable
from shared.log import log
from shared.ports import Message
from shared.settings import PREFIX, Settings
from shared.simulators.cloud_storage import CloudStorage

ROOT = Path(__file__).parents[2]
PROJECT = "atelier-emulated"
LOOK_EVERY_S = 0.2
JOIN_S = 1.0


class EmulatedCloud:
    """Emulators, resources and functions, from `start` to `stop`; nothing of it outlives either this process or `stop`.

    Attributes:
        environment: the variables by which another process, such as a command in a second terminal, joins in.
        endpoints: the URL of each function.
        services: this process's own access to everything.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        project: str = PROJECT,
        parallel: bool = False,
        ops_port: int = 0,
        chaos: Chaos | None = None,
        topology: Topology | None = None,
        emulators: Emulators | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            parallel: push as many messages at once as an instance takes; the emulator itself pushes two.
            ops_port: of the status page; 0 takes a free one.
            chaos: what the parallel pushes do wrong on purpose.
            topology: of topics and subscriptions; by default the declared one.
            emulators: running ones, in place of new ones.
        """
        home = bootstrap.home_path(settings)
        self.home = home / "emulated"
        self._lock_file = home / "emulated.lock"
        self._settings = replace(
            settings,
            home=str(self.home),
            state_url=f"firestore://{project}",
            bus_url=f"pubsub://{project}",
            blobs_url=f"gs://{project}",
            metrics_url="",  # there is no emulator of Cloud Monitoring
            push_audience="",  # nor a push that carries a token
        )
        self._project = project
        self._parallel = parallel
        self._chaos = chaos
        self._topology = topology
        self._emulators = emulators
        self._ports = {name: free_port() for name in wiring.functions()}
        self._ports["ops"] = ops_port or self._ports["ops"]
        self.endpoints = {name: f"http://127.0.0.1:{port}/" for name, port in self._ports.items()}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._undo: list[Callable[[], object]] = []
        self.environment: dict[str, str] = {}
        self.services: Services

    def __enter__(self) -> Self:
        """Start; whatever was started is stopped again when something cannot be."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start everything and return when every function answers.

        Raises:
            SettingsError: something cannot be started, or another process does this in the same home.
        """
        self._lock()
        shutil.rmtree(self.home, ignore_errors=True)
        self.processes = ProcessGroup(self.home / "logs")
        self._undo.append(self.processes.stop)
        self._start_back_ends()
        self.services = bootstrap.build(self._settings)
        self._undo.append(self.services.close)
        for name in self._ports:
            self._serve(name)
        for name, port in self._ports.items():
            self.processes.wait_until_open(name, port)
        if self._parallel:
            dispatcher = Dispatcher(self._project, self._consumers(), chaos=self._chaos)
            dispatcher.start()
            self._undo.append(dispatcher.stop)
        for work, every_s in ((self._tick, self._settings.tick_s), (self._revive, LOOK_EVERY_S)):
            thread = threading.Thread(target=self._repeat, args=(work, every_s), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End everything that was started, the last first."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(JOIN_S)  # one that waits for a dead emulator ends with this process
        while self._undo:
            self._undo.pop()()

    def check(self) -> None:
        """Raise StoreUnavailable when an emulator has ended: what it kept is lost."""
        for name in self.processes.ended():
            if name not in self._ports:
                raise StoreUnavailable(f"the {name} emulator has ended; its log is {self.processes.log(name)}")

    def _lock(self) -> None:
        """Keep others from starting in the same home, and from removing what this one keeps there."""
        file = self._lock_file.open("w")
        self._undo.append(file.close)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"the emulators are running in {self._lock_file.parent} already; set ATELIER_HOME to another folder"
            ) from None

    def _start_back_ends(self) -> None:
        """Start what keeps documents, messages and objects, lead this process to it, and make the resources."""
        emulators = self._emulators or start_emulators(self.processes)
        storage = CloudStorage(on_finalize=self._notify)
        storage.start()
        self._undo.append(storage.stop)
        for bucket in ("inbox", "outputs"):
            storage.create_bucket(f"{self._project}-{bucket}")
        self.environment = {
            **emulators.environment,
            "STORAGE_EMULATOR_HOST": storage.url,
            "GOOGLE_CLOUD_PROJECT": self._project,
            **self._settings.environment(),
        }
        self._join(self.environment)
        endpoints = {} if self._parallel else self._consumers()
        pubsub_topology.create(self._project, endpoints, topology=self._topology)

    def _join(self, environment: Mapping[str, str]) -> None:
        """Lead this process's own clients to the emulators, until the end."""
        before = {name: os.environ.get(name) for name in environment}

        def leave() -> None:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

        os.environ.update(environment)
        self._undo.append(leave)

    def _consumers(self) -> dict[str, str]:
        """The URL of each function that has a subscription."""
        return {name: self.endpoints[name] for name, row in wiring.functions().items() if "topic" in row["trigger"]}

    def _serve(self, name: str) -> None:
        """Start one instance of a function, as it is deployed."""
        row = wiring.functions()[name]
        # -P: like the deployed console script, it does not find the repository by being started in it.
        command = [sys.executable, "-P", "-m", "functions_framework", "--target", row["entry_point"]]
        where = ["--source", row["source"], "--host", "127.0.0.1", "--port", str(self._ports[name])]
        outer = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        own = {"PYTHONPATH": ".", "K_SERVICE": name, "THREADS": str(row["concurrency"])}
        environment = {**outer, **own, **self.environment}
        self.processes.start(name, [*command, *where], environment=environment, cwd=ROOT)

    # ------------------------------------------------------------ what the services do by themselves

    def _repeat(self, work: Callable[[], None], every_s: float) -> None:
        while not self._stopping.wait(every_s):
            try:
                work()
            except PipelineError as error:
                log.warning("emulated.failed", extra={"reason": str(error)})
            except Exception:
                if not self._stopping.is_set():  # else its connection was closed on it
                    raise

    def _tick(self) -> None:
        """What Cloud Scheduler does every minute."""
        self.services.bus.publish([Message("ticks", {"at": self.services.clock.now().isoformat()})])

    def _revive(self) -> None:
        """What Cloud Run does when an instance has died."""
        for name in self._ports.keys() & self.processes.ended():
            log.warning("emulated.restarted", extra={"function": name})
            self._serve(name)

    def _notify(self, stored: Mapping[str, Any]) -> None:
        """What a bucket notification does: tell the topic `uploads` of a finished object in the inbox."""
        if stored["bucket"] != f"{self._project}-inbox":
            return
        self.services.bus.publish([bucket_notification(stored)])
