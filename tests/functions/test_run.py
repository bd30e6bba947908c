"""`run` as people start it: what it prints, what it buys, and how it ends."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.functions.command_line import CommandLine, note, picture, write_lines

RESULT_FIELDS = {
    "type", "job_id", "request_id", "kind", "tenant", "user", "labels", "outputs", "text", "provider", "model",
    "requested_model", "fallback_used", "simulated", "cached", "attempts", "grade", "cost_usd", "quoted_usd", "prompt",
    "errors", "created_at", "finished_at",
}  # fmt: skip


@pytest.fixture
def atelier(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


def test_a_run_of_good_requests_ends_with_0_a_table_and_a_report(atelier, tmp_path):
    requests = write_lines(tmp_path / "notes.jsonl", note("a"), note("b"))
    done = atelier("run", requests)
    assert done.code == 0
    assert "2 of 2 succeeded" in done.out
    assert f"report: {atelier.home / 'report.html'}" in done.out
    assert "<html" in (atelier.home / "report.html").read_text()[:500]
    assert "a: succeeded" in done.err


def test_the_json_of_a_run_has_every_field_of_a_result_and_the_totals(atelier, tmp_path):
    requests = write_lines(tmp_path / "notes.jsonl", note("a", labels={"channel": "print"}))
    found = atelier("run", requests, "--json")
    assert (found.code, found.err) == (0, "")
    (result,) = found.json["jobs"]
    assert result.keys() >= RESULT_FIELDS
    assert result["type"] == "job.succeeded"
    assert result["labels"] == {"channel": "print"}
    assert Path(result["outputs"][0]["uri"].removeprefix("file://")).read_text() == result["text"]
    assert found.json["totals"]["cost_usd"] == result["cost_usd"] != "0"


def test_a_second_run_of_the_same_files_buys_nothing_and_says_so(atelier, tmp_path):
    unnamed = {k: v for k, v in note("unnamed").items() if k != "request_id"}
    requests = write_lines(tmp_path / "notes.jsonl", note("a"), note("b"), unnamed)
    first = atelier("run", requests, "--json")
    bought = atelier.calls()
    second = atelier("run", requests)
    assert len(bought) == 3
    assert atelier.calls() == bought
    assert "3 had been finished before and cost nothing now" in second.out
    assert atelier("run", requests, "--json").json == first.json


def test_a_broken_line_costs_only_itself(atelier, tmp_path):
    requests = write_lines(
        tmp_path / "mixed.jsonl", note("a"), "not json", '{"kind": "text", "kind": "image"}', note("b")
    )
    found = atelier("run", requests, "--json")
    assert found.code == 1
    assert [job["type"] for job in found.json["jobs"]] == ["job.succeeded"] * 2
    assert [bad["line"] for bad in found.json["totals"]["unreadable_lines"]] == [2, 3]
    assert "Traceback" not in atelier("run", requests).err


def test_a_refused_request_ends_the_run_with_1_and_names_field_and_code(atelier, tmp_path):
    requests = write_lines(tmp_path / "typo.jsonl", note("a", max_cost="0.01"))
    found = atelier("run", requests, "--json")
    assert found.code == 1
    (error,) = found.json["jobs"][0]["errors"]
    assert (error["field"], error["code"]) == ("max_cost", "unknown_field")
    assert "max_cost_usd" in error["message"]
    assert atelier.calls() == []


def test_the_same_request_id_with_other_content_is_refused_and_the_first_one_stands(atelier, tmp_path):
    assert atelier("run", write_lines(tmp_path / "first.jsonl", note("a"))).code == 0
    again = atelier("run", write_lines(tmp_path / "other.jsonl", note("a", prompt="Something else")), "--json")
    assert again.code == 1
    assert [e["code"] for e in again.json["jobs"][0]["errors"]] == ["idempotency_conflict"]
    assert len(atelier.calls()) == 1


def test_identical_requests_are_paid_for_once(atelier, tmp_path):
    same = [note(f"same-{n}", prompt="A short note about stone bridges") for n in range(20)]
    found = atelier("run", write_lines(tmp_path / "same.jsonl", *same), "--json")
    costs = Counter(job["cost_usd"] for job in found.json["jobs"])
    assert found.code == 0
    assert len(atelier.calls()) == 1
    assert costs["0"] == 19
    assert found.json["totals"]["cached"] == 19


def test_a_daily_budget_is_never_exceeded(atelier, tmp_path):
    requests = write_lines(tmp_path / "pictures.jsonl", *(picture(f"n{i}") for i in range(16)))
    found = atelier("run", requests, "--json", ATELIER_DAILY_BUDGET_USD="0.02", ATELIER_WORKERS="8")
    codes = {error["code"] for job in found.json["jobs"] for error in job["errors"]}
    assert found.code == 1
    assert codes == {"budget_exceeded"}
    assert found.json["totals"]["states"]["succeeded"] >= 1
    assert float(found.json["totals"]["cost_usd"]) <= 0.02
    assert atelier("audit", ATELIER_DAILY_BUDGET_USD="0.02").code == 0


def test_a_request_dearer_than_its_own_cap_is_refused_before_anything_is_called(atelier, tmp_path):
    found = atelier("run", write_lines(tmp_path / "dear.jsonl", picture("a", max_cost_usd="0.001")), "--json")
    assert [e["code"] for e in found.json["jobs"][0]["errors"]] == ["max_cost_exceeded"]
    assert atelier.calls() == []


def test_every_job_ends_and_every_accepted_call_is_explained_when_calls_fail(atelier, tmp_path):
    """Calls that never come to pass, answers that are lost, pieces that are broken: each on a seed."""
    faults = {"seed": 3, "unavailable": 0.2, "ambiguous": 0.2, "blocked": 0.1, "corrupt_output": 0.1}
    requests = write_lines(tmp_path / "notes.jsonl", *(note(f"n{i}") for i in range(12)))
    found = atelier("run", requests, "--json", ATELIER_OFFLINE_FAULTS=json.dumps(faults))
    accepted = Counter(call["call_id"] for call in atelier.calls())
    audit = atelier("audit", "--json").json
    assert all(job["finished_at"] for job in found.json["jobs"])
    assert len({job["attempts"] for job in found.json["jobs"]}) > 1
    assert max(accepted.values()) == 1
    assert audit["problems"] == []
    assert audit["entries"] + len(audit["unsettled"]) == len(accepted)


def test_the_report_goes_where_it_is_asked_to_go(atelier, tmp_path):
    requests = write_lines(tmp_path / "notes.jsonl", note("a"))
    assert atelier("run", requests, "--report", tmp_path / "out" / "mine.html").code == 0
    assert (tmp_path / "out" / "mine.html").exists()
    assert not (atelier.home / "report.html").exists()


def test_a_report_that_cannot_be_written_is_told_before_anything_is_bought(atelier, tmp_path):
    requests = write_lines(tmp_path / "notes.jsonl", note("a"))
    found = atelier("run", requests, "--report", tmp_path)
    assert (found.code, found.err) == (2, f"error: the report cannot be written: {tmp_path} is a folder\n")
    assert atelier.calls() == []


def test_a_folder_is_read_in_the_order_of_its_names_and_other_files_are_left_alone(atelier, tmp_path):
    folder = tmp_path / "requests"
    (folder / "more").mkdir(parents=True)
    write_lines(folder / "b.jsonl", note("second"))
    (folder / "a.json").write_text(json.dumps([note("first")]))
    (folder / "more" / "c.csv").write_text("request_id,kind,task,prompt\nthird,text,fast,A note about tides\n")
    (folder / "notes.txt").write_text("not for us")
    found = atelier("run", folder, "--json")
    assert [job["request_id"] for job in found.json["jobs"]] == ["first", "second", "third"]
