import dataclasses

import pytest

from shared.errors import SettingsError
from shared.settings import PREFIX, Settings, describe


def read(**environ):
    return Settings.from_environment({PREFIX + name: text for name, text in environ.items()})


def test_the_empty_environment_is_the_local_system_with_the_offline_provider():
    assert read() == Settings()
    assert read().providers == ("offline",)


def test_other_programs_variables_are_left_alone():
    assert Settings.from_environment({"HOME": "/x", "XATELIER_HOME": "y", "atelier_home": "z"}) == Settings()


def test_every_default_is_allowed_and_reads_as_itself():
    written = {row["name"]: row["default"] for row in describe() if row["default"]}
    assert Settings.from_environment(written) == Settings()


def test_money_is_read_as_micro_usd():
    assert read(DAILY_BUDGET_USD="0.000001").daily_budget_usd == 1
    assert read(USER_DAILY_BUDGET_USD="12.5").user_daily_budget_usd == 12_500_000


def test_names_are_separated_by_commas_with_or_without_blanks():
    assert read(PROVIDERS=" offline, vertex ,,").providers == ("offline", "vertex")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("false", False), ("0", False)]
)
def test_true_and_false_are_read(text, value):
    assert read(FALLBACK_WHEN_BLOCKED=text).fallback_when_blocked is value


def test_faults_are_a_json_object():
    assert read(OFFLINE_FAULTS='{"hang": 0.5}').offline_faults == {"hang": 0.5}


def test_an_unknown_name_is_an_error_that_proposes_the_near_one():
    with pytest.raises(
        SettingsError, match="ATELIER_DALY_BUDGET_USD is not a setting; did you mean ATELIER_DAILY_BUDGET"
    ):
        read(DALY_BUDGET_USD="5")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WORKERS", ""),
        ("WORKERS", "four"),
        ("WORKERS", "0"),
        ("WORKERS", "65"),
        ("WORKERS", "2.5"),
        ("SOFT_LIMIT", "1.01"),
        ("SOFT_LIMIT", "-0.01"),
        ("SOFT_LIMIT", "nan"),
        ("STALE_S", "inf"),
        ("STALE_S", "0"),
        ("TICK_S", "-1"),
        ("TICK_S", "0"),
        ("OFFLINE_RENDER_S", "inf"),
        ("DAILY_BUDGET_USD", "-1"),
        ("DAILY_BUDGET_USD", "1e3"),
        ("DAILY_BUDGET_USD", "$5"),
        ("FALLBACK_WHEN_BLOCKED", "maybe"),
        ("LOG_LEVEL", "LOUD"),
        ("OFFLINE_FAULTS", "[]"),
        ("OFFLINE_FAULTS", "{"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_that_names_the_setting(name, text):
    with pytest.raises(SettingsError, match=PREFIX + name):
        read(**{name: text})


def test_every_setting_has_a_meaning_that_is_a_sentence():
    for row in describe():
        assert row["meaning"].endswith("."), row["name"]


def test_a_setting_of_seconds_bytes_or_money_says_so_in_name_and_unit():
    units = {"_s": "s", "_bytes": "bytes", "_usd": "USD"}
    for field in dataclasses.fields(Settings):
        named = next((unit for ending, unit in units.items() if field.name.endswith(ending)), "")
        assert field.metadata["unit"] == named, field.name


def test_the_environment_of_settings_reads_back_as_the_same_settings():
    changed = Settings(
        home="/somewhere",
        providers=("offline", "template"),
        daily_budget_usd=1_234_567,
        soft_limit=0.25,
        fallback_when_blocked=True,
        tick_s=0.5,
        offline_faults={"seed": 7, "unavailable": 0.5},
    )
    assert Settings.from_environment(changed.environment()) == changed
    assert Settings().environment() == {}
