"""`kill -9` of `run` at every point, then `run` again: everything ends as it should and nothing is bought twice."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared import bootstrap
from shared.clock import SystemClock
from shared.domain.job import Job
from shared.ports import Json
from shared.settings import Settings
from shared.stores.audit import Audit, audit
from shared.stores.jobs import load
from tests.pipeline.harness import Pipeline

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"ATELIER_OFFLINE_RENDER_S": "0.05", "ATELIER_TICK_S": "0.05", "ATELIER_WORKERS": "2"}
PROMPT_S = 20.0  # less than any lease, stale time or long poll of a follower, and allows for a busy machine
NOTE = {"kind": "text", "prompt": "A short note about the tides at the old harbour", "task": "fast"}
BOAT = {"kind": "image", "prompt": "A paper boat on a quiet pond", "size": "512"}
CLIP = {"kind": "video", "prompt": "A paper boat drifting on a pond", "duration_s": 1, "audio": True}
# This model's calls cannot be looked up, and there is money for one only: a lost one is not made again.
FORGOTTEN = {**BOAT, "model": "offline-image-draft", "fallback": False, "max_cost_usd": "0.005"}
SCENARIOS: dict[str, list[Json]] = {
    "text": [{**NOTE, "request_id": "note"}, {**NOTE, "request_id": "the same note"}],
    "image": [{**BOAT, "request_id": "boat"}],
    "forgotten": [{**FORGOTTEN, "request_id": "forgotten"}],
    "video": [{**CLIP, "request_id": "clip"}],
}
CHUNKS = 2
RANDOM_KILLS = 50
RANDOM_CHUNKS = 5


class Server:
    """The process that forks a run for every order."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.crash_child"],
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End it and whatever it still runs."""
        self._process.communicate(timeout=60)

    def start(self, order: Json) -> int:
        """Fork a run; return its process id."""
        return int(self._ask({"do": "start", **order})["pid"])

    def wait(self, pid: int) -> int | None:
        """Return the exit code of a run, negative for a signal; None when it was only stopped."""
        status: int | None = self._ask({"do": "wait", "pid": pid})["status"]
        return status

    def _ask(self, order: Json) -> Json:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: Json = json.loads(self._process.stdout.readline())
        return answer


@dataclass
class Home:
    """The folder of one local system, with the requests that are run in it."""

    server: Server
    folder: Path
    requests: list[Json]
    settings: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    @property
    def out(self) -> Path:
        return self.folder / f"out{self.runs}"

    def start(self, **order: object) -> int:
        """Start a run that gets its signal *at* a point, if any; return its process id."""
        self.runs += 1
        self.out.mkdir(parents=True)
        file = self.folder / "requests.jsonl"
        if not file.exists():
            file.write_text("".join(json.dumps(request) + "\n" for request in self.requests))
        environment = {**ENVIRONMENT, **self.settings, "ATELIER_HOME": str(self.folder / "home")}
        return self.server.start({"file": str(file), "out": str(self.out), "environment": environment, **order})

    def run(self, **order: object) -> int | None:
        """Run to the end, or to the signal; return the exit code."""
        return self.server.wait(self.start(**order))

    def told(self) -> str:
        """What the latest run wrote on standard error."""
        return (self.out / "stderr").read_text()

    def points(self) -> list[str]:
        """The points that the latest run passed."""
        return (self.out / "points").read_text().splitlines()

    def results(self) -> dict[str, Json]:
        """What the latest run printed, by request."""
        return {r["request_id"]: r for r in json.loads((self.out / "stdout").read_text())["jobs"]}

    def calls(self) -> Counter[str]:
        """How often the provider accepted which call."""
        record = self.folder / "home" / "offline_calls.jsonl"
        lines = record.read_text().splitlines() if record.exists() else []
        return Counter(json.loads(line)["call_id"] for line in lines)

    def books(self) -> tuple[Audit, dict[str, Job]]:
        """The audit and every job, read from the state that the runs left."""
        services = bootstrap.build(Settings(home=str(self.folder / "home")))
        with closing(services.documents), closing(services.bus):  # type: ignore[type-var]
            jobs = [load(snapshot).job for snapshot in services.jobs.newest(500)]
            return audit(services.documents, services.jobs, services.ledger, services.clock.now()), {
                job.job_id: job for job in jobs
            }


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@functools.cache
def reference(server: Server, *scenarios: str) -> tuple[dict[str, Json], int, float]:
    """Results, number of points and seconds of a run that nothing disturbs."""
    started = length_s = 0.0
    for _ in range(2):  # the first one makes the pieces
        with tempfile.TemporaryDirectory() as folder:
            home = Home(server, Path(folder), requests_of(*scenarios))
            started = time.monotonic()
            assert home.run() == 0, home.told()
            length_s = time.monotonic() - started
            results, points = home.results(), len(home.points())
    return results, points, length_s


def requests_of(*scenarios: str) -> list[Json]:
    """The requests of some scenarios."""
    return [request for scenario in scenarios for request in SCENARIOS[scenario]]


def assert_recovered(home: Home, expected: dict[str, Json]) -> set[str]:
    """Run again, and check that the crash changed nothing; return the jobs with money in suspense."""
    started = time.monotonic()
    code = home.run()
    took_s = time.monotonic() - started
    assert code in (0, 1), home.told()
    in_doubt = assert_accounted(home, expected)
    assert took_s < PROMPT_S
    return in_doubt


def assert_accounted(home: Home, expected: dict[str, Json]) -> set[str]:
    """Every job of the latest run has ended as *expected*, and every call that was bought is accounted for."""
    found, jobs = home.books()
    assert found.problems == []
    assert found.held == 0
    results = home.results()
    assert results.keys() == expected.keys()
    in_doubt = {open_item["job_id"] for open_item in found.unsettled if open_item["why"] == "suspense"}
    settled = [name for name, result in results.items() if result["job_id"] not in in_doubt]
    # Sorted, as it is a matter of time which of two identical requests is paid for.
    assert sorted(_ending(results[name]) for name in settled) == sorted(_ending(expected[name]) for name in settled)
    for key, accepted in home.calls().items():
        assert accepted == 1, key
        job_id, _, number = key.rpartition("-")
        assert jobs[job_id].attempt(int(number)).booked or job_id in in_doubt, key
    assert in_doubt <= {r["job_id"] for name, r in results.items() if name == "forgotten"}
    return in_doubt


def _ending(result: Json) -> str:
    pieces = [{k: piece[k] for k in ("sha256", "grade", "size_bytes")} for piece in result["outputs"]]
    told = ("type", "grade", "cost_usd", "model", "fallback_used", "errors")
    return json.dumps({**{key: result[key] for key in told}, "outputs": pieces})


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_killed_at_any_point_is_finished_by_the_next(
    server: Server, tmp_path: Path, scenario: str, chunk: int
) -> None:
    expected, points, _ = reference(server, scenario)
    killed, in_doubt = 0, 0
    for point in range(1 + chunk, points + 1, CHUNKS):
        home = Home(server, tmp_path / str(point), SCENARIOS[scenario])
        killed += home.run(at=point) == -signal.SIGKILL
        in_doubt += len(assert_recovered(home, expected))
    assert killed > 0.8 * points / CHUNKS  # which worker takes what may change the count a little
    assert (in_doubt > 0) == (scenario == "forgotten")


@pytest.mark.parametrize("chunk", range(RANDOM_CHUNKS))
def test_a_run_killed_at_any_time_is_finished_by_the_next(server: Server, tmp_path: Path, chunk: int) -> None:
    expected, _, length_s = reference(server, *SCENARIOS)
    draw = random.Random(chunk)
    for n in range(RANDOM_KILLS // RANDOM_CHUNKS):
        home = Home(server, tmp_path / str(n), requests_of(*SCENARIOS))
        pid = home.start()
        time.sleep(draw.uniform(0, length_s))
        os.kill(pid, signal.SIGKILL)
        home.server.wait(pid)
        assert_recovered(home, expected)


def test_a_run_killed_again_and_again_gets_further_every_time(server: Server, tmp_path: Path) -> None:
    expected, _, length_s = reference(server, *SCENARIOS)
    home, draw = Home(server, tmp_path, requests_of(*SCENARIOS)), random.Random(7)
    for _ in range(6):
        pid = home.start()
        time.sleep(draw.uniform(0.3, 0.7) * length_s)
        os.kill(pid, signal.SIGKILL)
        home.server.wait(pid)
    assert_recovered(home, expected)


def test_two_runs_at_once_end_every_job_once_and_buy_nothing_twice(server: Server, tmp_path: Path) -> None:
    expected, _, _ = reference(server, *SCENARIOS)
    one = Home(server, tmp_path, requests_of(*SCENARIOS))
    other = Home(server, tmp_path, one.requests, runs=10)
    pids = [one.start(), other.start()]
    assert [server.wait(pid) for pid in pids] == [0, 0], (one.told(), other.told())
    for home in (one, other):
        assert assert_accounted(home, expected) == set()
    assert one.calls().total() == len(expected) - 1  # one note answers both


def test_a_second_run_of_finished_requests_buys_nothing_and_says_so(server: Server, tmp_path: Path) -> None:
    expected, _, _ = reference(server, "text", "image")
    home = Home(server, tmp_path, requests_of("text", "image"))
    assert home.run() == 0
    bought, first = home.calls(), home.results()
    assert home.run(arguments=[]) == 0
    assert "3 had been finished before and cost nothing now" in (home.out / "stdout").read_text()
    assert home.calls() == bought
    assert home.run() == 0
    assert home.results() == first
    assert assert_accounted(home, expected) == set()


def overtaken(server: Server, folder: Path, scenario: str, at: str) -> Home:
    """A home in which one run is stopped in its call, another ends the job, and then the first goes on."""
    home = Home(server, folder, SCENARIOS[scenario], {"ATELIER_LEASE_S": "1", "ATELIER_WORKERS": "1"})
    sleeper = home.start(at=at, signal="STOP", lease_grace_s=0.0)
    assert server.wait(sleeper) is None
    assert home.run() in (0, 1), home.told()
    os.kill(sleeper, signal.SIGCONT)
    assert server.wait(sleeper) in (0, 1)
    left = Pipeline(folder / "home", clock=SystemClock())
    left.system.drain(lambda: not any(waiting["due"] for waiting in left.system.bus.backlog().values()))
    return home


@pytest.mark.parametrize("scenario", ["image", "video"])
def test_an_owner_that_slept_through_its_lease_buys_and_books_nothing_twice(
    server: Server, tmp_path: Path, scenario: str
) -> None:
    expected, _, _ = reference(server, scenario)
    home = overtaken(server, tmp_path, scenario, "after start")
    assert home.calls().total() == 1
    assert assert_accounted(home, expected) == set()


def test_what_a_sleeping_owner_had_bought_is_booked_once_although_the_job_was_given_up(
    server: Server, tmp_path: Path
) -> None:
    home = overtaken(server, tmp_path, "forgotten", "after start")
    assert home.results()["forgotten"]["errors"][0]["code"] == "ambiguous"
    found, _ = home.books()
    assert home.calls().total() == found.entries == 1
    assert (found.problems, found.unsettled, found.ledger) == ([], [], 5_000)


def test_a_call_made_by_an_owner_that_woke_up_too_late_is_booked_beside_the_one_that_replaced_it(
    server: Server, tmp_path: Path
) -> None:
    home = overtaken(server, tmp_path, "image", "before start")
    found, _ = home.books()
    assert sorted(home.calls().values()) == [1, 1]
    assert (found.problems, found.unsettled, found.entries, found.ledger) == ([], [], 2, 40_000)
