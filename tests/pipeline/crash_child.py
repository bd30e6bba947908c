"""Runs `python -m functions run FILE --json` in processes that die, or stop, at a chosen point.

Started as `python -m tests.pipeline.crash_child`: imports everything once, then forks a process for every order it
reads, so that a run costs no start of Python. Orders and answers are lines of JSON:

    {"do": "start", "file": FILE, "out": FOLDER, "environment": {…}, "at": N, "signal": "KILL"}  ->  {"pid": PID}
    {"do": "wait", "pid": PID}                            ->  {"status": exit code, -signal, or null when stopped}

A point is the moment before or after a call that changes something outside the process: a commit of documents, a
publication or acknowledgement of events (ticks left out, as their number is a matter of time), a new object, a call
of the provider. They are counted from 1 over all threads and listed in FOLDER/points. The signal is sent at point
*at*; where it is a text instead, at the first point of that name. Standard output goes to FOLDER/stdout.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from functions import (  # noqa: F401 - what a run would import on its way
    __main__,
    _admission,
    _pages,
    _run,
    fallback,
    generate,
    on_dead_letter,
    on_tick,
    quality_check,
    record_cost,
    validate,
)
from shared import bootstrap
from shared.adapters import filesystem, inspect_image, inspect_video, inspector, local_bus, sqlite  # noqa: F401
from shared.adapters.local_bus import Delivery
from shared.bootstrap import Services
from shared.domain import limiter, pricing, prompt, request, safety, text_quality  # noqa: F401
from shared.ports import Clock, Message
from shared.providers import offline  # noqa: F401
from shared.providers.studio import image, text, video  # noqa: F401
from shared.resilience import breakers, limiters  # noqa: F401
from shared.settings import Settings

PATIENCE_S = 60  # a run that hangs tells where, and ends by SIGALRM
LOOK_EVERY_S = 0.02

Order = dict[str, Any]


class Points:
    """Counts the points of this process and sends it the order's signal at one of them."""

    def __init__(self, order: Order) -> None:
        self._at: int | str | None = order.get("at")
        self._signal = signal.Signals[f"SIG{order.get('signal', 'KILL')}"]
        self._log = os.open(Path(order["out"], "points"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._lock = threading.Lock()
        self._passed = 0

    def install(self, services: Services) -> Services:
        """Put a point before and after everything that changes the world."""
        provider = services.provider("offline")
        self._wrap(services.documents, "commit")
        self._wrap(services.blobs, "create")
        self._wrap(provider, "start")
        self._wrap(provider, "poll")
        self._wrap(services.bus, "publish", _is_no_tick)
        self._wrap(services.bus, "ack", _is_no_tick)
        return services

    def _wrap(self, owner: object, name: str, counts: Callable[[Any], bool] = lambda _: True) -> None:
        call = getattr(owner, name)

        def pointed(argument: Any, *others: Any) -> Any:
            if not counts(argument):
                return call(argument, *others)
            self._pass(f"before {name}")
            result = call(argument, *others)
            self._pass(f"after {name}")
            return result

        setattr(owner, name, pointed)

    def _pass(self, name: str) -> None:
        with self._lock:
            self._passed += 1
            os.write(self._log, f"{name}\n".encode())
            if self._at in (self._passed, name):
                self._at = None
                # To this very thread: one sent to the process may find it some steps further on.
                signal.pthread_kill(threading.get_ident(), self._signal)


def _is_no_tick(messages: list[Message | Delivery]) -> bool:
    return any(message.topic != "ticks" for message in messages)


def _run_order(order: Order) -> int:
    os.environ.update(order["environment"])
    _redirect(1, Path(order["out"], "stdout"))
    _redirect(2, Path(order["out"], "stderr"))
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(PATIENCE_S)
    build, points = bootstrap.build, Points(order)

    def build_with_points(settings: Settings, clock: Clock | None = None) -> Services:
        return points.install(build(settings, clock))

    bootstrap.build = build_with_points
    _run.LOOK_EVERY_S = LOOK_EVERY_S
    generate.LEASE_GRACE_S = order.get("lease_grace_s", generate.LEASE_GRACE_S)
    code = __main__.main(["run", order["file"], *order.get("arguments", ["--json"])])
    sys.stdout.flush()
    return code


def _compile(home: Path) -> None:
    """Compile what every run compiles, the terms of the safety rules and the report's template: forks have it then."""
    services = bootstrap.build(Settings(home=str(home)))
    assert services.safety_rules.categories
    services.close()
    _pages.environment().get_template("report.html")


def _remembering(make: Callable[..., bytes], folder: Path) -> Callable[..., bytes]:
    """Return *make*, which makes the same piece of the same arguments, so that only the first process has to."""

    def made(*arguments: Any, **options: Any) -> bytes:
        key = repr((make.__name__, arguments, sorted(options.items())))
        file = folder / hashlib.sha256(key.encode()).hexdigest()
        if not file.exists():
            temporary = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            temporary.write_bytes(make(*arguments, **options))
            temporary.replace(file)
        return file.read_bytes()

    return made


def _redirect(descriptor: int, file: Path) -> None:
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(opened, descriptor)
    os.close(opened)


def _start(order: Order) -> dict[str, int]:
    pid = os.fork()
    if pid:
        return {"pid": pid}
    code = 99
    try:
        code = _run_order(order)
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not become a second server
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _wait(pid: int) -> dict[str, int | None]:
    _, status = os.waitpid(pid, os.WUNTRACED)
    return {"status": None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)}


def serve() -> None:
    """Carry out the orders on standard input until it ends."""
    with tempfile.TemporaryDirectory() as folder:
        _compile(Path(folder, "home"))
        image.render_image = _remembering(image.render_image, Path(folder))
        video.render_video = _remembering(video.render_video, Path(folder))
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(_start(order) if order["do"] == "start" else _wait(order["pid"])), flush=True)


if __name__ == "__main__":
    serve()
