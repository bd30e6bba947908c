"""The README's tables, made from the code: `python -m functions._docs` puts them into README.md.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from functions._dashboards import monitoring
from shared.adapters import wiring
from shared.metrics import METRICS
from shared.settings import describe

README = Path(__file__).parents[1] / "README.md"
_AFTER = {"ratio": " times", "s": " s", "USD": " USD"}
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return *text* with every table as the code has it now. Raises KeyError for a table nobody makes."""
    return _PLACE.sub(lambda place: place[1] + TABLES[place[2]]() + place[3], text)


def settings_table() -> str:
    """Every `ATELIER_*` variable."""
    rows = ([_code(s["name"]), _code(s["default"]), s["unit"], s["meaning"]] for s in describe())
    return _markdown(["setting", "default", "unit", "meaning"], rows)


def metrics_table() -> str:
    """Every declared metric."""
    rows = ([_code(m.name), m.kind, m.unit, ", ".join(m.labels), m.meaning] for m in METRICS.values())
    return _markdown(["metric", "kind", "unit", "labels", "meaning"], rows)


def alerts_table() -> str:
    """Every alert and objective of `infra/monitoring.json`."""
    table = monitoring()
    alerts = ([_code(name), _limit(row), row["means"], row["do"]] for name, row in table["alerts"].items())
    slos = ([_code(name), "its error budget burns", row["means"], row["do"]] for name, row in table["slos"].items())
    return _markdown(["alert", "fires", "means", "do"], [*alerts, *slos])


def _limit(alert: Mapping[str, Any]) -> str:
    """When an alert fires, with the unit that people count in."""
    word = "above" if "above" in alert else "below"
    number, unit = alert[word], alert["unit"]
    amount = f"{number:.0%}" if unit == "ratio" and number < 1 else f"{number:g}{_AFTER.get(unit, '')}"
    lasting = f" for {alert['for_s'] // 60} min" if alert["for_s"] else ""
    return f"{alert['severity']}, {word} {amount}{lasting}"


def functions_table() -> str:
    """Every function, what starts it and what it may publish."""
    heads = ["function", "started by", "publishes to", "timeout", "memory", "at once", "deliveries at most"]
    return _markdown(heads, (_function_row(name, row) for name, row in wiring.functions().items()))


def _function_row(name: str, row: Mapping[str, Any]) -> list[str]:
    return [
        _code(name),
        _trigger(row["trigger"]),
        ", ".join(map(_code, row["publishes"])),
        f"{row['timeout_s']} s",
        f"{row['memory_mib']} MiB",
        str(row["concurrency"]),
        str(row.get("max_delivery_attempts", "")),
    ]


def _trigger(trigger: Mapping[str, Any]) -> str:
    if "topic" not in trigger:
        return "HTTP"
    also = [
        *(["every minute"] if "schedule" in trigger else []),
        *([f"files in the bucket {_code(trigger['bucket'])}"] if "bucket" in trigger else []),
    ]
    return f"topic {_code(trigger['topic'])}" + (f" ({', '.join(also)})" if also else "")


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


TABLES: Mapping[str, Callable[[], str]] = {
    "alerts": alerts_table,
    "settings": settings_table,
    "metrics": metrics_table,
    "functions": functions_table,
}

if __name__ == "__main__":
    README.write_text(filled(README.read_text("utf-8")), "utf-8")
