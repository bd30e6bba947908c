"""The Firestore and Pub/Sub emulators of the Google Cloud SDK, as child processes.

Their jars are started directly: a `gcloud emulators` process that is killed leaves its Java child running.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from functions._emulated.processes import ProcessGroup, free_port
from shared.errors import SettingsError

GCLOUD_S = 30.0
# Java's second compiler takes a second or two to make quicker what then runs for some minutes.
JAVA = ("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Duser.language=en")
HOW = (
    "the emulators need Java 21 (17 for Google Cloud SDK 528 and older) and the Google Cloud SDK: "
    "cloud.google.com/sdk/docs/install, then `gcloud components install pubsub-emulator cloud-firestore-emulator`"
)
_LOCAL = "127.0.0.1"
_PROXIES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_PUBSUB_JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_FIRESTORE_JAR = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
_FIRESTORE_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


@dataclass(frozen=True, slots=True)
class Emulators:
    """Where running emulators answer, as HOST:PORT."""

    firestore: str
    pubsub: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which Google's client libraries, and our adapters, find them."""
        found = {"FIRESTORE_EMULATOR_HOST": self.firestore, "PUBSUB_EMULATOR_HOST": self.pubsub}
        if any(os.environ.get(name) for name in _PROXIES):  # which gRPC would ask for this machine, too
            direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
            hosts = [host for host in direct.split(",") if host not in {"", _LOCAL}]
            found["no_proxy"] = ",".join([*hosts, _LOCAL])
        return found


def missing() -> str | None:
    """Return one line on what the emulators lack on this machine, None when they can be started."""
    if shutil.which("java") is None:
        return f"there is no Java; {HOW}"
    root = _sdk_root()
    if root is None:
        return f"there is no Google Cloud SDK; {HOW}"
    lacking = [jar for jar in (_PUBSUB_JAR, _FIRESTORE_JAR) if not list(root.glob(jar))]
    return f"{root} has no {' and no '.join(lacking)}; {HOW}" if lacking else None


def start_emulators(processes: ProcessGroup) -> Emulators:
    """Start both and return when they answer. Raises SettingsError when they cannot be started."""
    problem, root = missing(), _sdk_root()
    if problem is not None or root is None:
        raise SettingsError(problem or HOW)
    ports = {"firestore": free_port(), "pubsub": free_port()}
    jars = {"firestore": root / _FIRESTORE_JAR, "pubsub": max(root.glob(_PUBSUB_JAR))}
    commands = {
        "firestore": ["-cp", str(jars["firestore"]), _FIRESTORE_MAIN, "start", "--database-mode=firestore-native"],
        "pubsub": ["-jar", str(jars["pubsub"])],
    }
    for name, arguments in commands.items():
        java = [*JAVA, *arguments, f"--host={_LOCAL}", f"--port={ports[name]}"]
        processes.start(name, java, environment=os.environ, cwd=Path.cwd())
    for name, port in ports.items():
        processes.wait_until_open(name, port)
    return Emulators(**{name: f"{_LOCAL}:{port}" for name, port in ports.items()})


@contextmanager
def running_emulators(folder: Path) -> Iterator[Emulators]:
    """Keep both running for a block, with their logs in *folder*. Raises SettingsError when they cannot be started."""
    processes = ProcessGroup(folder)
    try:
        yield start_emulators(processes)
    finally:
        processes.stop()


def _sdk_root() -> Path | None:
    """Return the folder of the Google Cloud SDK, None where there is none."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    root = Path(gcloud).resolve().parents[1]
    if (root / "platform").is_dir():
        return root
    command = [gcloud, "info", "--format=value(installation.sdk_root)"]
    try:
        asked = subprocess.run(  # noqa: S603 - a wrapper script hides where the SDK is
            command, capture_output=True, text=True, check=False, timeout=GCLOUD_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(asked.stdout.strip()) if asked.stdout.strip() else None
