"""Repeating a finished job as a new one that buys nothing which the first one has bought."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from shared.domain.identity import job_id_from_transport
from shared.domain.job import AttemptState, Job, State, moved
from shared.domain.moves import Moment
from shared.errors import PipelineError

Json = dict[str, Any]

REPLAY_FROM = ("validate", "generate", "quality_check")


class NotReplayable(PipelineError):
    """There is nothing that a replay from this stage could do; the message says why."""


@dataclass(frozen=True, slots=True)
class Resubmission:
    """The same request again, under a new identity; *payload* is what to publish to `requests`."""

    job_id: str
    payload: Json


def replayed(job: Job, stage: str, moment: Moment) -> Job | Resubmission:
    """Return the new job, or what to publish to make it.

    From `quality_check`, the newest pieces are judged again; they are in the bucket and were paid for. From an
    earlier stage the request is submitted again, which is only for a job that has no approved piece.

    Raises:
        NotReplayable: a paid step that succeeded would be repeated, or there is nothing to judge.
    """
    if stage == "quality_check":
        return _judged_again(job, moment)
    if job.winner is not None or job.answer is not None:
        raise NotReplayable("it has an approved piece, and a paid step that succeeded is never repeated")
    if not job.request:
        raise NotReplayable("its request could not be read; correct it and submit it anew")
    source: Json = {"replay_of": job.job_id, "seq": job.seq}
    request = {k: v for k, v in job.request.items() if k != "request_id"}
    new_id = job_id_from_transport(job.tenant, json.dumps(source, sort_keys=True))
    return Resubmission(new_id, {"request": request, "source": source})


def _judged_again(job: Job, moment: Moment) -> Job:
    bought = next((a for a in reversed(job.attempts) if a.pieces), None)
    if bought is None:
        raise NotReplayable("no piece was delivered, so there is nothing to judge")
    attempt = replace(
        bought,
        number=1,
        state=AttemptState.DELIVERED,
        approved=None,
        grade=None,
        checks=(),
        cost_micro_usd=0,
        price_micro_usd=0,
        usage={},
        basis="replay",
        booked=False,
    )
    digest = hashlib.sha256(f"{job.job_id} judged {job.seq} {moment.now.isoformat()}".encode()).hexdigest()
    fresh = replace(
        job,
        job_id=digest[:32],
        state=State.CHECKING,
        seq=0,
        created_at=moment.now,
        deadline_at=None,
        finished_at=None,
        request_id=None,
        attempts=(attempt,),
        candidates=(),
        fingerprint=None,
        errors=(),
        timeline=(),
        source={"replay_of": job.job_id},
        hold=0,
        scopes=(),
    )
    return moved(
        fresh,
        State.CHECKING,
        moment.now,
        stage=moment.stage,
        topic="quality-check",
        due_at=moment.stale_at,
        extra={"attempt": 1},
        note=f"pieces of job {job.job_id} judged again",
    )
