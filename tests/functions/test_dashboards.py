"""The command `dashboards`: what it makes is what is committed, and what the services take."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from functions import _dashboards
from functions.__main__ import main
from functions._dashboards import (
    COLUMNS,
    INFRA,
    cloud_dashboard,
    contents,
    grafana_dashboard,
    monitoring,
    placed,
    text_of,
)
from shared.adapters.cloud_monitoring import TYPE_PREFIX, CloudMonitoringMetrics
from shared.clock import ManualClock
from shared.metrics import METRICS

PANELS = monitoring()["panels"]
GRAFANA = grafana_dashboard(PANELS)["panels"]
TILES = cloud_dashboard(PANELS)["mosaicLayout"]["tiles"]


def test_the_command_writes_the_files_and_says_which(tmp_path, monkeypatch, capsys):
    (tmp_path / "monitoring.json").write_text((INFRA / "monitoring.json").read_text("utf-8"))
    monkeypatch.setattr(_dashboards, "INFRA", tmp_path)
    assert main(["dashboards", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    made = {str(tmp_path / name): text_of(document) for name, document in contents(monitoring()).items()}
    assert {path: Path(path).read_text("utf-8") for path in written} == made
    assert main(["dashboards"]) == 0
    assert capsys.readouterr().out == "".join(f"wrote {path}\n" for path in written)


def test_without_a_checkout_one_line_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_dashboards, "INFRA", tmp_path / "infra")
    assert main(["dashboards"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {tmp_path}/infra/monitoring.json cannot be read")
    assert told.err.count("\n") == 1
    assert not (tmp_path / "infra").exists()


@pytest.mark.parametrize("text", ["[1]", "{}", '{"panels": {}}'])
def test_a_table_without_panels_is_told_in_one_line(tmp_path, monkeypatch, capsys, text):
    monkeypatch.setattr(_dashboards, "INFRA", tmp_path)
    (tmp_path / "monitoring.json").write_text(text)
    assert main(["dashboards"]) == 2
    assert capsys.readouterr().err == f'error: {tmp_path}/monitoring.json has no list "panels"\n'


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "monitoring.json").write_text('{"panels": []}')
    (tmp_path / "metrics.json").mkdir()
    monkeypatch.setattr(_dashboards, "INFRA", tmp_path)
    assert main(["dashboards"]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/metrics.json cannot be written: Is a directory\n"


# ---------------------------------------------------------------- descriptors


@pytest.mark.parametrize("name", METRICS)
def test_a_descriptor_is_what_the_adapter_writes(name: str):
    sink = CloudMonitoringMetrics("project", ManualClock())
    sink.record(name, 1, dict.fromkeys(METRICS[name].labels, "x"))
    (point,) = sink._points(sink._clock.now(), sink._clock.now())
    written = sink._time_series(point)
    (value,) = written["points"][0]["value"]
    assert written["metric"]["type"] == TYPE_PREFIX + name
    assert contents(monitoring())["metrics.json"][name] == {
        "kind": written["metric_kind"],
        "value_type": value.removesuffix("_value").upper(),
        "unit": written["unit"],
        "labels": list(written["metric"]["labels"]),
        "meaning": written["description"],
    }


# ---------------------------------------------------------------- places


def _squares(x: int, y: int, width: int, height: int) -> set[tuple[int, int]]:
    return set(itertools.product(range(x, x + width), range(y, y + height)))


def _overlaps(places: list[set[tuple[int, int]]]) -> bool:
    return sum(map(len, places)) > len(set.union(*places))


def test_no_panel_lies_over_another_or_beside_the_board():
    grafana = [_squares(*(panel["gridPos"][side] for side in "xywh")) for panel in GRAFANA]
    tiles = [_squares(t.get("xPos", 0), t.get("yPos", 0), t["width"], t["height"]) for t in TILES]
    assert not _overlaps(grafana)
    assert not _overlaps(tiles)
    assert max(x for place in grafana for x, _ in place) < 24
    assert max(x for place in tiles for x, _ in place) < COLUMNS


def test_a_row_is_as_high_as_its_highest_panel():
    panels = [{"chart": chart, "width": width} for chart, width in (("number", 3), ("lines", 6), ("bars", 4))]
    assert [place for _, *place in placed(panels)] == [[0, 0, 3, 2], [3, 0, 6, 4], [0, 4, 4, 4]]


# ---------------------------------------------------------------- both boards


def test_both_boards_ask_every_question_of_the_table():
    asked = [query["expr"] for panel in PANELS for query in panel["queries"]]
    assert [target["expr"] for panel in GRAFANA for target in panel["targets"]] == asked
    assert [query["timeSeriesQuery"]["prometheusQuery"] for tile in TILES for query in _cloud_queries(tile)] == asked


def _cloud_queries(tile: Any) -> list[Any]:
    widget = tile["widget"]
    return [widget["scorecard"]] if "scorecard" in widget else list(widget["xyChart"]["dataSets"])


def test_every_panel_of_grafana_has_its_source_unit_and_legends():
    board = grafana_dashboard(PANELS)
    (source,) = board["__inputs"]
    assert (source["type"], source["pluginId"]) == ("datasource", "prometheus")
    reference = {"type": "prometheus", "uid": "${" + source["name"] + "}"}
    assert len({panel["id"] for panel in GRAFANA}) == len(GRAFANA) == len(PANELS)
    for panel in GRAFANA:
        assert panel["datasource"] == reference
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == reference
            assert target["legendFormat"]


def test_a_legend_of_grafana_becomes_one_of_cloud_monitoring():
    legends = [query["legendTemplate"] for tile in TILES for query in _cloud_queries(tile) if "legendTemplate" in query]
    assert "${kind} p95" in legends
    assert not [legend for legend in legends if "{{" in legend]


def test_states_are_shown_by_their_names():
    (panel,) = [panel for panel in GRAFANA if panel["type"] == "state-timeline"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    names = {number: option["text"] for number, option in mapping["options"].items()}
    assert names == {"0": "closed", "1": "half-open", "2": "open", "3": "gone"}
    (tile,) = [tile for tile in TILES if tile["widget"]["title"] == "Breaker states"]
    assert tile["widget"]["xyChart"]["yAxis"]["label"] == "0 closed, 1 half-open, 2 open, 3 gone"


def test_zeros_are_left_out_as_the_api_does():
    assert not [tile for tile in TILES if 0 in (tile.get("xPos"), tile.get("yPos"))]
