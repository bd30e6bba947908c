"""From the forms in which Google Cloud delivers an event to our own `Event`.

Accepted: a Pub/Sub push (wrapped; with or without data), a CloudEvent in binary or structured mode around a
Pub/Sub message, a Cloud Storage object or a Scheduler job, and a Cloud Storage notification inside a Pub/Sub
message. Shapes: the samples in github.com/googleapis/google-cloudevents, testdata/google/events/cloud.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent, from_http

from shared.domain.strict_json import parse_json
from shared.errors import InvalidEvent
from shared.ports import Message

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One delivery, whatever form it came in.

    Attributes:
        payload: the JSON value that was published; None when there was none or it is not JSON.
        problem: why there is no payload, for the one who published it.
        message_id: the transport's own identity of the message; the same on every redelivery.
        attempt: 1 for the first delivery, 0 where the transport does not count them.
    """

    payload: Any
    message_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    size_bytes: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A finished object in a bucket, from a notification or a CloudEvent."""

    bucket: str
    name: str
    generation: str
    size_bytes: int


def decode_http(headers: Mapping[str, str], body: bytes) -> Event:
    """Return the event of an HTTP delivery.

    Raises:
        InvalidEvent: not one of the accepted forms; the message says what was wrong and what is accepted.
    """
    names = {name.lower() for name in headers}
    if "ce-type" in names or "ce-specversion" in names or _is_structured(headers):
        return decode_cloud_event(_read_cloud_event(headers, body))
    return _from_data(_json_object(body), message_id="", size_bytes=len(body))


def decode_cloud_event(event: CloudEvent) -> Event:
    """Return the event of a CloudEvent. Raises InvalidEvent."""
    data, size = event.data, 0
    if isinstance(data, bytes | str):
        size, data = len(data), _json_object(data)
    return _from_data(data if data is not None else {}, message_id=str(event["id"]), size_bytes=size)


def stored_object(event: Event) -> StoredObject | None:
    """Return the object an event tells of; None when it tells of something else than a finished object.

    Raises:
        InvalidEvent: it is about an object, but does not say which.
    """
    kind = event.attributes.get("eventType", "OBJECT_FINALIZE")
    data = event.payload if isinstance(event.payload, dict) else {}
    if kind != "OBJECT_FINALIZE":
        return None
    bucket = event.attributes.get("bucketId") or data.get("bucket")
    name = event.attributes.get("objectId") or data.get("name")
    generation = event.attributes.get("objectGeneration") or data.get("generation")
    if not (isinstance(bucket, str) and isinstance(name, str) and bucket and name):
        raise InvalidEvent("the event names no bucket and object (`bucket` and `name`, or `bucketId` and `objectId`)")
    size = str(data.get("size", "0"))
    return StoredObject(bucket, name, str(generation or "0"), int(size) if size.isdecimal() else 0)


def bucket_notification(stored: Mapping[str, Any]) -> Message:
    """Return what a bucket tells its topic of a finished object; *stored* is the object as Cloud Storage describes it.

    Source: cloud.google.com/storage/docs/pubsub-notifications.
    """
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": stored["bucket"],
        "objectId": stored["name"],
        "objectGeneration": str(stored["generation"]),
    }
    return Message("uploads", dict(stored), attributes)


def _is_structured(headers: Mapping[str, str]) -> bool:
    kind = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
    return kind.startswith("application/cloudevents")


def _read_cloud_event(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    try:
        return from_http(dict(headers), body)
    except (GenericException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidEvent(f"not a readable CloudEvent: {type(error).__name__}") from None


def _json_object(body: bytes | str) -> Json:
    try:
        data = parse_json(body)
    except ValueError as error:
        raise InvalidEvent(f"the body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise InvalidEvent('the body must be a JSON object: a Pub/Sub push {"message": …} or a CloudEvent')
    return data


def _from_data(data: Any, *, message_id: str, size_bytes: int) -> Event:
    """Return the event in a CloudEvent's data or in a plain body."""
    if not isinstance(data, dict):
        raise InvalidEvent("the event's data must be a JSON object")
    if "message" in data:
        return _from_message(data, message_id)
    if "bucket" in data and "name" in data:
        identity = f"{data['bucket']}/{data['name']}#{data.get('generation', 0)}"
        return Event(data, message_id or identity, size_bytes=size_bytes)
    if "customData" in data:
        payload, problem = _payload(str(data["customData"]))
        return Event(payload, message_id or "scheduler", problem=problem, size_bytes=size_bytes)
    if not message_id:
        raise InvalidEvent('neither a Pub/Sub push ({"message": {"data": …}}) nor a CloudEvent (ce-* headers)')
    return Event(data, message_id, size_bytes=size_bytes)


def _from_message(data: Json, event_id: str) -> Event:
    message = data["message"]
    if not isinstance(message, dict):
        raise InvalidEvent('"message" must be a JSON object with "data" or "attributes"')
    attributes = message.get("attributes") or {}
    encoded = message.get("data")
    if not isinstance(attributes, dict) or not isinstance(encoded, str | None):
        raise InvalidEvent('"message.data" must be base64 text and "message.attributes" an object')
    payload, problem = _payload(encoded) if encoded else _from_attributes(attributes)
    identity = message.get("messageId") or message.get("message_id") or event_id or _digest(message)
    attempt = data.get("deliveryAttempt")
    return Event(
        payload,
        str(identity),
        {str(k): str(v) for k, v in attributes.items()},
        problem,
        len(encoded or "") * 3 // 4,
        attempt if isinstance(attempt, int) and attempt > 0 else 0,
    )


def _payload(encoded: str) -> tuple[Any, str | None]:
    try:
        return parse_json(base64.b64decode(encoded, validate=True)), None
    except binascii.Error:
        return None, "the message's data is not base64"
    except ValueError as error:
        return None, f"the message's data is not JSON: {error}"


def _from_attributes(attributes: Json) -> tuple[Any, str | None]:
    """A message without data is its attributes: enough for a tick, a baton or a short request."""
    values = {name: value for name, value in attributes.items() if not str(name).startswith("googclient_")}
    if not values:
        return None, "the message has neither data nor attributes"
    if str(values.get("seq", "")).isdecimal():
        values["seq"] = int(values["seq"])
    return values, None


def _digest(message: Json) -> str:
    return hashlib.sha256(json.dumps(message, sort_keys=True, default=str).encode()).hexdigest()[:32]
