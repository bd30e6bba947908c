"""Most commands: JSON and nothing else on stdout, exit codes, one clear line about what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions import _runtime, validate
from functions.__main__ import main
from functions._decode import Event
from shared import bootstrap
from shared.settings import Settings, describe
from tests.functions.command_line import CommandLine, Outcome, note, picture, write_lines


@pytest.fixture(scope="module")
def atelier(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A home with one finished job of the request in `done.jsonl`."""
    folder = tmp_path_factory.mktemp("commands")
    line = CommandLine(folder / "home")
    assert line("run", write_lines(folder / "done.jsonl", note("done"))).code == 0
    return line


@pytest.fixture(scope="module")
def done(atelier: CommandLine) -> str:
    """The id of that job."""
    found: str = atelier("submit", atelier.home.parent / "done.jsonl", "--json").json["submitted"][0]["job_id"]
    return found


def assert_one_clear_line(found: Outcome, *words: str) -> None:
    assert found.code == 2
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    for word in words:
        assert word in found.err


# ---------------------------------------------------------------- what each command says


def test_status_says_where_a_job_is(atelier, done):
    assert "succeeded" in atelier("status", done).out
    found = atelier("status", done, "--json")
    assert (found.code, found.json["state"], found.json["request_id"]) == (0, "succeeded", "done")


def test_explain_tells_candidates_attempts_money_and_timeline(atelier, done):
    told = atelier("explain", done).out
    for part in ("candidates\n", "attempts\n", "money\n", "timeline\n", "ledger " + done):
        assert part in told
    found = atelier("explain", done, "--json").json
    assert [line["stage"] for line in found["timeline"]] == ["validate", "generate", "quality_check", "record_cost"]
    assert found["ledger"][0]["cost_micro_usd"] == found["money"]["spent"] > 0


def test_audit_holds_after_a_run(atelier):
    found = atelier("audit", "--json")
    assert found.code == 0
    assert found.json["holds"] is True
    assert found.json["ledger"] == found.json["spent"] > 0
    assert "everything adds up" in atelier("audit").out


def test_a_budget_limit_that_is_set_is_the_one_that_counts(tmp_path):
    atelier = CommandLine(tmp_path / "home")
    assert "tenant:default: 0.001 USD per day" in atelier("budget", "tenant:default", "--limit", "0.001").out
    found = atelier("run", write_lines(tmp_path / "p.jsonl", picture("a")), "--json")
    (error,) = found.json["jobs"][0]["errors"]
    assert error["code"] == "budget_exceeded"
    assert "tenant:default" in error["message"]


def test_a_limit_below_what_is_used_is_no_contradiction_and_default_is_the_settings_again(tmp_path):
    atelier = CommandLine(tmp_path / "home")
    assert atelier("run", write_lines(tmp_path / "a.jsonl", note("a"))).code == 0
    told = atelier("budget", "tenant:default", "--limit", "0").out
    assert "tenant:default: 0 USD per day from now on, whatever the settings say, until" in told
    assert "`budget tenant:default --limit default`" in told
    assert "nothing more can be held before midnight UTC" in told
    assert atelier("audit").code == 0
    found = atelier("run", write_lines(tmp_path / "b.jsonl", picture("b")), "--json")
    assert found.json["jobs"][0]["errors"][0]["code"] == "budget_exceeded"
    told = atelier("budget", "tenant:default", "--limit", "default").out
    assert "tenant:default: the limit that the functions' settings say, from now on" in told
    assert "midnight" not in told
    (row,) = atelier("budget", "tenant:default", "--json").json["budgets"]
    assert float(row["limit"]) == 500
    assert atelier("run", write_lines(tmp_path / "c.jsonl", picture("c"))).code == 0
    assert atelier("audit").code == 0


def test_budget_shows_what_every_scope_has_used(atelier):
    found = atelier("budget", "--json").json
    assert [row["scope"] for row in found["budgets"]] == ["all", "tenant:default"]
    assert float(found["budgets"][0]["spent"]) > 0
    assert float(atelier("budget", "all", "--json").json["budgets"][0]["held"]) == 0


def test_health_says_that_all_is_well(atelier):
    found = atelier("health", "--json")
    assert (found.code, found.json["breakers"]) == (0, [])
    assert "all breakers closed" in atelier("health").out


def test_a_tick_says_how_many_jobs_were_due(atelier):
    assert atelier("tick", "--json").json == {"due": 0}


def test_settings_lists_every_setting(atelier):
    rows = atelier("settings", "--json").json
    assert [{k: v for k, v in row.items() if k != "providers"} for row in rows] == describe()
    table = atelier("settings").out
    assert all(row["name"] in table for row in describe())


