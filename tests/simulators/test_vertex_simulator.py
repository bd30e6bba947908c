"""Vertex AI, simulated, as Google's own client sees it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import av
import httpx
import jsonschema
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from PIL import Image

from shared.clock import ManualClock
from shared.simulators.cloud_storage import CloudStorage
from shared.simulators.vendors import Vendors

TEXT, LITE, PICTURE = "gemini-3.5-flash", "gemini-3.1-flash-lite", "gemini-3.1-flash-image"
VEO, OMNI, IMAGEN = "veo-3.1-generate-001", "gemini-omni-1.2-flash", "imagen-4.0-generate-001"
PARENT = "/v1/projects/p1/locations"
WITH_TOKEN = {"Authorization": "Bearer any"}
PATIENCE_S = 30

Client = Callable[..., genai.Client]


@pytest.fixture
def vendors(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendors]:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with Vendors(clock=clock) as running:
        yield running


@pytest.fixture
def client(vendors: Vendors) -> Iterator[Client]:
    opened: list[genai.Client] = []

    def connect(location: str = "global", api_version: str = "v1") -> genai.Client:
        options = types.HttpOptions(
            base_url=vendors.url,
            api_version=api_version,
            timeout=PATIENCE_S * 1000,
            client_args={"verify": False},  # certificates take long to read, and are not needed here
        )
        found = genai.Client(
            enterprise=True,
            project="p1",
            location=location,
            credentials=Credentials(token="any"),
            http_options=options,
        )
        opened.append(found)
        return found

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def web(vendors: Vendors) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=vendors.url, headers=WITH_TOKEN, timeout=PATIENCE_S, verify=False) as opened:
        yield opened


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStorage]:
    with CloudStorage() as running:
        running.create_bucket("out")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.url)
        yield running


def write(client: genai.Client, model: str = TEXT, **config: Any) -> types.GenerateContentResponse:
    return client.models.generate_content(
        model=model, contents="Write about a red kite", config=types.GenerateContentConfig(**config)
    )


def paint(client: genai.Client, model: str = PICTURE, **image: Any) -> types.GenerateContentResponse:
    return write(client, model, response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(**image))


def pictures(answer: types.GenerateContentResponse, *, thoughts: bool = False) -> list[bytes]:
    parts = answer.parts or []
    return [part.inline_data.data for part in parts if part.inline_data and bool(part.thought) == thoughts]


def stored(storage: CloudStorage, uri: str) -> bytes:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    answer = httpx.get(f"{storage.url}/download/storage/v1/b/{bucket}/o/{name.replace('/', '%2F')}?alt=media")
    assert answer.status_code == 200
    return answer.content


def seconds_of(clip: bytes) -> float:
    with av.open(io.BytesIO(clip)) as container:
        return sum(1 for _ in container.decode(video=0)) / 24


# ---------------------------------------------------------------- generateContent: text


def test_a_text_comes_with_honest_token_counts(client: Client, vendors: Vendors):
    answer = write(client(), labels={"job": "j1"}, system_instruction="be brief")
    usage = answer.usage_metadata
    assert answer.candidates[0].finish_reason == "STOP"
    assert usage.candidates_token_count == -(-len(answer.text) // 4)
    assert usage.prompt_token_count == -(-len("Write about a red kitebe brief") // 4)
    assert usage.total_token_count == sum(
        (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count)
    )
    assert (answer.model_version, usage.traffic_type) == (TEXT, "ON_DEMAND")
    (call,) = vendors.calls()
    assert call["labels"] == {"job": "j1"}
    assert call["billed"] == {
        "input_token": usage.prompt_token_count,
        "output_token": usage.candidates_token_count + usage.thoughts_token_count,
    }


def test_a_text_over_the_limit_is_cut_off_there(client: Client, vendors: Vendors):
    answer = write(client(), max_output_tokens=20, thinking_config=types.ThinkingConfig(thinking_budget=0))
    assert answer.candidates[0].finish_reason == "MAX_TOKENS"
    assert answer.usage_metadata.candidates_token_count == 20
    assert vendors.calls()[0]["billed"]["output_token"] == 20


def test_thoughts_can_use_up_the_whole_limit(client: Client, vendors: Vendors):
    answer = write(client(), max_output_tokens=30, thinking_config=types.ThinkingConfig(thinking_level="HIGH"))
    assert answer.candidates[0].finish_reason == "MAX_TOKENS"
    assert answer.parts is None
    assert answer.usage_metadata.thoughts_token_count == 30
    assert vendors.calls()[0]["billed"]["output_token"] == 30


def test_thoughts_are_shown_when_asked_for(client: Client):
    config = types.ThinkingConfig(include_thoughts=True, thinking_level="LOW")
    assert [bool(part.thought) for part in write(client(), thinking_config=config).parts] == [True, False]


SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["title", "stars"],
}


def test_a_json_schema_is_obeyed(client: Client):
    answer = write(client(), response_mime_type="application/json", response_json_schema=SCHEMA)
    jsonschema.validate(json.loads(answer.text), SCHEMA)


def test_googles_own_form_of_a_schema_is_obeyed(client: Client):
    own = types.Schema(
        type="OBJECT", properties={"n": types.Schema(type="INTEGER")}, required=["n"], property_ordering=["n"]
    )
    answer = write(client(), response_mime_type="application/json", response_schema=own)
    assert isinstance(json.loads(answer.text)["n"], int)


def test_a_platform_named_in_the_system_text_sets_the_length(client: Client):
    answer = write(client(), system_instruction="Write one post for bluesky.")
    assert len(answer.text) <= 300


@pytest.mark.parametrize("fault", ["corrupt", "partial"])
def test_a_spoiled_text_is_half_of_it(client: Client, vendors: Vendors, fault: str):
    config = {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
    whole = write(client(), **config).text
    vendors.fail(fault)
    answer = write(client(), **config)
    assert len(answer.text) < len(whole)
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)
    assert answer.candidates[0].finish_reason == ("STOP" if fault == "corrupt" else "MAX_TOKENS")


# ---------------------------------------------------------------- generateContent: pictures


@pytest.mark.parametrize(
    ("asked", "size", "tokens"),
    [
        ({"aspect_ratio": "1:1", "image_size": "512"}, (512, 512), 747),
        ({"aspect_ratio": "16:9", "image_size": "1K", "output_mime_type": "image/jpeg"}, (1360, 768), 1120),
    ],
)
def test_a_picture_has_the_size_and_tokens_asked_for(
    client: Client, vendors: Vendors, asked: dict[str, str], size: tuple[int, int], tokens: int
):
    answer = paint(client(), **asked)
    (data,) = pictures(answer)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == size
    (detail,) = answer.usage_metadata.candidates_tokens_details
    assert (detail.modality, detail.token_count) == ("IMAGE", tokens)
    assert vendors.calls()[0]["billed"] == {
        "input_token": answer.usage_metadata.prompt_token_count,
        "output_token": answer.usage_metadata.thoughts_token_count,
        "image_token": tokens,
    }


def test_drafts_come_as_thoughts_sometimes(client: Client):
    connected = client()
    answers = [write(connected, PICTURE, seed=n, image_config=types.ImageConfig(image_size="512")) for n in range(12)]
    drafts = [len(pictures(answer, thoughts=True)) for answer in answers]
    assert set(drafts) == {0, 1}
    assert all(len(pictures(answer)) == 1 for answer in answers)


def test_a_picture_that_does_not_fit_the_limit_is_not_made(client: Client, vendors: Vendors):
    answer = write(client(), PICTURE, max_output_tokens=600)
    assert answer.candidates[0].finish_reason == "MAX_TOKENS"
    assert pictures(answer) == []
    assert "image_token" not in vendors.calls()[0]["billed"]


def test_a_blocked_prompt_has_no_candidates_and_bills_its_input(client: Client, vendors: Vendors):
    vendors.fail("blocked_prompt")
    answer = paint(client())
    assert answer.candidates is None
    assert answer.prompt_feedback.block_reason == "PROHIBITED_CONTENT"
    (call,) = vendors.calls()
    assert (call["state"], call["billed"]) == ("blocked", {"input_token": answer.usage_metadata.prompt_token_count})


@pytest.mark.parametrize(
    ("model", "fault", "options", "reason"),
    [
        (PICTURE, "blocked_output", {}, "IMAGE_SAFETY"),
        (PICTURE, "filtered", {}, "IMAGE_PROHIBITED_CONTENT"),
        (PICTURE, "blocked_output", {"reason": "NO_IMAGE"}, "NO_IMAGE"),
        (TEXT, "blocked_output", {}, "SAFETY"),
        (TEXT, "blocked_output", {"reason": "RECITATION"}, "RECITATION"),
    ],
)
def test_a_blocked_output_has_a_reason_and_no_content(
    client: Client, vendors: Vendors, model: str, fault: str, options: dict[str, str], reason: str
):
    vendors.fail(fault, **options)
    answer = write(client(), model)
    assert answer.candidates[0].content is None
    assert answer.candidates[0].finish_reason == reason
    assert vendors.calls()[0]["billed"].keys() == {"input_token"}


def test_a_refusal_is_words_in_place_of_the_picture(client: Client, vendors: Vendors):
    vendors.fail("refusal")
    answer = paint(client())
    assert answer.candidates[0].finish_reason == "STOP"
    assert pictures(answer) == []
    assert "can't" in answer.text
    assert "image_token" not in vendors.calls()[0]["billed"]


def test_a_corrupt_picture_does_not_decode_and_is_billed(client: Client, vendors: Vendors):
    vendors.fail("corrupt")
    (data,) = pictures(paint(client()))
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(data))
    assert vendors.calls()[0]["billed"]["image_token"] == 1120


# ---------------------------------------------------------------- errors


def test_errors_are_googles(client: Client, vendors: Vendors):
    vendors.fail("rate_limited", retry_after_s=7)
    with pytest.raises(errors.ClientError) as caught:
        write(client())
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert caught.value.response.headers["retry-after"] == "7"
    vendors.fail("unavailable")
    with pytest.raises(errors.ServerError) as failed:
        write(client())
    assert (failed.value.code, failed.value.status) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.0-flash-lite", "gemini-omni-1.2-flash", "llama"])
def test_a_retired_or_unknown_model_is_not_found(client: Client, vendors: Vendors, model: str):
    with pytest.raises(errors.ClientError) as caught:
        write(client(), model)
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    assert f"models/{model}` was not found" in caught.value.message
    assert vendors.calls() == []


def test_a_model_that_a_plan_retires_is_not_found(clock: ManualClock):
    url = f"{PARENT}/global/publishers/google/models/{TEXT}:generateContent"
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    with Vendors(clock=clock, faults={"retired_models": [TEXT]}) as vendors:
        answer = httpx.post(vendors.url + url, json=body, headers=WITH_TOKEN)
        assert answer.status_code == 404
        assert answer.json()["error"]["status"] == "NOT_FOUND"
        assert httpx.post(vendors.url + url.replace(TEXT, LITE), json=body, headers=WITH_TOKEN).status_code == 200


def test_veo_is_not_in_the_global_location(client: Client):
    with pytest.raises(errors.ClientError) as caught:
        film(client("global"))
    assert caught.value.code == 404


GOOD = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
GENERATE = f"{PARENT}/global/publishers/google/models/{TEXT}:generateContent"
START = f"{PARENT}/us-central1/publishers/google/models/{VEO}:predictLongRunning"
SCENE = {"instances": [{"prompt": "a cat"}]}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (GENERATE, {}, "contents"),
        (GENERATE, {"contents": []}, "contents"),
        (GENERATE, {**GOOD, "number_of_images": 2}, "numberOfImages"),
        (GENERATE, {**GOOD, "generationConfig": {"temperature": "hot"}}, "temperature"),
        (GENERATE, {**GOOD, "generationConfig": {"responseModalities": ["IMAGE"]}}, "modalities"),
        (GENERATE, {**GOOD, "labels": {"Job": "J1"}}, "labels"),
        (GENERATE, {"contents": [{"parts": [{"inlineData": {"data": "§", "mimeType": "image/png"}}]}]}, "parts[0]"),
        (START, {}, "instances"),
        (START, {"instances": [{}]}, "prompt"),
        (START, {"instances": [{"prompt": "a"}, {"prompt": "b"}]}, "exactly one"),
        (START, {**SCENE, "parameters": {"durationSeconds": 5}}, "durationSeconds"),
        (START, {**SCENE, "parameters": {"storageUri": "/tmp"}}, "storageUri"),
        (START, {**SCENE, "parameters": {"personGeneration": "ALLOW_ADULT"}}, "personGeneration"),
        (START, {"instances": [{"prompt": "a", "lastFrame": {"gcsUri": "gs://b/x", "mimeType": "a/b"}}]}, "lastFrame"),
    ],
)
def test_a_malformed_request_is_refused(
    web: httpx.Client, vendors: Vendors, path: str, body: dict[str, Any], field: str
):
    answer = web.post(path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert field in error["message"]
    assert vendors.calls() == []


def test_what_is_no_json_is_refused(web: httpx.Client):
    assert web.post(GENERATE, content=b"[]").status_code == 400
    assert web.post(GENERATE, content=b"{").json()["error"]["status"] == "INVALID_ARGUMENT"


def test_keys_are_taken_in_either_spelling(web: httpx.Client):
    body = {
        "contents": [{"parts": [{"file_data": {"fileUri": "gs://b/x.png", "mime_type": "image/png"}}, {"text": "hi"}]}],
        "generation_config": {"max_output_tokens": 90, "thinkingConfig": {"thinking_budget": 0}},
    }
    usage = web.post(GENERATE, json=body).json()["usageMetadata"]
    assert usage["promptTokensDetails"][1] == {"modality": "IMAGE", "tokenCount": 1120}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", GENERATE),
        ("POST", GENERATE.replace(":generateContent", ":predict")),
        ("POST", GENERATE.replace(":generateContent", "")),
        ("POST", START.replace(VEO, TEXT)),
        ("GET", f"{PARENT}/us-central1/publishers/google/models/{VEO}/operations/1"),
        ("GET", "/v1beta1/projects/p1/locations/global/interactions/none"),
        ("GET", "/v1beta1/projects/p1/locations/global/interactions"),
    ],
)
def test_a_wrong_path_is_not_found(web: httpx.Client, method: str, path: str):
    answer = web.request(method, path, json=None if method == "GET" else GOOD)
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"


def test_without_a_token_nothing_is_answered(vendors: Vendors):
    answer = httpx.post(vendors.url + GENERATE, json=GOOD)
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


# ---------------------------------------------------------------- Veo


def film(client: genai.Client, **config: Any) -> types.GenerateVideosOperation:
    config = {"duration_seconds": 4} | config
    return client.models.generate_videos(
        model=VEO,
        source=types.GenerateVideosSource(prompt="a red kite"),
        config=types.GenerateVideosConfig(**config),
    )


def asked_after(client: genai.Client, operation: types.GenerateVideosOperation) -> types.GenerateVideosOperation:
    return client.operations.get(types.GenerateVideosOperation(name=operation.name))


def test_a_clip_is_written_to_cloud_storage(
    client: Client, vendors: Vendors, clock: ManualClock, storage: CloudStorage
):
    veo = client("us-central1")
    started = film(veo, output_gcs_uri="gs://out/j1/", labels={"job": "j1"}, number_of_videos=2)
    assert started.name.startswith(f"projects/p1/locations/us-central1/publishers/google/models/{VEO}/operations/")
    assert asked_after(veo, started).done is None
    clock.advance(10)
    ended = asked_after(veo, started)
    assert ended.done
    assert ended.response.rai_media_filtered_count == 0
    uris = [each.video.uri for each in ended.response.generated_videos]
    assert all(uri.startswith("gs://out/j1/") and uri.endswith(f"/sample_{n}.mp4") for n, uri in enumerate(uris))
    clips = [stored(storage, uri) for uri in uris]
    assert clips[0] != clips[1]
    assert seconds_of(clips[0]) == 4
    (call,) = vendors.calls()
    assert (call["labels"], call["billed"], call["state"]) == ({"job": "j1"}, {"second": 8}, "delivered")


def test_a_clip_without_a_place_comes_inline(client: Client, clock: ManualClock):
    veo = client("us-central1")
    started = film(veo)
    clock.advance(10)
    assert seconds_of(asked_after(veo, started).response.generated_videos[0].video.video_bytes) == 4


def test_an_operation_whose_answer_was_lost_still_writes_its_clip(
    client: Client, vendors: Vendors, clock: ManualClock, storage: CloudStorage
):
    vendors.fail("drop")
    with pytest.raises(httpx.HTTPError):
        film(client("us-central1"), output_gcs_uri="gs://out/lost/")
    assert vendors.calls()[0]["state"] == "accepted"
    clock.advance(10)
    vendors.settle()
    found = httpx.get(f"{storage.url}/storage/v1/b/out/o?prefix=lost/").json()["items"]
    assert len(found) == 1
    assert (vendors.calls()[0]["state"], vendors.calls()[0]["billed"]) == ("delivered", {"second": 4})


@pytest.mark.parametrize(
    ("fault", "options", "code", "state"),
    [
        ("blocked_prompt", {}, 3, "blocked"),
        ("late_failure", {}, 13, "failed"),
        ("late_failure", {"code": 8}, 8, "failed"),
    ],
)
def test_a_failed_operation_has_a_grpc_code_and_costs_nothing(
    client: Client, vendors: Vendors, clock: ManualClock, fault: str, options: dict[str, int], code: int, state: str
):
    vendors.fail(fault, **options)
    veo = client("us-central1")
    started = film(veo)
    assert asked_after(veo, started).done is None
    clock.advance(10)
    ended = asked_after(veo, started)
    assert (ended.done, ended.error["code"], ended.response) == (True, code, None)
    assert (vendors.calls()[0]["state"], vendors.calls()[0]["billed"]) == (state, {})


@pytest.mark.parametrize(("fault", "delivered"), [("filtered", 0), ("partial", 1)])
def test_filtered_clips_are_counted_with_reasons(
    client: Client, vendors: Vendors, clock: ManualClock, fault: str, delivered: int
):
    vendors.fail(fault)
    veo = client("us-central1")
    started = film(veo, number_of_videos=2)
    clock.advance(10)
    ended = asked_after(veo, started)
    assert ended.error is None
    assert ended.response.rai_media_filtered_count == 2 - delivered
    assert "Support codes: " in ended.response.rai_media_filtered_reasons[0]
    assert len(ended.response.generated_videos or []) == delivered
    assert vendors.calls()[0]["billed"] == ({"second": 4} if delivered else {})


def test_a_storage_that_refuses_ends_the_operation(
    client: Client, vendors: Vendors, clock: ManualClock, storage: CloudStorage
):
    veo = client("us-central1")
    started = film(veo, output_gcs_uri="gs://nobodys/o/")
    clock.advance(10)
    assert asked_after(veo, started).error["code"] == 7
    assert vendors.calls()[0]["billed"] == {}


def test_an_unknown_operation_is_not_found(client: Client, web: httpx.Client):
    name = f"projects/p1/locations/us-central1/publishers/google/models/{VEO}/operations/none"
    with pytest.raises(errors.ClientError) as caught:
        client("us-central1").operations.get(types.GenerateVideosOperation(name=name))
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    path = START.replace("predictLongRunning", "fetchPredictOperation")
    assert web.post(path, json={"operationName": "projects/p2/operations/1"}).status_code == 400


def test_a_poll_fails_only_when_it_is_named(client: Client, vendors: Vendors):
    veo = client("us-central1")
    started = film(veo)
    vendors.fail("unavailable")
    assert asked_after(veo, started).name
    vendors.mend()
    vendors.fail("unavailable", operation="fetchPredictOperation")
    with pytest.raises(errors.ServerError):
        asked_after(veo, started)
    assert asked_after(veo, started).name


# ---------------------------------------------------------------- Interactions

INTERACTIONS = "/v1beta1/projects/p1/locations/global/interactions"


def interact(client: genai.Client, **form: str) -> Any:
    form = {"type": "video", "aspect_ratio": "16:9", "duration": "4s", "resolution": "720p"} | form
    return client.interactions.create(
        model=OMNI,
        input=[{"type": "text", "text": "a red kite"}],
        background=True,
        store=True,
        response_format=[form],
    )


@pytest.fixture
def omni(client: Client) -> genai.Client:
    return client("global", "v1beta1")


def test_an_interaction_writes_its_clip_and_bills_tokens(
    omni: genai.Client, vendors: Vendors, clock: ManualClock, storage: CloudStorage
):
    started = interact(omni, delivery="uri", gcs_uri="gs://out/i1/")
    assert started.status == "in_progress"
    clock.advance(10)
    ended = omni.interactions.get(id=started.id)
    assert ended.status == "completed"
    assert seconds_of(stored(storage, ended.output_video.uri)) == 4
    assert ended.usage.total_output_tokens == 4 * 5792
    (call,) = vendors.calls()
    assert call["billed"] == {
        "input_token": ended.usage.total_input_tokens,
        "output_token": ended.usage.total_thought_tokens,
        "video_token": 4 * 5792,
    }


def test_an_interaction_without_a_place_comes_inline(omni: genai.Client, clock: ManualClock):
    started = interact(omni)
    clock.advance(10)
    assert seconds_of(base64.b64decode(omni.interactions.get(id=started.id).output_video.data)) == 4


def test_a_cancelled_interaction_makes_and_bills_nothing(omni: genai.Client, vendors: Vendors, clock: ManualClock):
    started = interact(omni)
    assert omni.interactions.cancel(id=started.id).status == "cancelled"
    clock.advance(10)
    assert omni.interactions.get(id=started.id).status == "cancelled"
    assert (vendors.calls()[0]["state"], vendors.calls()[0]["billed"]) == ("failed", {})


@pytest.mark.parametrize(
    ("fault", "status", "code", "units"),
    [
        ("blocked_prompt", "failed", "prohibited_content", set()),
        ("blocked_output", "failed", "safety", {"input_token"}),
        ("late_failure", "failed", "api_error", set()),
        ("filtered", "completed", None, {"input_token"}),
        ("refusal", "completed", None, {"input_token", "output_token"}),
    ],
)
def test_an_interaction_without_a_clip(
    omni: genai.Client, vendors: Vendors, clock: ManualClock, fault: str, status: str, code: str | None, units: set[str]
):
    vendors.fail(fault)
    started = interact(omni)
    clock.advance(10)
    ended = omni.interactions.get(id=started.id)
    assert (ended.status, ended.output_video) == (status, None)
    assert (ended.errors[0].code if ended.errors else None) == code
    assert vendors.calls()[0]["billed"].keys() == units


def test_a_storage_that_refuses_ends_the_interaction(
    omni: genai.Client, vendors: Vendors, clock: ManualClock, storage: CloudStorage
):
    started = interact(omni, delivery="uri", gcs_uri="gs://nobodys/o/")
    clock.advance(10)
    ended = omni.interactions.get(id=started.id)
    assert (ended.status, ended.errors[0].code) == ("failed", "permission_denied")
    assert vendors.calls()[0]["billed"] == {}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"response_format": [{"type": "video", "delivery": "uri"}]}, 400),
        ({"response_format": [{"type": "video", "duration": "12s"}]}, 400),
        ({"response_format": [{"type": "video", "size": "1K"}]}, 400),
        ({"input": [{"type": "text"}]}, 400),
        ({"input": [{"type": "image", "mime_type": "image/png"}]}, 400),
        ({"extra": 1}, 400),
        ({"model": "gemini-omni-flash-preview"}, 404),
        ({"model": TEXT}, 404),
    ],
)
def test_a_malformed_interaction_is_refused(web: httpx.Client, vendors: Vendors, change: dict[str, Any], status: int):
    good = {"model": OMNI, "input": "a cat", "background": True, "response_format": [{"type": "video"}]}
    assert web.post(INTERACTIONS, json=good | change).status_code == status
    assert vendors.calls() == []
    assert web.post(INTERACTIONS.replace("global", "us-central1"), json=good).status_code == 404
    assert web.post(INTERACTIONS, json=good).status_code == 200


# ---------------------------------------------------------------- Imagen

PREDICT = f"{PARENT}/us-central1/publishers/google/models/{IMAGEN}:predict"


def predict(web: httpx.Client, **parameters: Any) -> Any:
    body = {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 2, "includeRaiReason": True} | parameters}
    return web.post(PREDICT, json=body)


@pytest.mark.filterwarnings("ignore:The generate_images method is deprecated")
def test_imagen_answers_googles_client(client: Client, vendors: Vendors):
    config = types.GenerateImagesConfig(number_of_images=2, aspect_ratio="16:9", include_rai_reason=True)
    answer = client("us-central1").models.generate_images(model=IMAGEN, prompt="a cat", config=config)
    made = [each.image.image_bytes for each in answer.generated_images]
    assert made[0] != made[1]
    for data in made:
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (1360, 768)
    assert vendors.calls()[0]["billed"] == {"image": 2}


@pytest.mark.parametrize(("fault", "delivered"), [("filtered", 0), ("partial", 1), ("blocked_prompt", 0)])
def test_filtered_pictures_of_imagen_have_reasons_and_cost_nothing(
    web: httpx.Client, vendors: Vendors, fault: str, delivered: int
):
    vendors.fail(fault)
    found = predict(web).json()["predictions"]
    assert ["bytesBase64Encoded" in each for each in found] == [True] * delivered + [False] * (2 - delivered)
    assert all("Support codes" in each["raiFilteredReason"] for each in found[delivered:])
    assert vendors.calls()[0]["billed"] == ({"image": 1} if delivered else {})


def test_without_reasons_a_filtered_answer_of_imagen_is_empty(web: httpx.Client, vendors: Vendors):
    vendors.fail("filtered")
    assert predict(web, includeRaiReason=False).json() == {}


def test_imagen_writes_to_cloud_storage(web: httpx.Client, vendors: Vendors, storage: CloudStorage):
    found = predict(web, storageUri="gs://out/p").json()["predictions"]
    for each in found:
        with Image.open(io.BytesIO(stored(storage, each["gcsUri"]))) as picture:
            assert picture.size == (1024, 1024)
    refused = predict(web, storageUri="gs://nobodys/p")
    assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert [call["billed"] for call in vendors.calls()] == [{"image": 2}, {}]
