"""A limit that is set is the one that holds, whatever number of shards whoever sets it believes in."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from shared.domain.budget import MOST_SHARDS, Budget, Scope, day_of, divide
from shared.domain.times import from_text
from shared.errors import BudgetExceeded, SettingsError, StoreConflict
from shared.ports import Write
from shared.settings import Settings
from shared.stores.budget_shards import Whole
from shared.stores.budgets import CLOSING_TRY, Budgets, Standing
from tests.pipeline.harness import Pipeline

ALL, TENANT, USER = Scope("all"), Scope("tenant", "default"), Scope("user", "default/u")
SCOPES = [ALL, TENANT]
SETTING = 1_000
LIMITS = {"all": SETTING, "tenant": SETTING, "user": SETTING}


class System:
    """Deployed functions with eight shards, and a command line that has never heard of them."""

    def __init__(self, home: Path) -> None:
        self.pipeline = Pipeline(home)
        self.documents, self.now = self.pipeline.services.documents, self.pipeline.clock.now()
        self.functions = Budgets(self.documents, LIMITS, shards=8)
        self.command_line = Budgets(self.documents, dict.fromkeys(LIMITS, 77), shards=1)

    def paths(self, number: int, scopes: Sequence[Scope] = SCOPES) -> list[str]:
        """The documents of which every scope's shard has this number."""
        of_scope = [{self.functions.choose([s], self.now)[0] for _ in range(400)} for s in scopes]
        found = []
        for scope, paths in zip(scopes, of_scope, strict=True):
            shards = [self.functions.read([scope], [p], self.now).scopes[0][0] for p in paths]
            found += [s.path for s in shards if s.number == number]
        return found

    def standing(self, number: int) -> Standing:
        return self.functions.read(SCOPES, self.paths(number), self.now)

    def hold(self, amount: int, number: int = 0) -> None:
        """Hold as a function does: in one shard, with what the others have left where it does not reach."""
        standing = self.standing(number)
        if standing.free < amount:
            standing = self.functions.widen(standing)
        self.documents.commit(standing.hold(amount))
        assert self.sound()

    def give_back(self, amount: int, number: int) -> None:
        self.documents.commit([Write(p, "update", increments={"held": -amount}) for p in self.paths(number)])

    def sound(self) -> bool:
        """No document has used more than its limit."""
        found = [s.data for s in self.documents.query("budgets", [("day", "==", day_of(self.now))], limit=1000)]
        return all(d["held"] + d["spent"] + d["suspense"] <= d["limit"] for d in found)

    def holds_all_of(self, free: int) -> bool:
        """Whether exactly so much more can be held, from a shard that may not have been there yet."""
        with pytest.raises(BudgetExceeded):
            self.hold(free + 1, 5)
        self.hold(free, 5)
        with pytest.raises(BudgetExceeded):
            self.hold(1, 3)
        return self.sound()


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.mark.parametrize("made", [(), (0,), (5,), (1, 2, 6), range(8)], ids=str)
@pytest.mark.parametrize("limit", [2_000, 500, 0])
def test_a_limit_set_by_who_knows_of_one_shard_holds_for_functions_with_eight(
    system: System, made: Sequence[int], limit: int
):
    for number in made:
        system.hold(10, number)
    for scope in SCOPES:
        system.command_line.set_limit(scope, limit, system.now)
    assert system.sound()
    assert system.holds_all_of(max(0, limit - 10 * len(made)))
    for scope in SCOPES:
        found = system.functions.today(scope, system.now)
        assert (found.limit, found.free) == (max(limit, 10 * len(made)), 0)


def test_a_shard_that_was_just_being_made_when_the_limit_was_set_is_made_anew(system: System):
    system.hold(10, 0)
    late = system.standing(5).hold(100)
    system.command_line.set_limit(ALL, 0, system.now)
    with pytest.raises(StoreConflict):
        system.documents.commit(late)


@pytest.mark.parametrize("made", [[], [5]], ids=["the first of the day", "in a shard that is there"])
def test_a_hold_that_comes_in_between_counts_under_the_new_limit(
    system: System, monkeypatch: pytest.MonkeyPatch, made: Sequence[int]
):
    for number in made:
        system.hold(10, number)
    late = system.standing(5).hold(100)
    commit = system.documents.commit

    def after_another(writes: Sequence[Write]) -> list[str]:
        monkeypatch.undo()
        commit(late)
        return commit(writes)

    monkeypatch.setattr(system.documents, "commit", after_another)
    system.command_line.set_limit(ALL, 50, system.now)
    assert system.sound()
    assert system.functions.today(ALL, system.now).free == 0
    with pytest.raises(BudgetExceeded):
        system.hold(1, 2)


