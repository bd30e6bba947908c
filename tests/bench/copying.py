"""How much memory `generate` needs to copy a finished clip from its vendor into our bucket.

`python -m tests.bench.copying MIB`, with the settings in its environment: a process of its own, because it reports the
kernel's high-water mark of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from functions import _runtime, generate, validate
from functions._decode import Event
from shared import bootstrap
from shared.bootstrap import Services
from shared.domain.intake import Envelope
from shared.domain.job import Job, State
from shared.settings import Settings
from tests.bench.logs import quiet_log
from tests.bench.vendor import BUCKETS, MIB, ROOT, sha256_of_clip, vendors


def copied(mib: int, *, cloud: bool) -> dict[str, Any]:
    """Copy a clip of that size to the file system, or to Cloud Storage; return MiB above idle, and seconds.

    Vendor and storage are in a process of their own.
    """
    with tempfile.TemporaryDirectory() as home, vendors() as urls:
        environment = {
            **os.environ,
            "ATELIER_HOME": home,
            "ATELIER_PROVIDERS": "runway",
            "ATELIER_RUNWAY_API_SECRET": "key",
            "ATELIER_RUNWAY_BASE_URL": urls["vendor"],
            **({"ATELIER_BLOBS_URL": f"gs://{BUCKETS}", "STORAGE_EMULATOR_HOST": urls["storage"]} if cloud else {}),
        }
        command = [sys.executable, "-m", "tests.bench.copying", str(mib)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def _copy(mib: int) -> dict[str, Any]:
    services = bootstrap.build(Settings.from_environment(os.environ))
    with quiet_log():
        _poll(_waiting(1, services), services)  # whatever is loaded or opened once is no part of the file
        job = _waiting(mib, services)
        idle_mib = _reset_peak()
        started = time.perf_counter()
        _poll(job, services)
        took_s = time.perf_counter() - started
        peak_mib = _status("VmHWM")
        _check(job.job_id, mib, services)
    services.close()
    return {
        "idle_mib": round(idle_mib, 1),
        "above_idle_mib": round(peak_mib - idle_mib, 1),
        "took_s": round(took_s, 2),
        "size_mib": mib,
    }


def _waiting(mib: int, services: Services) -> Job:
    """A job whose clip of that size is finished at the vendor."""
    prompt = f"{mib} MiB of a paper boat on a pond"
    request = {
        "kind": "video",
        "model": "gen4.5",
        "prompt": prompt,
        "duration_s": 4,
        "audio": False,
        "request_id": f"clip-{mib}",
    }
    _runtime.deliver(validate.handle, Event(request, f"m-{mib}"), services)
    job_id = Envelope(request, "").job_id
    _poll(_job(job_id, services), services)
    job = _job(job_id, services)
    assert job.state is State.WAITING, (job.state, job.errors, job.attempts)
    return job


def _poll(job: Job, services: Services) -> None:
    """Have `generate` carry the job on."""
    event = Event({"job_id": job.job_id, "seq": job.seq}, f"{job.job_id}-{job.seq}")
    _runtime.deliver(generate.handle, event, services)


def _job(job_id: str, services: Services) -> Job:
    found = services.jobs.get(job_id)
    assert found is not None
    return found.job


def _check(job_id: str, mib: int, services: Services) -> None:
    """What is in the bucket is what the vendor had."""
    (piece,) = _job(job_id, services).attempts[0].pieces
    digest, size = hashlib.sha256(), 0
    with services.blobs.open(piece.uri) as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
            size += len(chunk)
    assert (size, digest.hexdigest()) == (mib * MIB, sha256_of_clip(mib))
    assert (piece.size_bytes, piece.sha256) == (size, digest.hexdigest())


def _reset_peak() -> float:
    """Set the high-water mark back to what is in use now, MiB, and return that. Source: proc(5), clear_refs."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    """A field of `/proc/self/status`, MiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(_copy(int(sys.argv[1]))))
