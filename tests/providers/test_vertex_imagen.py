"""Pictures of Imagen, where it is still there."""

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import Blocked
from shared.ports import Done
from tests.providers.vertex_server import IMAGE, PNG, PROMPT, b64, call, recording

MODEL = "imagen-4.0-generate-001"
PICTURE = {"bytesBase64Encoded": b64(PNG), "mimeType": "image/png", "prompt": "rewritten"}
FILTERED = {"raiFilteredReason": f"Unable to show {PROMPT}. Support codes: 90789179"}


@pytest.fixture
def wire(tmp_path):
    with recording(FilesystemBlobStore(tmp_path)) as wire:
        yield wire


def made(wire, **params) -> Done:
    return wire.provider.start(call(MODEL, {**IMAGE, **params}))


def test_several_pictures_are_asked_for_in_one_call(wire):
    wire.answers({"predictions": [PICTURE]})
    made(wire, count=3, negative_prompt="rain", person_generation="dont_allow", guidance_scale=7.5)
    place = f"/v1/projects/p1/locations/us-central1/publishers/google/models/{MODEL}"
    assert wire.paths == [f"POST {place}:predict"]
    assert wire.body == {
        "instances": [{"prompt": PROMPT}],
        "parameters": {
            "sampleCount": 3,
            "aspectRatio": "16:9",
            "sampleImageSize": "1K",
            "seed": 7,
            "addWatermark": False,
            "negativePrompt": "rain",
            "guidanceScale": 7.5,
            "personGeneration": "DONT_ALLOW",
            "safetySetting": "BLOCK_MEDIUM_AND_ABOVE",
            "includeRaiReason": True,
            "outputOptions": {"mimeType": "image/png"},
        },
        "labels": {"job": "j1-x", "attempt": "2", "part": "0"},
    }


def test_a_model_without_sizes_is_not_told_one(wire):
    wire.answers({"predictions": [PICTURE]})
    wire.provider.start(call(MODEL, IMAGE, row={"sizes": frozenset()}))
    assert "sampleImageSize" not in wire.body["parameters"]


def test_what_was_not_filtered_is_delivered_and_counted(wire):
    positive = {"contentType": "Positive Prompt", "safetyAttributes": {"categories": ["Violence"], "scores": [0.1]}}
    wire.answers({"predictions": [PICTURE, FILTERED, positive, PICTURE]})
    done = made(wire, count=3)
    assert [(a.media_type, a.data) for a in done.assets] == [("image/png", PNG)] * 2
    assert done.usage == {"image": 2}


@pytest.mark.parametrize("body", [{"predictions": [FILTERED, FILTERED]}, {"predictions": []}, {}])
def test_when_all_are_filtered_the_call_is_blocked(wire, body):
    wire.answers(body)
    with pytest.raises(Blocked) as caught:
        made(wire, count=2)
    assert ("90789179" in str(caught.value)) == bool(body.get("predictions"))
    assert PROMPT not in str(caught.value)
    assert len(wire.sent) == 1
