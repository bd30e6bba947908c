"""Seconds and peak memory of importing each function in a fresh process, beside the bare Functions Framework."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from shared.adapters import wiring

ROOT = Path(__file__).parents[2]
RUNS = 5
BARE = "functions_framework"
# The kernel's high-water mark of this very address space: ru_maxrss would include that of the process that forked it.
PROGRAM = """
import sys, time
started = time.perf_counter()
import functions_framework
__import__(sys.argv[1])
took_s = time.perf_counter() - started
with open("/proc/self/status") as status:
    peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print("[%f, %d]" % (took_s, peak_kib))
"""


def run() -> dict[str, Any]:
    """Return the medians, and their ratios to the bare framework."""
    modules = [BARE, *(f"functions.{name}" for name in wiring.functions())]
    _import(modules[-1])  # compiles what was never imported before
    # All in turn, so that a busy moment does not fall on one of them alone.
    rounds = [{module: _import(module) for module in modules} for _ in range(RUNS)]
    medians = {module: [statistics.median(r[module][i] for r in rounds) for i in (0, 1)] for module in modules}
    bare_s, bare_kib = medians[BARE]
    return {
        module.removeprefix("functions."): {
            "import_s": round(took_s, 3),
            "peak_rss_mib": round(peak_kib / 1024, 1),
            "times_bare_s": round(took_s / bare_s, 2),
            "times_bare_rss": round(peak_kib / bare_kib, 2),
        }
        for module, (took_s, peak_kib) in medians.items()
    }


def _import(module: str) -> tuple[float, int]:
    command = [sys.executable, "-c", PROGRAM, module]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    took_s, peak_kib = json.loads(done.stdout)
    return took_s, peak_kib