def test_a_limit_that_cannot_be_set_for_all_the_commits_of_others_is_not_set_at_all(
    system: System, monkeypatch: pytest.MonkeyPatch
):
    system.hold(10, 0)

    def refuse(_writes: Sequence[Write]) -> list[str]:
        raise StoreConflict

    with monkeypatch.context() as patch:
        patch.setattr(system.documents, "commit", refuse)
        with pytest.raises(StoreConflict, match=r"the budget of all kept changing; .* as it was"):
            system.command_line.set_limit(ALL, 0, system.now)
    assert system.functions.today(ALL, system.now).free == SETTING - 10


def test_below_what_is_used_nothing_more_can_be_held_not_even_what_is_given_back(system: System):
    system.hold(600, 2)
    system.hold(300, 4)
    assert system.command_line.set_limit(ALL, 700, system.now) is False
    assert system.sound()
    system.give_back(300, 4)
    with pytest.raises(BudgetExceeded):
        system.hold(1, 4)
    assert system.functions.today(ALL, system.now) == Budget(600, held=600)
    assert system.command_line.set_limit(ALL, 700, system.now) is True
    assert system.holds_all_of(100)


def test_from_the_next_day_on_the_limit_itself_holds(system: System):
    system.hold(900)
    system.command_line.set_limit(ALL, 700, system.now)
    system.now = from_text("2030-01-01T00:00:01Z")
    assert system.functions.today(ALL, system.now) == Budget(700)
    assert system.holds_all_of(700)


@pytest.mark.parametrize("made", [(), (5,), range(8)], ids=str)
def test_the_default_is_the_limit_of_the_functions_settings_not_of_the_callers(system: System, made: Sequence[int]):
    system.command_line.set_limit(ALL, 200, system.now)
    for number in made:
        system.hold(10, number)
    system.command_line.set_limit(ALL, None, system.now)
    assert system.functions.today(ALL, system.now).limit == SETTING
    assert system.holds_all_of(SETTING - 10 * len(made))
    assert system.functions.today(ALL, from_text("2030-01-01T00:00:01Z")).limit == SETTING


def test_a_users_limit_is_in_one_document(system: System):
    standing = system.functions.read([USER], system.functions.choose([USER], system.now), system.now)
    system.documents.commit(standing.hold(10))
    system.command_line.set_limit(USER, 50, system.now)
    assert system.functions.today(USER, system.now) == Budget(50, held=10)


@pytest.mark.parametrize("limit", [None, 2_000, 5])
def test_a_scope_is_shown_with_its_whole_limit_while_some_of_its_shards_are_missing(system: System, limit: int | None):
    if limit is not None:
        system.command_line.set_limit(ALL, limit, system.now)
    one = system.functions.read([ALL], system.paths(3, [ALL]), system.now)
    system.documents.commit((one if one.free >= 2 else system.functions.widen(one)).hold(2))
    shown = Budget(limit or SETTING, held=2)
    assert system.command_line.on_day(day_of(system.now)) == [(ALL, shown)]
    assert system.command_line.of_scope(ALL, system.now) == shown
    assert system.functions.today(ALL, system.now) == shown


def test_a_page_that_does_not_show_every_document_shows_right_figures(system: System):
    for number in range(8):
        system.hold(10, number)
    for shown in (1, 2, 7):
        found = dict(system.command_line.on_day(day_of(system.now), limit=shown))
        assert found[ALL] == Budget(SETTING, held=80)
        assert set(found.values()) == {Budget(SETTING, held=80)}


def test_nothing_is_known_of_a_scope_before_its_first_hold(system: System):
    assert system.command_line.of_scope(TENANT, system.now) is None


def test_every_number_of_shards_that_can_be_set_is_looked_for():
    assert Settings.from_environment({"ATELIER_BUDGET_SHARDS": str(MOST_SHARDS)}).budget_shards == MOST_SHARDS
    with pytest.raises(SettingsError, match="ATELIER_BUDGET_SHARDS"):
        Settings.from_environment({"ATELIER_BUDGET_SHARDS": str(MOST_SHARDS + 1)})


@pytest.mark.parametrize(
    "limit, used, limits",
    [
        (100, (0, 0, 0), (34, 33, 33)),
        (100, (90, 0, 5), (92, 2, 6)),
        (95, (90, 0, 5), (90, 0, 5)),
        (0, (90, 0, 5), (90, 0, 5)),
    ],
)
def test_a_divided_limit_leaves_each_shard_what_it_has_used(limit: int, used: Sequence[int], limits: Sequence[int]):
    shards = [Budget(1_000, held=amount) for amount in used]
    assert [(b.limit, b.held) for b in divide(limit, shards)] == list(zip(limits, used, strict=True))


