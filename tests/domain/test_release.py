from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.release import Parked, rank, release_order

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def job(name: str, *, minutes: float = 0, priority: str = "normal") -> Parked:
    """Job "a7" belongs to tenant "a"."""
    return Parked(name, name[0], rank(priority, NOW + timedelta(minutes=minutes)))


def backlog(tenant: str, size: int, *, minutes: float = 0, priority: str = "normal") -> list[Parked]:
    return [job(f"{tenant}{n:05}", minutes=minutes + n / 1000, priority=priority) for n in range(size)]


def test_ranks_sort_like_the_times_they_stand_for() -> None:
    assert rank("high", NOW) < rank("normal", NOW) < rank("low", NOW)
    assert rank("normal", NOW) == "2026-11-21T12:00:00.000000Z"


def test_a_low_job_ages_past_newer_ones() -> None:
    low = rank("low", NOW)
    assert rank("high", NOW + timedelta(minutes=19)) < low < rank("high", NOW + timedelta(minutes=21))
    assert rank("normal", NOW + timedelta(minutes=9)) < low < rank("normal", NOW + timedelta(minutes=11))


def test_an_unknown_priority_is_an_error() -> None:
    with pytest.raises(KeyError):
        rank("urgent", NOW)


def test_without_capacity_nothing_is_released() -> None:
    assert release_order([job("a1")], 0) == []
    assert release_order([], 5) == []


def test_inside_a_tenant_the_lowest_rank_goes_first() -> None:
    parked = [job("a3", minutes=3), job("a1", minutes=1), job("a4", minutes=4, priority="high"), job("a2", minutes=2)]
    assert release_order(parked, 9) == ["a4", "a1", "a2", "a3"]


def test_a_high_job_overtakes_the_backlog_of_every_tenant() -> None:
    parked = [*backlog("a", 100), *backlog("b", 100), job("c1", minutes=5, priority="high")]
    assert release_order(parked, 3)[0] == "c1"


def test_a_tenant_that_marks_everything_as_high_gets_no_more_than_its_share() -> None:
    parked = [*backlog("a", 1000, priority="high"), *backlog("b", 1000)]
    order = release_order(parked, 1000)
    assert Counter(name[0] for name in order) == {"a": 500, "b": 500}


def test_a_tenants_single_job_does_not_wait_for_a_backlog_of_a_thousand() -> None:
    assert "b1" in release_order([*backlog("a", 1000), job("b1", minutes=600)], 2)


def test_a_tenant_served_more_waits_until_the_others_have_caught_up() -> None:
    parked = [*backlog("a", 10), *backlog("b", 10, minutes=30)]
    order = release_order(parked, 6, {"a": 3, "b": 0})
    assert order[:3] == ["b00000", "b00001", "b00002"]
    assert Counter(name[0] for name in order[3:]) == {"a": 2, "b": 1}


def share_out(parked: list[Parked], capacity: int, total: int) -> Counter[str]:
    """Release *total* jobs in portions of *capacity* and count them per tenant."""
    waiting = {j.job_id: j for j in parked}
    served: Counter[str] = Counter()
    while served.total() < total:
        order = release_order(list(waiting.values()), min(capacity, total - served.total()), served)
        served.update(name[0] for name in order)
        for name in order:
            del waiting[name]
    return served


@given(st.lists(st.integers(0, 3000), min_size=2, max_size=5), st.integers(50, 120), st.integers(0, 3))
@settings(derandomize=True, max_examples=15)
def test_over_a_thousand_jobs_every_tenant_gets_an_equal_share_whatever_its_backlog(
    more: list[int], capacity: int, high_tenants: int
) -> None:
    share = 1000 / len(more)
    parked: list[Parked] = []
    for n, surplus in enumerate(more):  # the longer a backlog, the older it is
        priority = "high" if n < high_tenants else "low"
        parked += backlog("abcde"[n], int(share * 1.1) + surplus, minutes=-surplus, priority=priority)
    served = share_out(parked, capacity, 1000)
    assert all(abs(served[tenant] - share) <= 0.1 * share for tenant in "abcde"[: len(more)])


def test_tenants_share_a_capacity_of_one_job_at_a_time() -> None:
    parked = [*backlog("a", 40, minutes=-500), *backlog("b", 40), *backlog("c", 40, priority="high")]
    assert share_out(parked, 1, 60) == {"a": 20, "b": 20, "c": 20}


def test_a_low_job_finishes_while_high_ones_keep_coming() -> None:
    parked = [job("a-low", priority="low")]
    for minute in range(60):
        parked += [job(f"a{minute:02}{n}", minutes=minute, priority="high") for n in range(3)]
        released = release_order(parked, 3)
        if "a-low" in released:
            break
        parked = [j for j in parked if j.job_id not in released]
    assert minute == 20


PARKED = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(["high", "normal", "low"])), max_size=60
)


@given(PARKED, st.integers(0, 70), st.randoms(use_true_random=False))
@settings(derandomize=True, max_examples=100)
def test_the_order_depends_on_the_jobs_and_not_on_how_they_are_listed(
    rows: list[tuple[str, int, str]], capacity: int, shuffle: object
) -> None:
    parked = [job(f"{tenant}{n}", minutes=at, priority=p) for n, (tenant, at, p) in enumerate(rows)]
    order = release_order(parked, capacity)
    assert len(order) == len(set(order)) == min(capacity, len(parked))
    shuffle.shuffle(parked)  # type: ignore[attr-defined]
    assert release_order(parked, capacity) == order
    ranks = {j.job_id: (j.rank, j.job_id) for j in parked}
    for tenant in "abc":
        released = [ranks[name] for name in order if name[0] == tenant]
        waiting = [place for name, place in ranks.items() if name[0] == tenant and name not in order]
        assert released == sorted(released)
        assert not waiting or not released or released[-1] < min(waiting)
