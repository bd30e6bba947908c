"""`run`: submit the requests in files, carry them to the end, show progress, print what came out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from functions._console import demand_usable
from functions._local import LocalSystem, submit
from functions._progress import Progress
from functions._report import write_report
from functions._request_files import Entry, read_entries
from functions._table import table
from shared import bootstrap, log
from shared.adapters.local_bus import LocalBus
from shared.bootstrap import Services
from shared.domain.job import Job, State
from shared.domain.money import format_usd
from shared.domain.result import result_of
from shared.errors import SettingsError, StoreUnavailable
from shared.ports import Json
from shared.settings import Settings

LOOK_EVERY_S = 0.1
PAGE = 500
LARGEST_READ = 256 * 2**20


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Carry every request in the given files to its end; 0 when all of them succeeded."""
    entries = read_entries(options.paths, settings.max_manifest_bytes)
    home = bootstrap.home_path(settings)
    report = Path(options.report) if options.report else home / "report.html"
    if report.is_dir():
        raise SettingsError(f"the report cannot be written: {report} is a folder")
    good, bad = [e for e in entries if e.error is None], [e for e in entries if e.error is not None]
    with (home / "log.jsonl").open("a", encoding="utf-8", buffering=1) as stream:
        log.configure(settings.log_level, stream)
        with _system(options, settings) as (services, check):
            before = sum(job is not None and job.is_finished for job in jobs_of(good, services))
            jobs = _carry_out(good, services, check, quiet=options.json)
            _write_report(report, jobs, services)
    if options.json:
        print(json.dumps(_as_json(jobs, bad), indent=2, ensure_ascii=False))
    else:
        _print_outcome(jobs, bad, before, report)
        if options.emulators and any(result_of(job)["outputs"] for job in jobs):
            print("the gs:// files went with the emulators; the report keeps what it shows of them")
    return 0 if not bad and all(job.state is State.SUCCEEDED for job in jobs) else 1


@contextmanager
def _system(options: argparse.Namespace, settings: Settings) -> Iterator[tuple[Services, Callable[[], None]]]:
    """Yield the services of a system that works, and a check that it still does.

    With the cloud's own bus nothing is started here: the deployed functions do the work.
    """
    if options.emulators:
        from functions._emulated.cloud import EmulatedCloud

        with EmulatedCloud(settings, parallel=options.parallel) as cloud:
            demand_usable(cloud.services)
            try:
                yield cloud.services, cloud.check
            except StoreUnavailable:
                cloud.check()  # that an emulator has ended says more
                raise
        return
    services = bootstrap.build(settings)
    demand_usable(services)
    if not isinstance(services.bus, LocalBus):
        yield services, _nothing_to_check
        return
    system = LocalSystem(services)
    system.recover()
    system.start()
    try:
        yield services, _nothing_to_check
    finally:
        system.stop()


def _nothing_to_check() -> None:
    """Only emulators can end by themselves."""


def _carry_out(entries: Sequence[Entry], services: Services, check: Callable[[], None], *, quiet: bool) -> list[Job]:
    """Return the finished jobs in the order of their requests."""
    progress = Progress(sys.stderr, len(entries), quiet=quiet)
    try:
        submit([e.message for e in entries], services)
        left = list(entries)
        while left:
            left = _look(left, services, progress)
            if left:
                check()
                services.clock.sleep(LOOK_EVERY_S)
    finally:
        progress.close()
    return list({job.job_id: job for job in jobs_of(entries, services) if job is not None}.values())


def _look(entries: list[Entry], services: Services, progress: Progress) -> list[Entry]:
    """Show how far a page of the unfinished requests is, and return all that are unfinished still."""
    page = entries[:PAGE]
    unfinished = []
    for entry, job in zip(page, jobs_of(page, services), strict=True):
        if job is not None:
            progress.show(job)
        if job is None or not job.is_finished:
            unfinished.append(entry)
    progress.draw()
    return [*entries[PAGE:], *unfinished]


def jobs_of(entries: Sequence[Entry], services: Services) -> list[Job | None]:
    """Return the job of each request; where its id was taken by other content, the job that says so."""
    jobs: list[Job | None] = []
    for start in range(0, len(entries), PAGE):
        page = entries[start : start + PAGE]
        found = services.jobs.get_many([e.job_id for e in page])
        jobs += [loaded.job if loaded else None for loaded in found]
    for n, (entry, job) in enumerate(zip(entries, jobs, strict=True)):
        if job is not None and job.request_hash not in entry.digests:
            refused = [loaded.job for loaded in services.jobs.get_many(entry.conflict_ids) if loaded]
            jobs[n] = refused[0] if refused else None
    return jobs


def _write_report(path: Path, jobs: Sequence[Job], services: Services) -> None:
    try:
        write_report(
            path,
            jobs,
            generated_at=services.clock.now(),
            title="Atelier run",
            read_piece=lambda uri: services.blobs.read(uri, LARGEST_READ),
        )
    except OSError as error:
        raise SettingsError(f"the jobs are done, but {path} cannot be written: {error.strerror}") from None


def _as_json(jobs: Sequence[Job], bad: Sequence[Entry]) -> Json:
    results = [result_of(job) for job in jobs]
    states = [str(job.state) for job in jobs]
    totals = {
        "jobs": len(jobs),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "cost_usd": format_usd(sum(job.spent for job in jobs)),
        "cached": sum(bool(r["cached"]) for r in results),
        "fallback_used": sum(bool(r["fallback_used"]) for r in results),
        "unreadable_lines": [
            {"file": e.file, "line": e.line, "field": e.error.field, "code": e.error.code, "message": e.error.message}
            for e in bad
            if e.error
        ],
    }
    return {"jobs": results, "totals": totals}


def _print_outcome(jobs: Sequence[Job], bad: Sequence[Entry], before: int, report: Path) -> None:
    rows = [_row(result_of(job), job) for job in jobs]
    rows += [[f"{e.file}:{e.line}", "-", "unreadable", "", "", "", e.error.message] for e in bad if e.error]
    print(table(["request", "kind", "state", "grade", "cost USD", "model", "what came out"], rows))
    spent = format_usd(sum(job.spent for job in jobs))
    done = sum(job.state is State.SUCCEEDED for job in jobs)
    print(f"\n{done} of {len(jobs) + len(bad)} succeeded, {spent} USD")
    if before:
        print(f"{before} had been finished before and cost nothing now")
    print(f"report: {report}")


def _row(result: Json, job: Job) -> list[str]:
    errors = "; ".join(f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in result["errors"])
    made = result["outputs"][0]["uri"] if result["outputs"] else ""
    notes = [
        *(["cached"] if result["cached"] else []),
        *(["fallback"] if result["fallback_used"] else []),
        *([f"{len(result['outputs'])} files"] if len(result["outputs"]) > 1 else []),
    ]
    told = " ".join([*([f"({', '.join(notes)})"] if notes else []), errors or made])
    name = result["request_id"] or _source(job)
    return [
        name,
        result["kind"],
        str(job.state),
        result["grade"] or "",
        result["cost_usd"],
        result["model"] or "",
        told,
    ]


def _source(job: Job) -> str:
    source = job.source or {}
    return f"{source['file']}:{source['line']}" if "file" in source else job.job_id[:12]
