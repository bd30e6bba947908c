"""What each way in which a call of Vertex AI can fail means for the money; a create is sent once in all of them."""

import threading

import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import (
    AccountRefused,
    Ambiguous,
    Blocked,
    InvalidCall,
    ModelGone,
    RateLimited,
    Unavailable,
)
from shared.ports import Pending
from shared.providers.vertex import VertexProvider
from shared.providers.vertex_errors import asking, operation_fault, paid
from tests.http_server import Handler, serving
from tests.providers.vertex_server import IMAGE, PREFIX, PROMPT, TEXT, VIDEO, call, recording

CREATES = {
    "image": ("gemini-3.1-flash-image", IMAGE),
    "text": ("gemini-3.5-flash-lite", TEXT),
    "veo": ("veo-3.1-generate-001", VIDEO),
    "omni": ("gemini-omni-1.1-flash-preview", VIDEO),
    "imagen": ("imagen-4.0-generate-001", IMAGE),
}
STATUSES = [
    (400, InvalidCall),
    (401, AccountRefused),
    (402, AccountRefused),
    (403, AccountRefused),
    (404, ModelGone),
    (408, Ambiguous),
    (409, InvalidCall),
    (410, ModelGone),
    (413, InvalidCall),
    (429, RateLimited),
    (499, InvalidCall),
    (500, Unavailable),
    (502, Ambiguous),
    (503, Unavailable),
    (504, Ambiguous),
    (201, Ambiguous),
    (204, Ambiguous),
]
HANDLES = {
    "veo": {
        "api": "veo",
        "operation": "projects/p1/locations/us-central1/publishers/google/models/veo-3.1-generate-001/operations/op1",
        "location": "us-central1",
        "prefix": "",
        "seconds": 8,
    },
    "omni": {"api": "omni", "interaction": "int1", "location": "global", "prefix": ""},
}


@pytest.fixture(scope="module")
def one_wire(tmp_path_factory):
    with recording(FilesystemBlobStore(tmp_path_factory.mktemp("blobs"))) as wire:
        yield wire


@pytest.fixture
def wire(one_wire):
    yield one_wire
    one_wire.reset()


def created(api, **changes):
    model, params = CREATES[api]
    return call(model, params, **changes)


def error_body(status, message="what is wrong"):
    return {"error": {"code": status, "message": message, "status": "SOME_STATUS"}}


@pytest.mark.parametrize("status, fault", STATUSES)
@pytest.mark.parametrize("api", CREATES)
def test_a_status_means_the_same_for_every_create(wire, api, status, fault):
    wire.answers(error_body(status), status)
    with pytest.raises(fault) as caught:
        wire.provider.start(created(api))
    assert type(caught.value) is fault
    assert len(wire.sent) == 1


@pytest.mark.parametrize("status, fault", [(429, RateLimited), (503, Unavailable)])
@pytest.mark.parametrize("api", CREATES)
def test_a_wait_that_the_vendor_asks_for_is_kept(wire, api, status, fault):
    wire.answers(error_body(status), status, Retry_After="17")
    with pytest.raises(fault) as caught:
        wire.provider.start(created(api))
    assert caught.value.retry_after_s == 17
    assert len(wire.sent) == 1


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"[]", b'[{"error": {"message": "m"}}]', b"", b"null"])
@pytest.mark.parametrize("api", CREATES)
def test_an_error_whose_body_is_no_json_object_is_read_by_its_status(wire, api, body):
    wire.answers(body, 503)
    with pytest.raises(Unavailable):
        wire.provider.start(created(api))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"text"', b'{"candidates": 3, "name": {}, "id": [], "steps": 7}'])
@pytest.mark.parametrize("api", ["image", "text", "veo", "omni"])
def test_an_accepted_call_whose_answer_cannot_be_read_is_ambiguous(wire, api, body):
    wire.answers(body)
    with pytest.raises(Ambiguous):
        wire.provider.start(created(api))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("body", [b"<html>", b'{"predictions": 3}', b'{"predictions": [{"mimeType": 3}]}'])
def test_pictures_of_imagen_that_cannot_be_read_are_ambiguous(wire, body):
    wire.answers(body)
    with pytest.raises(Ambiguous):
        wire.provider.start(created("imagen"))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("how", ["drop", "hang"])
@pytest.mark.parametrize("api", CREATES)
def test_a_create_whose_answer_is_lost_is_ambiguous_and_sent_once(wire, api, how):
    wire.loses(how)
    with pytest.raises(Ambiguous, match="answer was lost"):
        wire.provider.start(created(api, timeout_s=0.2))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("api", ["image", "omni"])
def test_an_answer_that_trickles_is_given_up_in_time(tmp_path, api):
    over = threading.Event()

    class Trickle(Handler):
        def respond(self):
            self.body()
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b" ")
                if over.wait(0.05):
                    return

    with serving(Trickle) as url:
        provider = VertexProvider("p1", FilesystemBlobStore(tmp_path), None, base_url=url)
        try:
            with pytest.raises(Ambiguous, match="ReadTimeout"):
                provider.start(created(api, timeout_s=0.2))
        finally:
            over.set()
            provider.close()


@pytest.mark.parametrize("api", CREATES)
def test_a_vendor_that_is_not_reached_accepted_nothing(tmp_path, api):
    with serving(Handler) as url:
        pass
    provider = VertexProvider("p1", FilesystemBlobStore(tmp_path), None, base_url=url)
    with pytest.raises(Unavailable, match="not reached"):
        provider.start(created(api))
    provider.close()


