"""Deployed functions for tests: each in a Functions Framework process of its own, over one shared home."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from functions import _runtime
from functions._decode import Event
from functions._emulated.processes import free_port
from functions._local import LocalSystem
from shared import bootstrap
from shared.adapters import wiring
from shared.adapters.local_bus import Delivery, LocalBus
from shared.domain.intake import Envelope
from shared.domain.job import Job
from shared.ports import Json, Message
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
READY_S, LOOK_EVERY_S = 30.0, 0.05
JSON_TYPE = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function answered over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def push(payload: Any = None, *, message_id: str, attempt: int = 1, attributes: Json | None = None) -> Json:
    """The body of a Pub/Sub push, wrapped; without data when there is no payload."""
    data = {} if payload is None else {"data": base64.b64encode(json.dumps(payload).encode()).decode()}
    message = {**data, "attributes": attributes or {}, "messageId": message_id, "message_id": message_id}
    return {"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": attempt}


def ce_headers(event_id: str, kind: str = "google.cloud.pubsub.topic.v1.messagePublished") -> dict[str, str]:
    """The headers of a CloudEvent in binary mode."""
    source = "//pubsub.googleapis.com/projects/p/topics/t"
    return {"ce-id": event_id, "ce-specversion": "1.0", "ce-type": kind, "ce-source": source, **JSON_TYPE}


class Served:
    """One function's process."""

    def __init__(self, name: str, home: Path, **environment: str) -> None:
        row = wiring.functions()[name]
        self.port = free_port()
        self.out, self.err = home / f"{name}.out", home / f"{name}.err"
        # -P: like the deployed console script, it does not find the repository by being started in it.
        command = [sys.executable, "-P", "-m", "functions_framework", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                [*command, "--target", row["entry_point"], "--source", row["source"]],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": ".", "ATELIER_HOME": str(home), **environment},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def ready(self) -> None:
        """Wait for the port; fail with what the process wrote when it dies first."""
        for _ in range(int(READY_S / LOOK_EVERY_S)):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            try:
                code = self._process.wait(LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"the process ended with {code}: {self.err.read_text()}")
        raise AssertionError(f"port {self.port} was not opened: {self.err.read_text()}")

    def send(
        self,
        body: bytes | Json | list[Any],
        headers: Mapping[str, str] = JSON_TYPE,
        *,
        method: str = "POST",
        path: str = "/",
    ) -> Answer:
        """Send one HTTP request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, data or None, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def close(self) -> None:
        """End the process and its workers."""
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Cloud:
    """The functions as they are deployed, and the stores they share, seen from outside."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.services = bootstrap.build(Settings(home=str(home)))
        assert isinstance(self.services.bus, LocalBus)
        self.bus = self.services.bus
        self.subscriptions = [*(n for n, r in wiring.functions().items() if "topic" in r["trigger"]), wiring.RESULTS]
        self._served: dict[str, Served] = {}

    def served(self, *names: str) -> list[Served]:
        """The processes of *names*, started together when they are not running yet."""
        new = [name for name in names if name not in self._served]
        self._served.update({name: Served(name, self.home) for name in new})
        for name in new:
            self._served[name].ready()
        return [self._served[name] for name in names]

    def stop(self) -> None:
        """End every process."""
        for served in self._served.values():
            served.close()

    def submit(self, request: Json) -> str:
        """Publish a request as upstream would; return the id of its job."""
        self.bus.publish([Message("requests", request)])
        return Envelope(request, "").job_id

    def job(self, job_id: str) -> Job:
        """A job as it is stored now."""
        loaded = self.services.jobs.get(job_id)
        assert loaded is not None
        return loaded.job

    def take(self) -> list[Delivery]:
        """Take everything off the bus."""
        taken: list[Delivery] = []
        while found := self.bus.lease(self.subscriptions, 100):
            self.bus.ack(found)
            taken += found
        return taken

    def carry(self, request: Json, stage: str, **settings: Any) -> Delivery:
        """Carry a request in this process until *stage* is to be run; return the event that would run it."""
        services = bootstrap.build(Settings(home=str(self.home), **settings))
        functions = LocalSystem(services)
        self.submit(request)
        for _ in range(10):
            [delivery] = self.take()
            if delivery.subscription == stage:
                return delivery
            event = Event(delivery.payload, delivery.message_id, delivery.attributes)
            _runtime.deliver(functions._function(delivery.subscription), event, services)
        raise AssertionError(f"the job never came to {stage}")


def forwarded(delivery: Delivery, attempt: int = 1) -> Json:
    """A message of the local bus as Pub/Sub would push it."""
    attributes = dict(delivery.attributes)
    return push(delivery.payload, message_id=delivery.message_id, attempt=attempt, attributes=attributes)
