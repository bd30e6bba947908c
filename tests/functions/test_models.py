"""The command `models`: prices and states, the check against a price table, and models that are gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from functions import _model_commands
from functions.__main__ import main
from shared import bootstrap
from shared.clock import ManualClock, SystemClock
from shared.settings import Settings
from tests.functions.command_line import CommandLine, Outcome, picture, write_lines

GONE = "Publisher Model `offline-image-standard` was not found \x1b[2J"
MODEL = "offline-image-standard"

# Facts of github.com/BerriAI/litellm (2026-08-01) and github.com/Portkey-AI/models (f654307, 2026-08-21).
FAST = {
    "litellm_provider": "vertex_ai-video-models",
    "output_cost_per_second": 0.15,
    "source": "https://cloud.google.com/",
}
LITELLM = {"sample_spec": {"litellm_provider": "one of them"}, "vertex_ai/veo-3.1-fast-generate-001": FAST}
PORTKEY = {
    "gemini-3.5-flash": {
        "pricing_config": {"pay_as_you_go": {"request_token": {"price": 0.00015}, "response_token": {"price": 0.0009}}}
    }
}


@pytest.fixture(scope="module")
def atelier(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("models") / "home")


@pytest.fixture
def without(tmp_path: Path) -> CommandLine:
    """A home in which the vendor has said that a model is gone."""
    atelier = CommandLine(tmp_path / "home")
    services = bootstrap.build(Settings(home=str(atelier.home)))
    services.breakers.disable(MODEL, GONE)
    services.close()
    return atelier


def written(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def row_of(model: str, found: Outcome) -> dict[str, Any]:
    (row,) = (row for row in found.json["models"] if row["id"] == model)
    return dict(row)


# ---------------------------------------------------------------- the catalogue


def test_models_shows_prices_and_which_of_them_are_on(atelier):
    rows = {row["id"]: row for row in atelier("models", "--kind", "image", "--json").json["models"]}
    assert rows["offline-image-draft"]["state"] == "on"
    assert rows["offline-image-draft"]["prices"] == ["0.005/image"]
    assert all("image" in row["kinds"] for row in rows.values())
    assert {row["state"] for row in rows.values()} > {"on"}


def test_retired_models_are_shown_only_when_asked_for(atelier):
    shown, every = (atelier("models", *more, "--json").json["models"] for more in ([], ["--all"]))
    assert "retired" not in {row["state"] for row in shown}
    assert "retired" in {row["state"] for row in every}


def test_a_model_whose_vendor_is_on_without_its_credentials_is_not_shown_as_on(atelier):
    on = {"ATELIER_PROVIDERS": "vertex"}
    assert row_of("gemini-3.5-flash", atelier("models", "--json", **on))["state"] == "no credentials"
    found = atelier("models", "--json", **on, ATELIER_VERTEX_PROJECT="p")
    assert row_of("gemini-3.5-flash", found)["state"] == "on"
    assert row_of(MODEL, found)["state"] == "off"


# ---------------------------------------------------------------- models that are gone


def test_a_model_that_is_gone_is_shown_with_the_vendors_reason_and_when_it_is_checked_again(without):
    row = row_of(MODEL, without("models", "--json"))
    assert (row["state"], row["reason"]) == ("gone", GONE)
    assert row["checked_again_at"]
    told = without("models").out
    assert "was not found" in told
    assert f"from {row['checked_again_at'][:10]}" in told
    assert "\x1b" not in told


def test_health_shows_who_is_gone_why_and_when_that_is_checked_again(without):
    (row,) = without("health", "--json").json["breakers"]
    assert (row["model"], row["disabled"], row["reason"]) == (MODEL, True, GONE)
    told = without("health").out
    assert "was not found" in told
    assert f"from {row['checked_again_at'][:10]}" in told
    assert "all breakers closed" not in told
    assert "\x1b" not in told


def test_a_model_that_is_gone_is_quoted_again_once_it_was_enabled_by_hand(without, tmp_path):
    asked = write_lines(tmp_path / "q.jsonl", picture("a", model=MODEL, fallback=False))
    refused = without("quote", asked)
    assert refused.code == 1
    assert f"{MODEL}: the vendor says that the model is gone" in refused.out
    found = without("models", "--enable", MODEL, "--json")
    assert (found.code, found.json) == (0, {"model": MODEL, "was": "gone", "breaker": "closed", "state": "on"})
    assert without("quote", asked, "--json").json["quotes"][0]["first"] == MODEL
    assert without("health", "--json").json["breakers"] == []


def test_a_breaker_that_is_open_is_closed_by_hand_and_an_alias_will_do(tmp_path):
    atelier = CommandLine(tmp_path / "home")
    services = bootstrap.build(Settings(home=str(atelier.home)))
    for _ in range(3):
        services.breakers.failed("gemini-3.1-flash-image")
    services.close()
    (row,) = atelier("health", "--json").json["breakers"]
    assert (row["state"], row["checked_again_at"]) == ("open", None)
    assert "gemini-3.1-flash-image" in atelier("health").out
    assert "it was open; the model is off" in atelier("models", "--enable", "nano-banana-2").out
    assert "all breakers closed" in atelier("health").out


def test_enabling_what_was_never_closed_changes_nothing(atelier):
    assert "it was closed; the model is on" in atelier("models", "--enable", MODEL).out


def test_enabling_a_model_that_no_row_has_is_told(atelier):
    found = atelier("models", "--enable", "gemini-99")
    assert (found.code, found.out) == (2, "")
    assert "'gemini-99'" in found.err


@pytest.mark.parametrize(
    ("recheck", "hours", "told"),
    [(True, 0, "from 2"), (True, 25, "with the next call"), (False, 25, f"never; models --enable {MODEL}")],
)
def test_it_is_told_when_a_model_that_is_gone_is_called_again(tmp_path, recheck, hours, told):
    clock = ManualClock(SystemClock().now())
    services = bootstrap.build(Settings(home=str(tmp_path)), clock)
    services.breakers.disable(MODEL, "gone", recheck=recheck)
    clock.advance(hours * 3600)
    (breaker,) = services.breakers.all(10)
    assert told in _model_commands.gone_table([breaker], clock.now())
    assert (_model_commands.checked_again_at(breaker) is None) is not recheck
    services.close()


# ---------------------------------------------------------------- prices against a public table


def test_a_table_that_disagrees_ends_with_1_and_every_disagreement(atelier, tmp_path):
    file = written(tmp_path / "litellm.json", LITELLM)
    found = atelier("models", "--check", file, "--json")
    first = found.json["disagreements"][0]
    assert (found.code, found.json["compared"], len(found.json["disagreements"])) == (1, 1, 3)
    assert first == {
        "model": "veo-3.1-fast-generate-001",
        "unit": "second",
        "dims": {"resolution": "720p"},
        "ours_usd": "0.1",
        "theirs_usd": "0.15",
        "per": 1,
        "listing": "vertex_ai/veo-3.1-fast-generate-001",
        "source": "https://cloud.google.com/",
        "agrees_from": None,
    }
    told = atelier("models", "--check", file).out
    assert "resolution=1080p  0.12      0.15" in told
    assert "3 disagreements in 1 models" in told


def test_a_table_that_agrees_ends_with_0(atelier, tmp_path):
    found = atelier("models", "--check", written(tmp_path / "portkey.json", PORTKEY), "--json")
    assert (found.code, found.json["disagreements"], found.json["compared"]) == (0, [], 1)
    assert found.json["missing_there"] > 10
    assert "no disagreements in 1 models" in atelier("models", "--check", tmp_path / "portkey.json").out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "neither LiteLLM's"),
        ("not json", "is no price table"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": 1e99999999999999999999}', "is no price table"),
        ("9" * 5000, "is no price table"),
        ("\xff\xfe{", "is no price table"),
    ],
)
def test_a_file_that_is_no_price_table_ends_with_2_and_says_so(tmp_path, content, words, monkeypatch, capsys):
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "home"))
    (tmp_path / "t.json").write_text(content, "latin-1")
    assert main(["models", "--check", str(tmp_path / "t.json"), "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert str(tmp_path / "t.json") in said.err


def test_a_file_that_is_missing_a_folder_or_too_large_ends_with_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_model_commands, "LARGEST_TABLE_BYTES", 10)
    large = written(tmp_path / "large.json", LITELLM)
    for path, words in (
        (tmp_path / "none.json", "is not a file"),
        (tmp_path, "is not a file"),
        (large, "over 10 bytes"),
    ):
        assert main(["models", "--check", str(path)]) == 2
        assert words in capsys.readouterr().err


def test_check_and_enable_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["models", "--check", "f", "--enable", "m"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_users_own_price_is_the_one_that_is_checked(atelier, tmp_path):
    table = written(tmp_path / "t.json", LITELLM)
    own = tmp_path / "own.toml"
    own.write_text("""
        [[model]]
        id = "veo-3.1-fast-generate-001"
        price = [{ unit = "second", amount = "0.15", from = 2026-01-01, source = "contract", checked = 2026-11-21 }]
    """)
    assert atelier("models", "--check", table).code == 1
    assert atelier("models", "--check", table, ATELIER_CATALOGUE=str(own)).code == 0