@pytest.mark.parametrize(
    "message",
    [
        "The prompt contains sensitive words that violate Google's Responsible AI practices.",
        "The input image violates Vertex AI's usage guidelines.",
        "Try again. Support codes: 58061214",
        "Blocked by safety filters",
    ],
)
@pytest.mark.parametrize("api", CREATES)
def test_a_refusal_that_speaks_of_safety_is_a_block(wire, api, message):
    wire.answers(error_body(400, message), 400)
    with pytest.raises(Blocked):
        wire.provider.start(created(api))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("message", ["Invalid value at 'safety_settings[0].threshold'", "Unknown safety setting"])
def test_a_refusal_of_a_safety_setting_is_no_block(wire, message):
    wire.answers(error_body(400, message), 400)
    with pytest.raises(InvalidCall):
        wire.provider.start(created("text"))


@pytest.mark.parametrize("api", CREATES)
def test_the_vendors_words_are_told_without_ours(wire, api):
    wire.answers(error_body(400, "fps must be 24"), 400)
    with pytest.raises(InvalidCall, match="vertex answered 400: fps must be 24"):
        wire.provider.start(created(api))
    wire.replies.clear()
    wire.answers(error_body(400, f"bad prompt: {PROMPT.upper()}"), 400)
    with pytest.raises(InvalidCall, match=r"^vertex answered 400$"):
        wire.provider.start(created(api))


@pytest.mark.parametrize("private", ["system", "negative_prompt", "response_schema"])
def test_no_text_of_the_request_is_repeated(wire, private):
    secret = {"type": "object", "title": "our very own launch plan"}
    value = secret if private == "response_schema" else "our very own launch plan"
    wire.answers(error_body(400, "not allowed: our very own launch plan"), 400)
    with pytest.raises(InvalidCall, match=r"^vertex answered 400$"):
        wire.provider.start(call("gemini-3.5-flash-lite", {**TEXT, private: value}))


@pytest.mark.parametrize("api", ["veo", "omni"])
def test_what_cannot_be_written_as_a_request_is_invalid_or_goes_as_it_is(wire, api):
    wire.answers({"name": "operations/x", "id": "int1", "status": "queued"})
    try:
        wire.provider.start(call(CREATES[api][0], {**VIDEO, "prompt": "half \ud83d a pair"}))
    except InvalidCall:
        assert wire.sent == []


@pytest.mark.parametrize(
    "code, message, fault",
    [
        (1, "cancelled", Unavailable),
        (2, "unknown", Unavailable),
        (3, "bad aspect ratio", InvalidCall),
        (3, "violates usage guidelines. Support codes: 58061214", Blocked),
        (4, "deadline", Unavailable),
        (5, "no such bucket", InvalidCall),
        (7, "no access to the bucket", AccountRefused),
        (8, "exhausted", RateLimited),
        (9, "precondition", InvalidCall),
        (13, "internal", Unavailable),
        (14, "unavailable", Unavailable),
        (16, "unauthenticated", AccountRefused),
    ],
)
def test_the_error_of_an_operation_is_read_by_its_code(code, message, fault):
    told = operation_fault(code, f"{PROMPT}: {message}")
    assert type(told) is fault
    assert PROMPT not in str(told)
    assert ("58061214" in str(told)) == ("58061214" in message)


@pytest.mark.parametrize("status", [400, 401, 403, 408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("api", HANDLES)
def test_an_operation_that_cannot_be_asked_after_is_still_pending(wire, api, status):
    wire.answers(error_body(status), status, Retry_After="33")
    assert wire.provider.poll(HANDLES[api]) == Pending(HANDLES[api], 33)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"done": true, "response": {"videos": 3}, "status": {}}', b"7"])
@pytest.mark.parametrize("api", HANDLES)
def test_an_operation_whose_state_cannot_be_read_is_asked_after_again(wire, api, body):
    wire.answers(body)
    found = wire.provider.poll(HANDLES[api])
    assert isinstance(found, Pending)
    assert found.handle == HANDLES[api]


@pytest.mark.parametrize("api", HANDLES)
def test_an_operation_is_pending_while_there_is_no_connection(wire, api):
    wire.loses("drop")
    assert wire.provider.poll(HANDLES[api]) == Pending(HANDLES[api], 10)


@pytest.mark.parametrize("api", HANDLES)
def test_an_operation_that_the_vendor_has_forgotten_is_ambiguous(wire, api):
    wire.answers(error_body(404), 404)
    with pytest.raises(Ambiguous, match="no longer knows"):
        wire.provider.poll(HANDLES[api])


@pytest.mark.parametrize("api", HANDLES)
def test_an_operation_that_the_vendor_has_forgotten_is_looked_for_by_its_prefix(wire, api):
    wire.answers(error_body(404), 404)
    found = wire.provider.poll({**HANDLES[api], "prefix": PREFIX})
    assert isinstance(found, Pending)
    assert found.handle == {"api": api, "watch": PREFIX, "since": "2026-11-21T12:00:00.000000Z"}


@pytest.mark.parametrize(
    "error, fault",
    [
        (DefaultCredentialsError("none"), AccountRefused),
        (RefreshError("revoked"), AccountRefused),
        (RefreshError("busy", retryable=True), Unavailable),
        (TransportError("no network", retryable=True), Unavailable),
    ],
)
def test_a_call_without_a_token_was_never_made(error, fault):
    with pytest.raises(fault), paid(""):
        raise error


def test_a_bug_of_ours_is_no_fault_of_the_vendor():
    with pytest.raises(KeyError), paid(""):
        raise KeyError("prompt")
    with pytest.raises(KeyError), asking():
        raise KeyError("operation")


def test_missing_credentials_are_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    provider = VertexProvider("p1", FilesystemBlobStore(tmp_path), None)
    for api in CREATES:
        with pytest.raises(AccountRefused, match="needs Google Cloud credentials: run `gcloud auth"):
            provider.start(created(api))
    provider.close()