def vendors(found: Outcome) -> dict[str, dict[str, Any]]:
    (providers,) = (row["providers"] for row in found.json if row["name"] == "ATELIER_PROVIDERS")
    return {row["provider"]: row for row in providers}


def test_settings_says_which_credentials_are_missing_and_which_models_that_rules_out(atelier):
    on = {"ATELIER_PROVIDERS": "vertex,runway", "ATELIER_RUNWAY_API_SECRET": "key-1234"}
    rows = vendors(atelier("settings", "--json", **on))
    assert (rows["vertex"]["on"], rows["vertex"]["missing"]) == (True, "ATELIER_VERTEX_PROJECT")
    assert {"gemini-3.5-flash", "veo-3.1-generate-001"} <= set(rows["vertex"]["cannot_be_called"])
    assert "gemini-2.5-flash" not in rows["vertex"]["cannot_be_called"]  # retired
    assert rows["runway"] == {"provider": "runway", "on": True, "missing": None, "cannot_be_called": []}
    assert (rows["replicate"]["on"], rows["replicate"]["missing"]) == (False, "ATELIER_REPLICATE_API_TOKEN")
    assert rows["huggingface"]["cannot_be_called"]
    assert (rows["offline"]["on"], rows["offline"]["missing"]) == (False, None)
    assert "offline-image-fine" in rows["offline"]["cannot_be_called"]
    (line,) = (line for line in atelier("settings", **on).out.splitlines() if line.startswith("vertex"))
    assert line.split()[1:3] == ["on", "ATELIER_VERTEX_PROJECT"]
    assert all(model in line for model in rows["vertex"]["cannot_be_called"])


def test_settings_never_shows_a_secret(atelier):
    secrets = {"RUNWAY_API_SECRET": "s3cret-a", "REPLICATE_API_TOKEN": "s3cret-b", "HUGGINGFACE_TOKEN": "s3cret-c"}
    given = {f"ATELIER_{name}": value for name, value in secrets.items()}
    for more in ([], ["--json"]):
        found = atelier("settings", *more, **given, ATELIER_REPLICATE_WEBHOOK_SECRETS="whsec_s3cret")
        assert (found.code, "s3cret" in found.out + found.err) == (0, False)


def test_settings_needs_no_back_end_that_works(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    assert CommandLine(tmp_path / "taken")("settings").code == 0


# ---------------------------------------------------------------- single jobs


@pytest.fixture
def begun(tmp_path: Path) -> tuple[CommandLine, str]:
    """A home with one job that was validated and has got no further, and its id."""
    atelier = CommandLine(tmp_path / "home")
    services = bootstrap.build(Settings(home=str(atelier.home)))
    _runtime.deliver(validate.handle, Event(note("begun"), "message-1"), services)
    submitted = atelier("submit", write_lines(tmp_path / "begun.jsonl", note("begun")), "--json").json["submitted"]
    return atelier, submitted[0]["job_id"]


def test_a_cancelled_job_stays_cancelled_gives_its_hold_back_and_buys_nothing(begun, tmp_path):
    atelier, job = begun
    assert float(atelier("budget", "all", "--json").json["budgets"][0]["held"]) > 0
    found = atelier("cancel", job, "--json")
    assert (found.code, found.json["type"], found.json["errors"][0]["code"]) == (0, "job.cancelled", "cancelled")
    assert float(atelier("budget", "all", "--json").json["budgets"][0]["held"]) == 0
    later = atelier("run", tmp_path / "begun.jsonl", "--json")
    assert (later.code, later.json["jobs"][0]["type"]) == (1, "job.cancelled")
    assert atelier.calls() == []


def test_replay_sends_an_unfinished_job_its_event_again_and_it_is_bought_once(begun, tmp_path):
    atelier, job = begun
    assert "event sent again" in atelier("replay", job).out
    assert atelier("run", tmp_path / "begun.jsonl").code == 0
    assert len(atelier.calls()) == 1


def test_cancelling_a_finished_job_ends_with_1_and_changes_nothing(atelier, done):
    before = atelier("status", done, "--json").json
    found = atelier("cancel", done)
    assert found.code == 1
    assert "it had ended before" in found.out
    assert atelier("status", done, "--json").json == before


def test_replay_never_repeats_a_paid_step_that_succeeded(atelier, done):
    bought = atelier.calls()
    found = atelier("replay", done)
    assert found.code == 1
    assert "never repeated" in found.out
    judged = atelier("replay", done, "--from", "quality_check", "--json")
    assert (judged.code, judged.json["replay_of"]) == (0, done)
    assert judged.json["job_id"] != done
    assert atelier("run", atelier.home.parent / "done.jsonl").code == 0
    assert atelier.calls() == bought


def test_submit_prints_the_ids_and_ends_with_1_when_a_line_cannot_be_read(tmp_path):
    atelier = CommandLine(tmp_path / "home")
    found = atelier("submit", write_lines(tmp_path / "n.jsonl", note("a"), "{"), "--json")
    assert found.code == 1
    assert [row["line"] for row in found.json["submitted"]] == [1]
    assert [(row["line"], row["code"]) for row in found.json["unreadable_lines"]] == [(2, "invalid_json")]


# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "fly",
        "run",
        "status",
        "up --port 99999",
        "up --port x",
        "budget all --limit -1",
        "budget all --limit none",
        "replay job --from moon",
    ],
)
def test_wrong_arguments_end_with_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith("usage: python -m functions")


