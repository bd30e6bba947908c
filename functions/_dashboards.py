"""What Terraform and Grafana need of the metrics: descriptors and two dashboards, made from their declarations.

Descriptors are made from `shared/metrics.py`, the dashboards from the panels of `infra/monitoring.json`, whose
`queries` are PromQL with legends in Grafana's words (`{{label}}`) and whose `width` is in twelfths of a row.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from functions._console import show
from shared.errors import SettingsError
from shared.metrics import METRICS, Metric
from shared.ports import Json
from shared.settings import Settings

INFRA = Path(__file__).parents[1] / "infra"
COLUMNS = 12
LINE_ROWS, NUMBER_ROWS = 4, 2  # heights in Cloud Monitoring's rows; Grafana's are half as high

CLOUD_UNITS = {"1": "1", "ratio": "10^2.%", "s": "s", "ms": "ms", "USD": "{USD}"}  # google/api/metric.proto: `unit`
GRAFANA_UNITS = {"1": "short", "ratio": "percentunit", "s": "s", "ms": "ms", "USD": "currencyUSD"}
PLOTS = {"lines": "LINE", "states": "LINE", "areas": "STACKED_AREA", "bars": "STACKED_BAR"}
GRAFANA_PANELS = {"number": "stat", "states": "state-timeline"}  # the others are time series
STATE_COLOURS = ("green", "yellow", "red", "dark-red")
SOURCE: Json = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}

Placed = tuple[Json, int, int, int, int]  # panel, column, row, width, height


def dashboards(options: argparse.Namespace, _settings: Settings) -> int:
    """Write the files and say which. Raises SettingsError where there is no `infra`, or it cannot be written to."""
    files = {INFRA / name: document for name, document in contents(monitoring()).items()}
    for path, document in files.items():
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text_of(document), "utf-8")
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
    written = [str(path) for path in files]
    show(options, {"written": written}, "\n".join(f"wrote {path}" for path in written))
    return 0


def monitoring() -> Json:
    """Return the table of alerts, objectives and panels. Raises SettingsError where it is missing or not JSON."""
    path = INFRA / "monitoring.json"
    try:
        found: Json = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read, as dashboards are made in a checkout: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("panels"), list):
        raise SettingsError(f'{path} has no list "panels"')
    return found


def contents(table: Json) -> Mapping[str, Json]:
    """Return every file that is made, by its name in `infra`."""
    return {
        "metrics.json": {metric.name: descriptor(metric) for metric in METRICS.values()},
        "dashboards/cloud_monitoring.json": cloud_dashboard(table["panels"]),
        "dashboards/grafana.json": grafana_dashboard(table["panels"]),
    }


def text_of(document: Json) -> str:
    """A document as its file has it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def descriptor(metric: Metric) -> Json:
    """Return a metric as `google_monitoring_metric_descriptor` declares it, and as the adapter writes it."""
    from shared.adapters.cloud_monitoring import UNITS  # loads Google's libraries, which no other command needs

    value_types = {"counter": "INT64", "distribution": "DISTRIBUTION", "gauge": "DOUBLE"}
    return {
        "kind": "GAUGE" if metric.kind == "gauge" else "CUMULATIVE",
        "value_type": value_types[metric.kind],
        "unit": UNITS.get(metric.unit, metric.unit),
        "labels": list(metric.labels),
        "meaning": metric.meaning,
    }


def placed(panels: Sequence[Json]) -> Iterator[Placed]:
    """Put panels side by side while they fit into a row, which is as high as its highest."""
    column = row = highest = 0
    for panel in panels:
        height = NUMBER_ROWS if panel["chart"] == "number" else LINE_ROWS
        if column + panel["width"] > COLUMNS:
            column, row, highest = 0, row + highest, 0
        yield panel, column, row, panel["width"], height
        column, highest = column + panel["width"], max(highest, height)


# ---------------------------------------------------------------- Cloud Monitoring


