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
from shared.providers.vertex_errors import Asked, asking, operation_fault, paid
from tests.http_server import Handler, serving
from tests.providers.vertex_server import IMAGE, PREFIX, PROMPT, TEXT, VIDEO, CloudBlobs, call, recording

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
    (408, Ambiguous),
    (409, InvalidCall),
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
    with recording(CloudBlobs(tmp_path_factory.mktemp("blobs"))) as wire:
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


def with_an_input(api, uri="gs://theirs/models/3d-model.png"):
    model, params = CREATES[api]
    name = {"image": "reference_images", "text": "inputs"}.get(api, "image")
    return call(model, {**params, name: uri if name == "image" else [uri]})


def gone(model):
    resource = f"projects/p1/locations/global/publishers/google/models/{model}"
    return (
        f"Publisher Model `{resource}` was not found or your project does not have access to it. Please ensure you are "
        "using a valid model version. For more information, see: "
        "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions"
    )


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("api", CREATES)
def test_a_model_that_the_vendor_calls_gone_is_gone_with_and_without_input_files(wire, api, status):
    wire.answers(error_body(status, gone(CREATES[api][0])), status)
    for wanted in (created(api), *([with_an_input(api)] if api != "imagen" else [])):
        with pytest.raises(ModelGone):
            wire.provider.start(wanted)


@pytest.mark.parametrize("words", ["{} is not found for API version v1", "Model `{}` was not found or is retired."])
def test_a_model_that_is_gone_by_its_name_is_gone(wire, words):
    wire.answers(error_body(404, words.format("gemini-3.5-flash-lite")), 404)
    with pytest.raises(ModelGone):
        wire.provider.start(with_an_input("text"))


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(
    "message",
    [
        "No such object: theirs/models/3d-model.png",
        "No valid object was found at gs://theirs/models/gemini-3.5-flash-lite.png",
        "The specified bucket does not exist.",
        "Requested entity was not found.",
        "what is wrong",
        "",
    ],
)
@pytest.mark.parametrize("api", ["image", "text", "veo", "omni"])
def test_an_input_that_is_not_found_is_no_end_of_the_model(wire, api, message, status):
    wire.answers(error_body(status, message), status)
    with pytest.raises(InvalidCall):
        wire.provider.start(with_an_input(api))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": {"message": "Requested entity was not found."}}'])
@pytest.mark.parametrize("api", CREATES)
def test_where_nothing_is_said_to_be_missing_it_is_the_model_unless_there_are_input_files(wire, api, body):
    wire.answers(body, 404)
    with pytest.raises(ModelGone):
        wire.provider.start(created(api))
    if api != "imagen":
        with pytest.raises(InvalidCall):
            wire.provider.start(with_an_input(api))


@pytest.mark.parametrize(
    "message", ["The specified bucket does not exist. See https://cloud.google.com/models", "what is wrong"]
)
@pytest.mark.parametrize("api", CREATES)
def test_something_else_that_is_missing_is_no_end_of_the_model(wire, api, message):
    wire.answers(error_body(404, message), 404)
    with pytest.raises(InvalidCall):
        wire.provider.start(created(api))


@pytest.mark.parametrize(
    "message",
    [
        "service-1@gcp-sa-aiplatform.iam.gserviceaccount.com does not have storage.objects.get access to the object.",
        "Permission denied while accessing input file. Learn more about providing the appropriate credentials.",
        "The service agent cannot read from Cloud Storage",
        "No access to the bucket",
        "Permission denied: gs://theirs/a.png",
    ],
)
@pytest.mark.parametrize("api", ["image", "text", "veo", "omni"])
def test_an_input_that_the_vendor_may_not_read_says_nothing_against_our_account(wire, api, message):
    wire.answers(error_body(403, message), 403)
    with pytest.raises(InvalidCall):
        wire.provider.start(with_an_input(api))
    with pytest.raises(AccountRefused):  # then it is our own bucket
        wire.provider.start(created(api))


@pytest.mark.parametrize("api", ["image", "text", "veo", "omni"])
def test_a_call_that_our_account_may_not_make_is_no_fault_of_its_input(wire, api):
    message = "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/p1'"
    wire.answers(error_body(403, message), 403)
    with pytest.raises(AccountRefused):
        wire.provider.start(with_an_input(api))


@pytest.mark.parametrize(
    "status, fault", [(301, Unavailable), (303, Ambiguous), (307, Unavailable), (308, Unavailable)]
)
@pytest.mark.parametrize("api", CREATES)
def test_a_create_is_never_sent_on_to_another_address(wire, tmp_path, api, status, fault):
    with recording(FilesystemBlobStore(tmp_path)) as elsewhere:
        elsewhere.answers({})
        other = str(elsewhere.provider._clients._base_url)
        wire.answers(error_body(status), status, Location=f"{other}v1/elsewhere")
        with pytest.raises(fault):
            wire.provider.start(created(api))
        assert elsewhere.sent == []
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
        (7, "Permission denied while accessing input file", InvalidCall),
        (7, "the service agent does not have storage.objects.get access", InvalidCall),
        (7, "the service agent does not have storage.objects.create access", AccountRefused),
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
    with pytest.raises(fault), paid(Asked()):
        raise error


def test_a_bug_of_ours_is_no_fault_of_the_vendor():
    with pytest.raises(KeyError), paid(Asked()):
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
