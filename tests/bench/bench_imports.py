"""Seconds and peak memory of importing each function in a fresh process, beside what it cannot do without.

`local`: the function as it is imported, beside the bare Functions Framework. `cloud`: the function with its services
built on Firestore, Pub/Sub and Cloud Storage, beside the framework with Google's three clients imported.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from shared.adapters import wiring

ROOT = Path(__file__).parents[2]
RUNS = 5
BARE = {
    "local": "import functions_framework",
    "cloud": "import functions_framework, google.cloud.firestore, google.cloud.pubsub_v1, google.cloud.storage",
}
# Building a back end imports its client; none of them connects before it is used.
OURS = {
    "local": "import functions.{name}",
    "cloud": "import functions.{name}, shared.bootstrap; s = shared.bootstrap.services(); s.documents, s.blobs, s.bus",
}
CLOUD = {
    "ATELIER_STATE_URL": "firestore://bench-project",
    "ATELIER_BUS_URL": "pubsub://bench-project",
    "ATELIER_BLOBS_URL": "gs://bench-project",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
}
# The kernel's high-water mark of this very address space: ru_maxrss would include that of the process that forked it.
PROGRAM = """
import sys, time
started = time.perf_counter()
exec(sys.argv[1])
took_s = time.perf_counter() - started
with open("/proc/self/status") as status:
    peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print("[%f, %d]" % (took_s, peak_kib))
"""


def run() -> dict[str, Any]:
    """Return the medians, and their ratios to the bare imports, without and with the cloud's back ends."""
    return {where: _compared(where) for where in BARE}


def _compared(where: str) -> dict[str, Any]:
    names = list(wiring.functions())
    programs = {"bare": BARE[where], **{name: OURS[where].format(name=name) for name in names}}
    environment = {**os.environ, **(CLOUD if where == "cloud" else {})}
    for statement in programs.values():
        _measure(statement, environment)  # compiles what was never imported before
    # All in turn, so that a busy moment does not fall on one of them alone.
    rounds = [{name: _measure(statement, environment) for name, statement in programs.items()} for _ in range(RUNS)]
    medians = {name: [statistics.median(r[name][i] for r in rounds) for i in (0, 1)] for name in programs}
    bare_s, bare_kib = medians["bare"]
    return {
        name: {
            "import_s": round(took_s, 3),
            "peak_rss_mib": round(peak_kib / 1024, 1),
            "times_bare_s": round(took_s / bare_s, 2),
            "times_bare_rss": round(peak_kib / bare_kib, 2),
        }
        for name, (took_s, peak_kib) in medians.items()
    }


def _measure(statement: str, environment: dict[str, str]) -> tuple[float, int]:
    command = [sys.executable, "-c", PROGRAM, statement]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    took_s, peak_kib = json.loads(done.stdout)
    return took_s, peak_kib
