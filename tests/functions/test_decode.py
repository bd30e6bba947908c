import base64
import json

import pytest
from cloudevents.http import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from functions._decode import Event, StoredObject, decode_cloud_event, decode_http, stored_object
from shared.errors import InvalidEvent

REQUEST = {"kind": "image", "prompt": "A red kite over the dunes"}
DATA = base64.b64encode(json.dumps(REQUEST).encode()).decode()
BINARY = {
    "ce-id": "11",
    "ce-specversion": "1.0",
    "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
    "ce-source": "//pubsub.googleapis.com/projects/p/topics/requests",
    "content-type": "application/json",
}

# Bodies from github.com/googleapis/google-cloudevents, testdata/google/events/cloud/{pubsub,storage,scheduler}/v1
MESSAGE_TEXT = {
    "subscription": "projects/my-project/subscriptions/my-subscription",
    "message": {
        "@type": "type.googleapis.com/google.pubsub.v1.PubsubMessage",
        "attributes": {"attr1": "attr1-value"},
        "data": "dGVzdCBtZXNzYWdlIDM=",
        "messageId": "message-id",
        "publishTime": "2021-02-05T04:06:14.109Z",
    },
}
MESSAGE_BINARY = {
    "subscription": "projects/my-project/subscriptions/my-subscription",
    "message": {
        "@type": "type.googleapis.com/google.pubsub.v1.PubsubMessage",
        "data": "AQIDBA==",
        "messageId": "message-id",
        "message_id": "message-id",
        "publishTime": "2021-02-05T04:06:14.109Z",
        "publish_time": "2021-02-05T04:06:14.109Z",
    },
}
STORED = {
    "bucket": "my-bucket",
    "contentType": "text/plain",
    "generation": "1637874272256630",
    "metageneration": "1",
    "name": "my-file.txt",
    "size": "13",
    "timeCreated": "2021-11-25T21:04:32.279Z",
}
STORED_WITH_NUMBERS = {"bucket": "sample-bucket", "name": "MyFile", "generation": 96883251, "size": 0, "metadata": {}}
SCHEDULER = {"customData": "my base64 data"}


def post(body: object, headers: dict[str, str] | None = None) -> Event:
    return decode_http(headers or {"content-type": "application/json"}, json.dumps(body).encode())


def push(data: str | None = DATA, **message: object) -> dict[str, object]:
    return {"message": {"messageId": "m1", **({"data": data} if data else {}), **message}, "subscription": "s"}


def test_a_plain_push_carries_payload_identity_attributes_and_delivery_count() -> None:
    event = post({**push(attributes={"k": "v"}), "deliveryAttempt": 3})
    assert (event.payload, event.message_id, event.attributes, event.attempt) == (REQUEST, "m1", {"k": "v"}, 3)


def test_a_binary_cloud_event_around_a_message_is_the_same_event() -> None:
    assert post(push(), BINARY) == post(push())


def test_a_structured_cloud_event_around_a_message_is_the_same_event() -> None:
    body = {
        "specversion": "1.0",
        "id": "11",
        "type": BINARY["ce-type"],
        "source": BINARY["ce-source"],
        "datacontenttype": "application/json",
        "data": push(),
    }
    assert post(body, {"content-type": "application/cloudevents+json"}) == post(push())


def test_a_cloud_event_object_is_decoded_without_http() -> None:
    event = CloudEvent({"type": BINARY["ce-type"], "source": "//x", "id": "9"}, push())
    assert decode_cloud_event(event).payload == REQUEST


def test_a_push_of_attributes_alone_has_them_as_its_payload() -> None:
    event = post(push(None, attributes={"job_id": "j", "seq": "4", "googclient_schemaencoding": "JSON"}))
    assert event.payload == {"job_id": "j", "seq": 4}
    assert event.problem is None


def test_a_push_with_neither_data_nor_attributes_says_so() -> None:
    assert post(push(None)).problem == "the message has neither data nor attributes"


@pytest.mark.parametrize("body", [MESSAGE_TEXT, MESSAGE_BINARY])
def test_the_public_pubsub_samples_decode_though_their_data_is_not_json(body: dict[str, object]) -> None:
    event = post(body, BINARY)
    assert event.message_id == "message-id"
    assert event.payload is None
    assert event.problem is not None
    assert "not JSON" in event.problem


def test_the_public_storage_samples_name_their_object() -> None:
    headers = {**BINARY, "ce-type": "google.cloud.storage.object.v1.finalized", "ce-subject": "objects/my-file.txt"}
    assert stored_object(post(STORED, headers)) == StoredObject("my-bucket", "my-file.txt", "1637874272256630", 13)
    assert stored_object(post(STORED_WITH_NUMBERS, headers)) == StoredObject("sample-bucket", "MyFile", "96883251", 0)


def test_a_storage_notification_through_pubsub_names_its_object() -> None:
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "b",
        "objectId": "a/b.json",
        "objectGeneration": "7",
    }
    data = base64.b64encode(json.dumps(STORED).encode()).decode()
    assert stored_object(post(push(data, attributes=attributes))) == StoredObject("b", "a/b.json", "7", 13)


def test_a_storage_notification_of_a_deletion_is_no_upload() -> None:
    attributes = {"eventType": "OBJECT_DELETE", "bucketId": "b", "objectId": "a.json"}
    assert stored_object(post(push(None, attributes=attributes))) is None


def test_the_public_scheduler_sample_decodes() -> None:
    headers = {**BINARY, "ce-type": "google.cloud.scheduler.job.v1.executed"}
    assert post(SCHEDULER, headers).message_id == "11"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b'{"message": 3}',
        b'{"message": {"data": 3}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_event_is_told_what_was_wrong(body: bytes) -> None:
    with pytest.raises(InvalidEvent) as error:
        decode_http({"content-type": "application/json"}, body)
    assert len(str(error.value)) > 15


@pytest.mark.parametrize("header", ["ce-specversion", "ce-source", "ce-id"])
def test_a_cloud_event_without_a_required_attribute_is_refused(header: str) -> None:
    with pytest.raises(InvalidEvent):
        post(push(), {k: v for k, v in BINARY.items() if k != header})


def test_a_message_whose_data_is_not_base64_says_so() -> None:
    assert post(push("***")).problem == "the message's data is not base64"


@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/cloudevents+json", "text/plain", ""]))
def test_no_body_raises_anything_but_invalid_event(body: bytes, kind: str) -> None:
    for headers in ({"content-type": kind}, {**BINARY, "content-type": kind}):
        try:
            decode_http(headers, body)
        except InvalidEvent:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["message", "data", "attributes", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_no_json_raises_anything_but_invalid_event(body: object) -> None:
    for headers in (None, BINARY):
        try:
            post(body, headers)
        except InvalidEvent:
            continue


@pytest.mark.parametrize("told", [{}, {"deliveryAttempt": 0}, {"deliveryAttempt": -1}, {"deliveryAttempt": "2"}])
def test_a_push_that_does_not_count_deliveries_may_be_any_of_them(told: dict[str, object]) -> None:
    assert post({**push(), **told}).attempt == 0
