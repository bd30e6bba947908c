"""What the README says is true: its commands run, its tables are the code's, its names and links exist."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from functions.__main__ import _parser, main
from functions._decode import decode_http
from functions._docs import TABLES, filled
from shared.domain.request import parse_request
from shared.domain.request_parsing import ALL_FIELDS, FIELDS
from shared.domain.result import result_of
from shared.errors import InvalidRequest
from shared.settings import describe
from tests.functions.command_line import REPOSITORY, CommandLine
from tests.functions.samples import job as sample_job

README = (REPOSITORY / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
LINKS = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", PROSE)
PROMPT = "A paper boat on a quiet pond"


def blocks(language):
    return [body for name, body in BLOCKS if name == language]


def section(title):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)[1]


def rows(text):
    """The cells of every table row but the heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def request_fields():
    """field name -> (kinds, cell of values, cell of default), from the README's table."""
    found = {}
    for names, kinds, values, default in rows(section("The request")):
        for name in re.findall(r"`(\w+)`", names):
            found[name] = (set(FIELDS) if kinds == "all" else set(kinds.split(", ")), values, default)
    return found


def accepted(kind, field, value):
    request = {"kind": kind, "prompt": PROMPT, field: value}
    try:
        parse_request(request, known_models=lambda _: True, schema_problem=lambda _: None)
    except InvalidRequest:
        return False
    return True


# ---------------------------------------------------------------- commands


def test_the_commands_run_one_after_the_other(tmp_path):
    """All `sh` blocks as one script, in an empty folder, with the checkout on the path."""
    script = "\n".join(blocks("sh"))
    assert script.count("python -m functions ") >= 12
    home = tmp_path / ".atelier"
    environment = CommandLine(home).environment(
        ATELIER_HOME=".atelier", PATH=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    )
    found = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    assert "3 of 3 succeeded" in found.stdout
    assert "3 had been finished before and cost nothing now" in found.stdout
    assert "tenant:default: 25 USD per day" in found.stdout
    assert found.stdout.count("everything adds up") == 2
    accepted_calls = [json.loads(line)["call_id"] for line in (home / "offline_calls.jsonl").read_text().splitlines()]
    assert len(accepted_calls) == len(set(accepted_calls)) == 3
    assert (tmp_path / ".atelier-faulty" / "state.db").exists()