def cloud_dashboard(panels: Sequence[Json]) -> Json:
    """Return the dashboard as Cloud Monitoring's API takes it (cloud.google.com/monitoring/api/ref_v3/rest/v1)."""
    tiles = [_tile(*one) for one in placed(panels)]
    return {"displayName": "Atelier", "mosaicLayout": {"columns": COLUMNS, "tiles": tiles}}


def _tile(panel: Json, column: int, row: int, width: int, height: int) -> Json:
    # The API leaves zeros out of its answers, which Terraform would take for a change.
    place = {name: value for name, value in (("xPos", column), ("yPos", row)) if value}
    chart = {"scorecard": _asked(panel, 0)} if panel["chart"] == "number" else {"xyChart": _chart(panel)}
    return {**place, "width": width, "height": height, "widget": {"title": panel["title"], **chart}}


def _asked(panel: Json, number: int) -> Json:
    query = {"prometheusQuery": panel["queries"][number]["expr"], "unitOverride": CLOUD_UNITS[panel["unit"]]}
    return {"timeSeriesQuery": query}


def _chart(panel: Json) -> Json:
    sets = [
        {
            **_asked(panel, number),
            "plotType": PLOTS[panel["chart"]],
            "targetAxis": "Y1",
            "legendTemplate": re.sub(r"\{\{(\w+)\}\}", r"${\1}", query["legend"]),
        }
        for number, query in enumerate(panel["queries"])
    ]
    states = ", ".join(f"{number} {name}" for number, name in panel.get("values", {}).items())
    axis = {"label": states} if states else {}
    return {"dataSets": sets, "chartOptions": {"mode": "COLOR"}, "yAxis": {**axis, "scale": "LINEAR"}}


# ---------------------------------------------------------------- Grafana


def grafana_dashboard(panels: Sequence[Json]) -> Json:
    """Return the dashboard for Grafana 10 and later, which asks for the data source when it is imported."""
    return {
        "__inputs": [
            {
                "name": "DS_PROMETHEUS",
                "label": "Cloud Monitoring by PromQL",
                "description": "A Prometheus data source that reads the project's Cloud Monitoring.",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        ],
        "id": None,
        "uid": "atelier",
        "title": "Atelier",
        "tags": ["atelier"],
        "timezone": "utc",
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "annotations": {"list": []},
        "templating": {"list": []},
        "panels": [_grafana_panel(number, *one) for number, one in enumerate(placed(panels), 1)],
    }


def _grafana_panel(number: int, panel: Json, column: int, row: int, width: int, height: int) -> Json:
    return {
        "id": number,
        "type": GRAFANA_PANELS.get(panel["chart"], "timeseries"),
        "title": panel["title"],
        "datasource": SOURCE,
        "gridPos": {"x": column * 2, "y": row * 2, "w": width * 2, "h": height * 2},  # of 24 columns
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [_target(panel, query, chr(ord("A") + i)) for i, query in enumerate(panel["queries"])],
    }


def _target(panel: Json, query: Json, ref: str) -> Json:
    is_number = panel["chart"] == "number"
    kind = {"instant": is_number, "range": not is_number}
    return {"refId": ref, "datasource": SOURCE, "expr": query["expr"], "legendFormat": query["legend"], **kind}


def _defaults(panel: Json) -> Json:
    found: Json = {"unit": GRAFANA_UNITS[panel["unit"]]}
    if panel["chart"] in ("areas", "bars"):
        bars = panel["chart"] == "bars"
        stacking = {"mode": "normal", "group": "A"}
        found["custom"] = {"drawStyle": "bars" if bars else "line", "fillOpacity": 60, "stacking": stacking}
    if "values" in panel:
        states = zip(panel["values"].items(), STATE_COLOURS, strict=True)
        options = {number: {"text": name, "color": colour} for (number, name), colour in states}
        found["mappings"] = [{"type": "value", "options": options}]
    return found


def _options(panel: Json) -> Json:
    if panel["chart"] == "number":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "none"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {"legend": legend} if panel["chart"] == "states" else {"legend": legend, "tooltip": {"mode": "multi"}}