def test_a_path_that_does_not_exist_is_named(atelier):
    assert_one_clear_line(atelier("run", "/no/such/file.json"), "/no/such/file.json does not exist")


def test_a_folder_without_requests_is_named(atelier, tmp_path):
    (tmp_path / "notes.txt").write_text("not for us")
    assert_one_clear_line(atelier("submit", tmp_path), ".json, .jsonl or .csv", str(tmp_path))


@pytest.mark.parametrize(
    ("command", "job"), [("status", "../../etc"), ("explain", "nobody"), ("cancel", "nobody"), ("replay", "nobody")]
)
def test_a_job_that_does_not_exist_is_named(atelier, command, job):
    assert_one_clear_line(atelier(command, job, "--json"), f"no job {job!r}")


def test_a_scope_that_is_none_is_told_what_is_one(atelier):
    assert_one_clear_line(atelier("budget", "everyone", "--limit", "5"), "tenant:NAME", "user:TENANT/NAME")
    assert_one_clear_line(atelier("budget", "--limit", "5"), "no scope is given", "tenant:NAME")
    told = atelier("budget", "all", "--limit", "5", "--json").json
    assert told["set"] == {"scope": "all", "limit": "5", "is_open_today": True}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("ATELIER_DAYLY_BUDGET_USD", "5", "did you mean ATELIER_DAILY_BUDGET_USD?"),
        ("ATELIER_WORKERS", "many", "'many'"),
        ("ATELIER_DAILY_BUDGET_USD", "-5", "plain decimal"),
        ("ATELIER_STATE_URL", "firestore://p/d", "sqlite:///PATH"),
        ("ATELIER_PROVIDERS", "offline,nobody", "'nobody'"),
        ("ATELIER_CATALOGUE", "/no/such.toml", "/no/such.toml"),
        ("ATELIER_BLOCKED_TERMS", "/no/such.toml", "/no/such.toml"),
        ("ATELIER_OFFLINE_FAULTS", '{"earthquake": 1}', "'earthquake'"),
        ("ATELIER_OFFLINE_FAULTS", "[]", "not a JSON object"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_done(tmp_path, name, text, words):
    atelier = CommandLine(tmp_path / "home")
    requests = write_lines(tmp_path / "n.jsonl", note("a"))
    assert_one_clear_line(atelier("run", requests, **{name: text}), words)
    assert atelier.calls() == []


@pytest.mark.parametrize("file", ["state.db", "bus.db"])
def test_a_damaged_database_is_named(tmp_path, file):
    atelier = CommandLine(tmp_path / "home")
    atelier.home.mkdir()
    (atelier.home / file).write_bytes(b"this is no database, whatever it was before" * 200)
    command = {"state.db": "audit", "bus.db": "health"}[file]
    assert_one_clear_line(atelier(command), str(atelier.home / file))


@pytest.mark.parametrize("command", ["audit", "run"])
def test_a_home_that_cannot_be_made_is_named(tmp_path, command):
    (tmp_path / "taken").write_text("a file, not a folder")
    requests = [write_lines(tmp_path / "n.jsonl", note("a"))] if command == "run" else []
    found = CommandLine(tmp_path / "taken")(command, *requests)
    assert_one_clear_line(found, "ATELIER_HOME", str(tmp_path / "taken"))


def test_help_names_every_command(atelier):
    found = atelier("--help")
    assert found.code == 0
    for name in ("run", "up", "submit", "status", "explain", "cancel", "replay", "quote", "audit", "budget", "models",
                 "health", "tick", "settings"):  # fmt: skip
        assert f"\n    {name} " in found.out


def test_a_job_told_as_text_cannot_move_the_cursor(tmp_path):
    """Text from outside is shown; its control characters are not."""
    atelier = CommandLine(tmp_path / "home")
    requests = write_lines(tmp_path / "n.jsonl", json.dumps({**note("a"), "\x1b[2Jcolour": 1}))
    assert "\x1b" not in atelier("run", requests).out
    assert "\x1b" not in atelier("quote", requests).out
    assert Path(atelier.home / "report.html").exists()
