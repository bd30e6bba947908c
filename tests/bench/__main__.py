"""`python -m tests.bench [NAME…]`: measures everything, or what is named, and prints one JSON object."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NAMES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(names: list[str]) -> int:
    """Run the benchmarks of these names, all without any; 2 for a name there is not."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    figures: dict[str, Any] = {"machine": _machine()}
    for name in names or NAMES:
        started = time.perf_counter()
        figures[name] = importlib.import_module(f"tests.bench.bench_{name}").run()
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    print(json.dumps(figures, indent=2))
    return 0


def _machine() -> dict[str, Any]:
    load = round(os.getloadavg()[0], 2)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"cpus": os.cpu_count(), "load": load, "python": platform.python_version(), "at": at}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
