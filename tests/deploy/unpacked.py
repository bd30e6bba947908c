"""The archive's functions as the platform runs them: unpacked, with the pinned requirements and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import venv
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc

from functions._emulated.processes import free_port
from tests.functions.serving import Served
from tests.http_server import Handler, serving

PROJECT = "some-project"


def pins(requirements: Path) -> dict[str, str]:
    """The distributions that a compiled requirements file names: name → version."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", requirements.read_text("utf-8"), re.MULTILINE))


def make_environment(folder: Path, requirements: Path) -> Path:
    """Make an environment of exactly the pinned distributions, as links to the installed ones; return its Python.

    Their compiled files are linked as well, so that nothing is compiled again.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    for name, version in pins(requirements).items():
        found = metadata.distribution(name)
        assert found.version == version, f"{name} {found.version} is installed, {version} is pinned"
        for file in found.files or ():
            if ".." not in file.parts:  # else it is a script
                _link(packages / file, Path(str(file.locate())))
    return folder / "bin" / "python"


def _link(link: Path, file: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(file)


class _Forbidden(Handler):
    """Refuses everything, as Google's APIs do for want of a grant; at once, where no answer would be waited for."""

    def respond(self) -> None:
        self.answer(403)


class _Refusing(grpc.GenericRpcHandler):
    def service(self, details: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "no grant")
        )


@contextmanager
def forbidden_cloud() -> Iterator[dict[str, str]]:
    """Answer for Google's APIs for a block; yields the settings of a deployed function that meets them there."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Refusing()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with serving(_Forbidden) as storage:
        yield {
            "ATELIER_STATE_URL": f"firestore://{PROJECT}/atelier",
            "ATELIER_BUS_URL": f"pubsub://{PROJECT}",
            "ATELIER_BLOBS_URL": f"gs://{PROJECT}",
            "ATELIER_METRICS_URL": f"monitoring://{PROJECT}",
            "FIRESTORE_EMULATOR_HOST": address,
            "PUBSUB_EMULATOR_HOST": address,
            "STORAGE_EMULATOR_HOST": storage.rstrip("/"),
            "LOG_EXECUTION_ID": "true",
        }
    server.stop(None).wait()


class Deployed(Served):
    """One function's process, started as Google's buildpack starts it: by these variables alone.

    Source: github.com/GoogleCloudPlatform/buildpacks, cmd/python/functions_framework/lib/lib.go.
    """

    def __init__(self, row: Mapping[str, Any], python: Path, unpacked: Path, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.out = self.err = unpacked.with_name(f"{row['entry_point']}.log")
        own = {
            "PYTHONPATH": ".",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PORT": str(self.port),
            "FUNCTION_TARGET": row["entry_point"],
            "FUNCTION_SOURCE": row["source"],
            "ATELIER_CALLS_VENDORS": str(row["calls_vendors"]).lower(),
        }
        with self.out.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-P", "-m", "functions_framework"],  # -P: as its console script, which is not linked
                cwd=unpacked,
                env={"PATH": os.environ["PATH"], **settings, **own},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def close(self) -> None:
        """End it at once: it has nothing to put away, and its server would take a third of a second to say goodbye."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
