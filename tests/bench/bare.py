"""The floor of the emulator benchmark: a function that makes the calls of one stage and decides nothing.

Google's own clients, as their documentation uses them. The environment variable BARE_PLAN names what an event costs:
`{"reads": [documents per call], "commits": [documents per call], "publishes": [topics]}`.
"""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from typing import Any

import functions_framework
from flask import Request

PLAN = json.loads(os.environ.get("BARE_PLAN", "{}"))
STAGE = os.environ.get("K_SERVICE", "")
PROJECT = os.environ.get("GOOGLE_CLOUD_PROJECT", "")
TIMEOUT_S = 10.0
# About the size and shape of a job halfway.
JOB = {f"field_{n}": {"text": "x" * 60, "list": [n, None, {"at": "2026-11-21T12:00:00Z"}]} for n in range(20)}


@cache
def _firestore() -> Any:
    from google.cloud import firestore

    return firestore.Client(project=PROJECT)


@cache
def _publisher() -> Any:
    from google.cloud import pubsub_v1

    return pubsub_v1.PublisherClient(batch_settings=pubsub_v1.types.BatchSettings(max_messages=1))


@functions_framework.http
def bare(request: Request) -> tuple[str, int]:
    """Make the calls of one event."""
    message = request.get_json()["message"]
    number = json.loads(base64.b64decode(message["data"]))["number"]
    store = _firestore()
    for count in PLAN["reads"]:
        references = [store.document(f"bare/{number}-{n}") for n in range(count)]
        assert len([s.to_dict() for s in store.get_all(references, timeout=TIMEOUT_S)]) == count
    for count in PLAN["commits"]:
        batch = store.batch()
        for n in range(count):
            batch.set(store.document(f"bare/{number}-{n}"), JOB if n == 0 else {"stage": STAGE, "n": n})
        batch.commit(timeout=TIMEOUT_S)
    for topic in PLAN["publishes"]:
        path = f"projects/{PROJECT}/topics/{topic}"
        _publisher().publish(path, json.dumps({"number": number}).encode(), kind="text").result(TIMEOUT_S)
    return "", 204
