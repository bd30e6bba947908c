"""Commands about single jobs: submit, status, explain, cancel, replay."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from functions import _runtime, fallback
from functions._console import open_services, show
from functions._decode import Event
from functions._explain import explanation
from functions._local import submit as publish
from functions._request_files import Entry, read_entries
from functions._run import jobs_of
from shared.bootstrap import Services
from shared.domain.job import Job, State
from shared.domain.money import format_usd
from shared.domain.replay import REPLAY_FROM, NotReplayable, replayed
from shared.domain.result import result_of
from shared.errors import SettingsError
from shared.ports import Message
from shared.settings import Settings

LOOK_EVERY_S = 1.0

__all__ = ["REPLAY_FROM", "cancel", "explain", "replay", "status", "submit"]


def submit(options: argparse.Namespace, settings: Settings) -> int:
    """Publish the requests in files; they are carried out by `up`, or by the deployed functions.

    With `--wait`, return when all of them are finished or the time is over; 0 when every one has succeeded.
    """
    services = open_services(settings)
    entries = read_entries(options.paths, settings.max_manifest_bytes)
    good = [e for e in entries if e.error is None]
    publish([e.message for e in good], services)
    rows = [{"file": e.file, "line": e.line, "job_id": e.job_id} for e in good]
    bad = [{"file": e.file, "line": e.line, **asdict(e.error)} for e in entries if e.error]
    lines = [f"{r['job_id']}  {r['file']}:{r['line']}" for r in rows]
    lines += [f"not submitted  {b['file']}:{b['line']}  {b['message']}" for b in bad]
    document: dict[str, Any] = {"submitted": rows, "unreadable_lines": bad}
    if options.wait is None:
        show(options, document, "\n".join(lines))
        return 1 if bad else 0
    if not options.json:
        print("\n".join(lines), flush=True)  # who stops waiting has the ids
    jobs = _awaited(good, options.wait, services)
    document["jobs"] = [result_of(job) for job in jobs if job and job.is_finished]
    show(options, document, "\n".join(_ending(entry, job) for entry, job in zip(good, jobs, strict=True)))
    return 0 if not bad and all(job and job.state is State.SUCCEEDED for job in jobs) else 1


def _awaited(entries: Sequence[Entry], wait_s: int, services: Services) -> list[Job | None]:
    """Return the job of each request when all are finished, or as it is when the time is over."""
    until = services.clock.now() + timedelta(seconds=wait_s)
    jobs: list[Job | None] = [None] * len(entries)
    while True:
        left = [n for n, job in enumerate(jobs) if job is None or not job.is_finished]
        for n, job in zip(left, jobs_of([entries[n] for n in left], services), strict=True):
            jobs[n] = job
        if all(job and job.is_finished for job in jobs) or services.clock.now() >= until:
            return jobs
        services.clock.sleep(LOOK_EVERY_S)


def _ending(entry: Entry, job: Job | None) -> str:
    """Tell how a job ended, or that it has not."""
    if job is None:
        return f"{entry.job_id}  not begun: does anything take in requests?"
    told = f"{job.job_id}  {job.state}"
    if not job.is_finished:
        return f"{told}  unfinished"
    result = result_of(job)
    reasons = "; ".join(error["message"] for error in result["errors"])
    return f"{told}  {result['cost_usd']} USD  {result['model'] or ''}  {reasons}".rstrip()


def status(options: argparse.Namespace, settings: Settings) -> int:
    """Show where one job is."""
    services = open_services(settings)
    job = _job(options.job, services)
    last = job.timeline[-1] if job.timeline else {}
    money = f"{format_usd(job.spent)} USD spent, {format_usd(job.hold)} held"
    text = f"{job.job_id}  {job.state}  {last.get('note', '')}  {money}"
    document = {**result_of(job), "state": str(job.state), "seq": job.seq}
    if options.links is not None:
        links = {out["uri"]: services.blobs.link(out["uri"], options.links) for out in document["outputs"]}
        document["links"] = links
        told = [f"{uri}\n  {link or 'no link: these credentials cannot sign one'}" for uri, link in links.items()]
        text = "\n".join([text, *told])
    show(options, document, text)
    return 0


def explain(options: argparse.Namespace, settings: Settings) -> int:
    """Tell a job's whole story from the documents alone."""
    services = open_services(settings)
    job = _job(options.job, services)
    entries = services.ledger.of_job(job.job_id)
    told = explanation(job, entries)
    document = {
        "result": result_of(job),
        "prompt": job.prompt,
        "candidates": [asdict(c) for c in job.candidates],
        "passed_over": list(job.passed_over),
        "attempts": [asdict(a) for a in job.attempts],
        "ledger": entries,
        "timeline": list(job.timeline),
        "money": {"hold": job.hold, "spent": job.spent, "suspense": job.suspense},
    }
    show(options, document, told)
    return 0


def cancel(options: argparse.Namespace, settings: Settings) -> int:
    """End a job; what was bought is kept, and an operation that still runs is collected later."""
    services = open_services(settings)
    job = _job(options.job, services)
    event = Event({"job_id": job.job_id, "seq": job.seq, "end": "cancelled"}, f"cancel-{job.job_id}")
    _runtime.deliver(fallback.handle, event, services)
    after = _job(job.job_id, services)
    note = "" if after.state is State.CANCELLED else " (it had ended before)"
    show(options, result_of(after), f"{after.job_id}  {after.state}{note}")
    return 0 if after.state is State.CANCELLED else 1


def replay(options: argparse.Namespace, settings: Settings) -> int:
    """Send an unfinished job its event again; repeat a finished one as a new job that buys nothing twice."""
    services = open_services(settings)
    job = _job(options.job, services)
    if not job.is_finished:
        if job.baton is not None:
            services.bus.publish([_runtime.baton_message(job)])
        show(options, {"job_id": job.job_id, "state": str(job.state)}, f"{job.job_id}  event sent again")
        return 0
    try:
        step = replayed(job, options.stage, _runtime.moment(services, "replay"))
    except NotReplayable as reason:
        show(options, {"job_id": job.job_id, "error": str(reason)}, f"{job.job_id}  not replayed: {reason}")
        return 1
    if isinstance(step, Job):
        _runtime.commit(None, _runtime.Step(step), services)
        new_id = step.job_id
    else:
        services.bus.publish([Message("requests", step.payload)])
        new_id = step.job_id
    text = f"{job.job_id}  replayed from {options.stage} as {new_id}"
    show(options, {"job_id": new_id, "replay_of": job.job_id}, text)
    return 0


def _job(job_id: str, services: Services) -> Job:
    loaded = services.jobs.get(job_id) if job_id and "/" not in job_id else None
    if loaded is None:
        raise SettingsError(f"there is no job {job_id!r} here; `run` and `submit` print the ids")
    return loaded.job
