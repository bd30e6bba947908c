"""`submit --wait`: the results of what was published, for as long as they are waited for."""

import json
from pathlib import Path

import pytest

from functions import _job_commands, _run
from functions.__main__ import main
from shared.clock import ManualClock
from tests.functions.command_line import note, write_lines
from tests.pipeline.harness import Pipeline

REFUSED = {"kind": "text", "prompt": "A note", "request_id": "refused", "max_cost_usd": "free"}


class WorkingClock(ManualClock):
    """While it is slept on, somebody else does the work: the deployed functions, or `up`."""

    pipeline: Pipeline | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.pipeline is not None:
            self.pipeline.settle()


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline(tmp_path / "home", clock=WorkingClock())
    monkeypatch.setattr(_job_commands, "open_services", lambda settings: made.services)
    return made


@pytest.fixture
def working(pipeline: Pipeline) -> Pipeline:
    pipeline.clock.pipeline = pipeline
    return pipeline


def submit(capsys: pytest.CaptureFixture[str], file: Path, *arguments: str) -> tuple[int, str]:
    code = main(["submit", str(file), *arguments])
    return code, capsys.readouterr().out


def test_results_are_printed_when_all_have_succeeded(working, tmp_path, capsys):
    code, out = submit(capsys, write_lines(tmp_path / "n.jsonl", note("a"), note("b")), "--wait", "60", "--json")
    told = json.loads(out)
    assert code == 0
    assert [(job["type"], job["request_id"]) for job in told["jobs"]] == [
        ("job.succeeded", "a"),
        ("job.succeeded", "b"),
    ]
    assert [row["job_id"] for row in told["submitted"]] == [job["job_id"] for job in told["jobs"]]


def test_a_line_tells_how_each_ended_and_one_that_did_not_succeed_ends_it_with_1(working, tmp_path, capsys):
    code, out = submit(capsys, write_lines(tmp_path / "n.jsonl", note("a"), REFUSED), "--wait", "60")
    good, refused = out.splitlines()[-2:]
    assert code == 1
    assert " succeeded  " in good
    assert "offline-text" in good
    assert " refused  0 USD" in refused


def test_nothing_is_waited_for_beyond_the_time(pipeline, tmp_path, capsys):
    began = pipeline.clock.now()
    code, out = submit(capsys, write_lines(tmp_path / "n.jsonl", note("a")), "--wait", "7")
    assert code == 1
    assert "not begun" in out.splitlines()[-1]
    assert (pipeline.clock.now() - began).total_seconds() == 7


def test_an_unfinished_job_is_no_result(working, tmp_path, capsys, monkeypatch):
    file = write_lines(tmp_path / "n.jsonl", note("a"))
    monkeypatch.setattr(working, "settle", working.system._one_round)
    code, out = submit(capsys, file, "--wait", "1", "--json")
    assert (code, json.loads(out)["jobs"]) == (1, [])
    code, out = submit(capsys, file, "--wait", "1")
    assert (code, out.split()[-1]) == (1, "unfinished")


def test_only_jobs_that_are_not_finished_are_read_again(working, tmp_path, capsys, monkeypatch):
    read: list[list[str]] = []
    monkeypatch.setattr(
        _job_commands, "jobs_of", lambda e, services: read.append([x.line for x in e]) or _run.jobs_of(e, services)
    )
    working.run(note("a"))
    assert submit(capsys, write_lines(tmp_path / "n.jsonl", note("a"), note("b")), "--wait", "60")[0] == 0
    assert read[0] == [1, 2]
    assert set(map(tuple, read[1:])) == {(2,)}


def test_an_id_that_stands_for_other_content_is_answered_with_its_refusal(working, tmp_path, capsys):
    working.run(note("a"))
    other = write_lines(tmp_path / "n.jsonl", note("a", prompt="A short note about something else"))
    code, out = submit(capsys, other, "--wait", "60", "--json")
    [job] = json.loads(out)["jobs"]
    assert (code, job["type"], job["errors"][0]["code"]) == (1, "job.refused", "idempotency_conflict")


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "1.5", "86401"])
def test_a_time_that_cannot_be_waited_is_wrong_usage(tmp_path, capsys, seconds):
    with pytest.raises(SystemExit) as ended:
        main(["submit", str(tmp_path), "--wait", seconds])
    assert ended.value.code == 2
    assert "1 to 86400 seconds" in capsys.readouterr().err or seconds == "-1"


def test_who_stops_waiting_has_been_told_the_ids(pipeline, tmp_path, capsys, monkeypatch):
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.clock, "sleep", stop)
    code, out = submit(capsys, write_lines(tmp_path / "n.jsonl", note("a")), "--wait", "60")
    assert code == 130
    assert out.endswith("n.jsonl:1\n")
