"""`up`: the local system as a service, with the ops page on localhost, the inbox folder watched, and ticks."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from functions._console import demand_usable
from functions._decode import bucket_notification
from functions._local import LocalSystem
from shared import bootstrap, log
from shared.bootstrap import Services
from shared.errors import SettingsError
from shared.log import log as logger
from shared.ports import BlobInfo, Message
from shared.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from werkzeug.serving import BaseWSGIServer

    from functions._emulated.cloud import EmulatedCloud

LOOK_EVERY_S = 1.0
PAGE = 1000


def up(options: argparse.Namespace, settings: Settings) -> int:
    """Serve until Ctrl-C or SIGTERM, also where the shell that started it in the background ignores SIGINT."""
    from functions_framework import create_app

    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, signal.default_int_handler)
    home = bootstrap.home_path(settings)
    with (home / "log.jsonl").open("a", encoding="utf-8", buffering=1) as stream:
        log.configure(settings.log_level, stream)
        if options.emulators:
            return _up_emulated(options, settings)
        services = bootstrap.services()
        demand_usable(services)
        log.configure(settings.log_level, stream)
        app = create_app("ops", str(Path(__file__).with_name("ops.py")))  # type: ignore[no-untyped-call]
        server = _server(_local_only(app), options.port)
        system, inbox = LocalSystem(services), Inbox(services, home / "inbox_seen.json")
        system.recover()
        system.start()
        stop = threading.Event()
        watcher = threading.Thread(target=inbox.watch, args=(stop,), daemon=True)
        watcher.start()
        try:
            with suppress(KeyboardInterrupt):  # which may come before the server returns on it by itself
                _say(options, server.port, home)
                server.serve_forever()
            print("stopping", file=sys.stderr)
        finally:
            stop.set()
            watcher.join()
            system.stop()
            server.server_close()
    return 0


def _up_emulated(options: argparse.Namespace, settings: Settings) -> int:
    """Serve the deployed system on emulators until Ctrl-C or SIGTERM."""
    from functions._emulated.cloud import EmulatedCloud

    _listener(options.port).close()  # its server would try for seconds, and tell its log alone
    with EmulatedCloud(settings, parallel=options.parallel, ops_port=options.port) as cloud:
        demand_usable(cloud.services)
        try:
            _say_emulated(options, cloud)
            while True:
                cloud.check()
                cloud.services.clock.sleep(LOOK_EVERY_S)
        except KeyboardInterrupt:
            print("stopping", file=sys.stderr)
    return 0


def _say_emulated(options: argparse.Namespace, cloud: EmulatedCloud) -> None:
    ops, inbox = cloud.endpoints["ops"], cloud.services.blobs.uri("inbox", "any").removesuffix("any")
    if options.json:
        told = {"ops": ops, "inbox": inbox, "functions": cloud.endpoints, "environment": cloud.environment}
        print(json.dumps(told), flush=True)
    else:
        joining = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in cloud.environment.items())
        print(f"ops page  {ops}\ninbox     {inbox}  (.json, .jsonl, .csv)\n")
        print(f"In another terminal, any command joins in after\n{joining}\n\nCtrl-C stops", flush=True)


def _server(app: WSGIApplication, port: int) -> BaseWSGIServer:
    """Listen on localhost; a port in use is an error of ours, where the server's own way out is to exit."""
    from werkzeug.serving import make_server

    with _listener(port) as listener:
        return make_server("127.0.0.1", port, app, threaded=True, fd=listener.fileno())


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise SettingsError(f"port {port} on localhost cannot be used: {os.strerror(error.errno or 0)}") from None


def _local_only(app: WSGIApplication) -> WSGIApplication:
    """Refuse other host names, by which a page on the web could make a browser read ours (DNS rebinding)."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_HOST", "").rsplit(":", 1)[0] in {"127.0.0.1", "localhost"}:
            return app(environ, start_response)
        start_response("421 Misdirected Request", [("Content-Type", "text/plain")])
        return [b"this page is for localhost only\n"]

    return guarded


def _say(options: argparse.Namespace, port: int, home: Path) -> None:
    url, inbox = f"http://127.0.0.1:{port}/", home / "buckets" / "inbox"
    if options.json:
        print(json.dumps({"ops": url, "inbox": str(inbox)}), flush=True)
    else:
        print(f"ops page  {url}\ninbox     {inbox}  (.json, .jsonl, .csv)\nCtrl-C stops", flush=True)


class Inbox:
    """Tells of every file in the inbox folder once it is complete, as a bucket notification does."""

    def __init__(self, services: Services, seen_file: Path) -> None:
        self._services = services
        self._seen_file = seen_file
        self._seen: dict[str, str] = self._load()
        self._growing: dict[str, BlobInfo] = {}

    def watch(self, stop: threading.Event) -> None:
        """Look again and again until *stop* is set."""
        while not stop.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the next look may work
                logger.exception("inbox.failed")

    def look(self) -> None:
        """Publish a notification for each file that is new and has the size it had at the last look."""
        fresh = [info for info in self._list() if self._seen.get(info.uri) != info.generation]
        complete = [info for info in fresh if self._growing.get(info.uri) == info]
        self._growing = {info.uri: info for info in fresh}
        if not complete:
            return
        self._services.bus.publish([self._notification(info) for info in complete])
        self._seen.update({info.uri: info.generation for info in complete})
        self._save()

    def _list(self) -> list[BlobInfo]:
        found: list[BlobInfo] = []
        after: str | None = None
        prefix = self._services.blobs.uri("inbox", "any").removesuffix("any")
        while page := self._services.blobs.list(prefix, limit=PAGE, after=after):
            found += page
            after = page[-1].uri
        return found

    def _notification(self, info: BlobInfo) -> Message:
        bucket, name = self._services.blobs.locate(info.uri)
        size = str(info.size_bytes)
        return bucket_notification({"bucket": bucket, "name": name, "generation": info.generation, "size": size})

    def _load(self) -> dict[str, str]:
        try:
            seen: dict[str, str] = json.loads(self._seen_file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return seen

    def _save(self) -> None:
        """Forgetting costs only a second look: the same file and generation make the same jobs."""
        partial = self._seen_file.with_suffix(".tmp")
        partial.write_text(json.dumps(self._seen), "utf-8")
        partial.replace(self._seen_file)