@pytest.mark.parametrize("settings, share", [({"budget_shards": 8}, 0.0), ({"daily_budget_usd": 0}, 1.0)], ids=str)
def test_the_tick_tells_the_used_share_of_a_day_on_which_nothing_can_be_or_was_held(
    tmp_path: Path, settings: dict[str, Any], share: float, monkeypatch: pytest.MonkeyPatch
):
    pipeline = Pipeline(tmp_path, **settings)
    told: dict[str, float] = {}
    monkeypatch.setattr(pipeline.services.metrics, "record", lambda name, value, _labels: told.update({name: value}))
    pipeline.tick()
    assert (told["budget_used"], told["budget_held"]) == (share, 0)


# ---------------------------------------------------------------- processes that differ, and documents of before


def held_at_most(budgets: Budgets, system: System) -> int:
    """Hold as much as this process can, from any of its shards, and return how much that was."""
    held, paths = 0, {budgets.choose([ALL], system.now)[0] for _ in range(1_000)}
    for path in sorted(paths):
        for amount in (SETTING, 100, 10, 1):
            while True:
                standing = budgets.read([ALL], [path], system.now)
                standing = budgets.widen(standing) if standing.free < amount else standing
                try:
                    system.documents.commit(standing.hold(amount))
                except BudgetExceeded:
                    break
                held += amount
    assert system.sound()
    return held


@pytest.mark.parametrize("counts", [(8, 64), (64, 8), (1, 8), (8, 1)], ids=str)
def test_processes_with_other_numbers_of_shards_hold_no_more_together(system: System, counts: tuple[int, int]):
    one, other = (Budgets(system.documents, LIMITS, shards=count) for count in counts)
    assert held_at_most(one, system) == SETTING
    assert held_at_most(other, system) == 0


@pytest.mark.parametrize("counts", [(8, 64), (64, 8), (1, 8), (8, 1)], ids=str)
def test_a_limit_holds_for_processes_with_other_numbers_of_shards(system: System, counts: tuple[int, int]):
    one, other = (Budgets(system.documents, LIMITS, shards=count) for count in counts)
    system.documents.commit(one.read([ALL], one.choose([ALL], system.now), system.now).hold(10))
    assert system.command_line.set_limit(ALL, 700, system.now)
    assert held_at_most(other, system) + held_at_most(one, system) == 690
    assert not system.command_line.set_limit(ALL, 300, system.now)
    assert held_at_most(one, system) + held_at_most(other, system) == 0


def test_a_shard_that_has_no_part_of_the_limit_says_nothing_of_how_much_is_used(system: System):
    system.hold(10, 0)
    wide = Budgets(system.documents, LIMITS, shards=64)
    standings = [wide.read([ALL], wide.choose([ALL], system.now), system.now) for _ in range(50)]
    assert {standing.is_soft_limited for standing in standings} == {False}
    assert 0 in {standing.scopes[0][0].budget.limit for standing in standings}


def forget_what_they_are_a_part_of(system: System) -> None:
    """Leave the documents as a version before these fields made them."""
    for found in system.documents.query("budgets", [("day", "==", day_of(system.now))], limit=100):
        kept = {name: value for name, value in found.data.items() if name not in asdict(Whole(1, 1, 1))}
        system.documents.commit([Write(found.path, "set", kept)])


@pytest.mark.parametrize("limit, free", [(800, 600), (150, 0)])
def test_a_limit_holds_on_the_day_on_which_this_version_came(system: System, limit: int, free: int):
    for number in (0, 3):
        system.hold(100, number)
    forget_what_they_are_a_part_of(system)
    assert system.command_line.set_limit(ALL, limit, system.now) == bool(free)
    assert held_at_most(system.functions, system) == free


def test_of_documents_that_do_not_tell_the_default_is_what_they_have_together(system: System):
    for number in range(8):
        system.hold(10, number)
    forget_what_they_are_a_part_of(system)
    system.command_line.set_limit(ALL, 800, system.now)
    system.command_line.set_limit(ALL, None, system.now)
    assert held_at_most(system.functions, system) == SETTING - 80


def test_among_commits_that_never_end_a_lower_limit_first_stops_new_holds(
    system: System, monkeypatch: pytest.MonkeyPatch
):
    for number in range(8):
        system.hold(50, number)
    late = system.functions.read([ALL], system.paths(2, [ALL]), system.now)
    commit, tried = system.documents.commit, []

    def others_are_faster(writes: Sequence[Write]) -> list[str]:
        tried.append(writes)
        if len(tried) <= CLOSING_TRY + 5 and len(tried) != CLOSING_TRY + 1:
            raise StoreConflict("somebody else was faster")
        return commit(writes)

    with monkeypatch.context() as patch:
        patch.setattr(system.documents, "commit", others_are_faster)
        assert not system.command_line.set_limit(ALL, 100, system.now)
    assert all(write.data == {"closed": True} for write in tried[CLOSING_TRY])
    with pytest.raises(StoreConflict):
        system.documents.commit(late.hold(1))
    assert held_at_most(system.functions, system) == 0