def test_every_command_and_option_it_names_exists(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    (\w+)(?: |$)", capsys.readouterr().out, re.MULTILINE))
    named = set(re.findall(r"python -m functions (\w+)", README))
    assert named - {"_docs"} <= known
    assert known - named <= {"cancel", "replay"}, "told in the text below"
    assert all(f"`{name} JOB`" in README for name in ("cancel", "replay"))


def test_the_make_targets_it_names_exist():
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make (\w+)", README)) <= targets


def test_ten_commands_lead_from_an_empty_project_to_the_first_result():
    (deploy,) = re.findall(r"^## Deploy\n.*?```console\n(.*?)```", README, re.MULTILINE | re.DOTALL)
    commands = [line.removeprefix("$ ") for line in deploy.splitlines() if line.startswith("$ ")]
    assert 1 < len(commands) <= 10
    assert commands[-1].startswith('eval "$(terraform -chdir=infra output -raw environment)" && ')
    assert (REPOSITORY / commands[-1].split()[-1]).exists()
    words = shlex.split(commands[-1].partition("-m functions ")[2])
    assert _parser().parse_args(words).wait > 0


def test_the_python_version_it_asks_for_is_the_one_the_project_asks_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    version = project["requires-python"].removeprefix(">=")
    assert f"Python {version} or later" in README


def test_the_function_it_starts_is_one_of_ours():
    (target, source), *_ = re.findall(r"functions-framework --target (\w+) --source (\S+)", README)
    wired = json.loads((REPOSITORY / "infra" / "functions.json").read_text())
    assert wired[target]["source"] == source
    assert wired[target]["entry_point"] == target


# ---------------------------------------------------------------- examples


def test_both_forms_of_an_event_carry_the_same_request():
    found = []
    for block in blocks("console"):
        if "$ curl" not in block:
            continue
        words = shlex.split(block.splitlines()[0].removeprefix("$ "))
        headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
        found.append(decode_http(headers, words[words.index("-d") + 1].encode()))
    push, cloud_event = found
    assert push.payload == cloud_event.payload
    assert push.message_id == cloud_event.message_id == "1"
    parse_request(push.payload, known_models=lambda _: False, schema_problem=lambda _: None)


def test_the_result_it_shows_has_the_fields_of_a_result():
    (shown,) = (json.loads(block) for block in blocks("json"))
    assert list(shown) == list(result_of(sample_job("any")))


# ---------------------------------------------------------------- tables


def test_the_generated_tables_are_the_ones_the_code_makes():
    assert filled(README) == README, "python -m functions._docs puts them right"
    assert set(re.findall(r"<!-- table: (\w+) -->", README)) == set(TABLES)


def test_a_table_that_differs_from_the_code_is_put_right():
    stale = "before\n<!-- table: settings -->\n| old |\n<!-- end of table -->\nafter"
    now = filled(stale)
    assert "| old |" not in now
    assert "`ATELIER_HOME`" in now
    assert now.startswith("before\n")
    assert now.endswith("\nafter")


def test_every_setting_it_names_exists():
    known = {row["name"] for row in describe()}
    assert set(re.findall(r"\bATELIER_\w+", README)) == known


def test_the_request_table_has_every_field_of_every_kind():
    told = request_fields()
    assert set(told) == set(ALL_FIELDS)
    for name, (kinds, _, _) in told.items():
        assert kinds == {kind for kind, table in FIELDS.items() if name in table}, name


def test_every_word_of_the_request_table_is_accepted_and_only_those_are():
    for name, (kinds, values, _) in request_fields().items():
        if name == "kind" or not re.match(r"`|image: `", values) or "`true`" in values:
            continue
        for kind in kinds:
            own = re.search(rf"\b{kind}: ([^;]*)", values)
            for word in re.findall(r"`([^`]+)`", own[1] if own else values):
                assert accepted(kind, name, word), (kind, name, word)
            assert not accepted(kind, name, "no such word")


def test_the_ranges_of_the_request_table_are_the_ones_that_are_checked():
    for name, (kinds, values, _) in request_fields().items():
        if match := re.match(r"([\d,]+) to ([\d,]+)$", values):
            low, high = (int(n.replace(",", "")) for n in match.groups())
            for kind in kinds:
                assert accepted(kind, name, low), name
                assert accepted(kind, name, high), name
                assert not accepted(kind, name, low - 1), name
                assert not accepted(kind, name, high + 1), name


def test_the_defaults_of_the_request_table_are_the_ones_that_are_filled_in():
    for name, (kinds, _, default) in request_fields().items():
        for kind in kinds:
            own = re.search(rf"\b{kind} `?([\w:,]+)`?", default)
            told = own or re.fullmatch(r"`([^`]+)`|(\d+)", default.split(";")[0])
            if not told:
                continue
            text = next(group for group in told.groups() if group).rstrip(",").replace(",", "")
            request = parse_request(
                {"kind": kind, "prompt": PROMPT}, known_models=lambda _: True, schema_problem=lambda _: None
            )
            assert str(getattr(request, name)).lower() == text.lower(), (kind, name)


# ---------------------------------------------------------------- names and links


@pytest.mark.parametrize(("text", "target"), LINKS)
def test_a_link_leads_somewhere(text, target):
    if target.startswith("#"):
        heads = re.findall(r"^#+ (.*)$", PROSE, re.MULTILINE)
        assert target[1:] in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
    else:
        assert (REPOSITORY / target).exists()


def test_every_promise_names_a_test_that_exists():
    proofs = [(text, target) for text, target in LINKS if text.startswith("test_")]
    assert len(proofs) >= 8
    for name, file in proofs:
        assert re.search(rf"^def {name}\(", (REPOSITORY / file).read_text(), re.MULTILINE), name


def test_where_things_live_names_places_that_exist():
    places = rows(section("Where things live"))
    assert len(places) == 13
    for cell, _ in places:
        assert (REPOSITORY / re.match(r"\[([^\]]+)\]", cell)[1]).exists(), cell
