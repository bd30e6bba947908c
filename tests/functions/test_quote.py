"""The command `quote`: the price of today for the prompt as sent, what every vendor can do, and nobody is called."""

import json
import socket
import subprocess
import sys

import pytest

from shared.domain.prompt import optimise
from shared.domain.request import parse_request
from tests.functions.command_line import CommandLine, note, picture, write_lines

VENDORS = {
    "ATELIER_PROVIDERS": "vertex,runway,replicate,huggingface",
    "ATELIER_VERTEX_PROJECT": "p",
    "ATELIER_RUNWAY_API_SECRET": "key-1",
    "ATELIER_REPLICATE_API_TOKEN": "key-2",
    "ATELIER_HUGGINGFACE_TOKEN": "key-3",
}
CLIP = {"kind": "video", "duration_s": 4, "resolution": "720p", "audio": False, "prompt": "A paper boat drifts away"}
ASKED = {
    "image": picture("image", size="1K"),
    "video": {**CLIP, "request_id": "video"},
    "moved": {**CLIP, "request_id": "moved", "image": "gs://bucket/boat.png"},
    "text": note("text", fallback=False),
}
OWN_ROWS = """
    [[model]]
    id = "huggingface-endpoint"
    price = [{ unit = "input_token", amount = "0", from = 2020-01-01, source = "contract", checked = 2026-11-21 },
             { unit = "output_token", amount = "1", from = 2020-01-01, source = "contract", checked = 2026-11-21 }]

    [[model]]
    id = "moving-picture"
    provider = "replicate"
    kinds = ["video"]
    modes = ["image_to_video"]
    price = [{ unit = "second", amount = "0.10", from = 2020-01-01, source = "page", checked = 2026-11-21 }]

    [[model]]
    id = "by-the-word"
    provider = "offline"
    kinds = ["image"]
    billed_by = "token"
    image_tokens = { "512" = 1 }
    latency_s = 7
    max_count = 8
    price = [{ unit = "input_token", amount = "0.000001", from = 2020-01-01, source = "page", checked = 2026-11-21 },
             { unit = "image_token", amount = "5", from = 2020-01-01, source = "page", checked = 2026-11-21 },
             { unit = "image_token", amount = "2", from = 2020-02-01, source = "page", checked = 2026-11-21 },
             { unit = "image_token", amount = "9", from = 2099-01-01, source = "page", checked = 2026-11-21 }]
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("own") / "rows.toml"
    file.write_text(OWN_ROWS)
    return str(file)


def test_quote_prices_a_request_and_calls_nothing(tmp_path):
    atelier = CommandLine(tmp_path / "home")
    found = atelier(
        "quote", write_lines(tmp_path / "q.jsonl", picture("a", count=2, model="offline-image-fine")), "--json"
    )
    (row,) = found.json["quotes"]
    assert found.code == 0
    assert row["first"] == "offline-image-fine"
    assert (row["low_usd"], row["high_usd"]) == (found.json["total_usd"][0], found.json["total_usd"][1])
    assert float(row["high_usd"]) >= 0.08 >= float(row["low_usd"]) > 0
    assert atelier.calls() == []


def test_a_quote_of_a_request_that_would_be_refused_ends_with_1_and_says_why(tmp_path):
    found = CommandLine(tmp_path / "home")("quote", write_lines(tmp_path / "q.jsonl", note("a"), note("b", tone="dry")))
    assert found.code == 1
    assert "tone: is not a field of text requests" in found.out


@pytest.mark.parametrize(
    ("provider", "serves"),
    [
        ("vertex", {"image", "video", "moved", "text"}),
        ("runway", {"image", "video", "moved"}),
        ("replicate", {"moved"}),
        ("huggingface", {"text"}),
    ],
)
def test_quote_prices_what_each_vendor_can_do_and_says_why_it_cannot_do_the_rest(tmp_path, own, provider, serves):
    asked = ASKED.values()
    settings = {**VENDORS, "ATELIER_PROVIDERS": provider, "ATELIER_CATALOGUE": own}
    found = CommandLine(tmp_path / "home")("quote", write_lines(tmp_path / "q.jsonl", *asked), "--json", **settings)
    rows = {row["request"]: row for row in found.json["quotes"]}
    good = {name for name, row in rows.items() if "error" not in row}
    assert good >= serves
    for row in (rows[name] for name in good):
        assert {c["provider"] for c in row["candidates"]} == {provider}
        assert 0 < row["low_micro_usd"] <= row["high_micro_usd"]
        assert 0 < row["low_s"] <= row["high_s"]
    assert all(rows[name]["error"].startswith("no model ") for name in rows.keys() - good)


def test_quote_builds_no_provider_imports_no_sdk_and_connects_to_nobody(tmp_path, own):
    atelier = CommandLine(tmp_path / "home")
    asked = write_lines(tmp_path / "q.jsonl", *ASKED.values())
    spy = (
        "import sys; from functions.__main__ import main; code = main(sys.argv[1:]);"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr); sys.exit(code)"
    )
    with socket.create_server(("127.0.0.1", 0)) as vendor:
        vendor.setblocking(False)
        url = f"http://127.0.0.1:{vendor.getsockname()[1]}"
        bases = {f"ATELIER_{name}_BASE_URL": url for name in ("VERTEX", "RUNWAY", "REPLICATE", "HUGGINGFACE")}
        found = subprocess.run(
            [sys.executable, "-c", spy, "quote", str(asked), "--json"],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=atelier.environment(**VENDORS, **bases, ATELIER_CATALOGUE=own),
        )
        with pytest.raises(BlockingIOError):
            vendor.accept()
    assert {row["kind"] for row in json.loads(found.stdout)["quotes"] if "kind" in row} == {"image", "video", "text"}
    loaded = set(found.stderr.splitlines())
    assert "functions._system_commands" in loaded
    assert not [m for m in loaded if m.startswith(("shared.providers", "google.genai", "google.auth", "runwayml"))]
    assert not loaded & {"replicate", "huggingface_hub", "httpx", "requests", "vertexai", "google.cloud.aiplatform"}


def test_a_quote_is_of_todays_price_and_of_all_calls_that_the_pieces_take(tmp_path, own):
    plain = picture("a", model="by-the-word", fallback=False, enhance_prompt=False, prompt="a boat", count=3)
    found = CommandLine(tmp_path / "home")(
        "quote", write_lines(tmp_path / "q.jsonl", plain), "--json", ATELIER_CATALOGUE=own
    )
    (row,) = found.json["quotes"]
    words = 64 + 2  # the vendor's own round every call, and six letters and blanks by three
    assert row["high_micro_usd"] == row["low_micro_usd"] == 3 * 2_000_000 + 3 * words
    assert (row["low_s"], row["high_s"]) == (21.0, 21.0)


def test_a_quote_is_of_the_prompts_as_sent_and_what_the_job_then_holds(tmp_path, own):
    request = parse_request(
        picture("a", negative_prompt="people"), known_models=lambda _: True, schema_problem=lambda _: None
    )
    plan = optimise(request)
    assert plan.used != request.prompt
    assert plan.negative != request.negative_prompt
    asked = picture("a", negative_prompt="people", model="by-the-word", fallback=False)
    sent = {**asked, "request_id": "b", "enhance_prompt": False, "prompt": plan.used, "negative_prompt": plan.negative}
    atelier, settings = CommandLine(tmp_path / "home"), {"ATELIER_CATALOGUE": own}
    rows = atelier("quote", write_lines(tmp_path / "q.jsonl", asked, sent), "--json", **settings).json["quotes"]
    assert rows[0]["high_micro_usd"] == rows[1]["high_micro_usd"]
    job = atelier("run", write_lines(tmp_path / "a.jsonl", asked), "--json", **settings).json["jobs"][0]["job_id"]
    held = atelier("explain", job, "--json", **settings).json["candidates"]
    assert [c["price_micro_usd"] for c in held] == [rows[0]["high_micro_usd"]]


def test_a_vendor_without_its_credentials_is_passed_over_and_the_missing_setting_is_named(tmp_path):
    asked = write_lines(
        tmp_path / "q.jsonl", picture("a"), picture("b", model="gemini-3.1-flash-image", fallback=False)
    )
    found = CommandLine(tmp_path / "home")("quote", asked, "--json", ATELIER_PROVIDERS="offline,vertex")
    first, second = found.json["quotes"]
    assert found.code == 1
    assert {c["provider"] for c in first["candidates"]} == {"offline"}
    why = {r["model"]: (r["reason"], r["text"]) for r in first["passed_over"]}
    told = "vertex is switched on, but ATELIER_VERTEX_PROJECT is missing"
    assert why["gemini-3.1-flash-image"] == ("no_credentials", told)
    assert why["gen4_image"] == ("provider_off", "provider runway is not switched on")
    assert second["error"].count(told) == 1


def test_where_no_vendor_is_called_from_its_credentials_are_not_missed(tmp_path):
    asked = write_lines(tmp_path / "q.jsonl", picture("a", model="gemini-3.1-flash-image", fallback=False))
    settings = {"ATELIER_PROVIDERS": "vertex", "ATELIER_CALLS_VENDORS": "false"}
    found = CommandLine(tmp_path / "home")("quote", asked, "--json", **settings)
    assert [c["model"] for c in found.json["quotes"][0]["candidates"]] == ["gemini-3.1-flash-image"]


def test_the_local_system_says_at_once_that_it_calls_no_vendor(tmp_path):
    asked = write_lines(tmp_path / "q.jsonl", picture("a"))
    found = CommandLine(tmp_path / "home")("run", asked, ATELIER_CALLS_VENDORS="false")
    assert (found.code, found.err) == (2, "error: no vendor is called from here: ATELIER_CALLS_VENDORS is false\n")


def test_without_any_provider_a_request_is_refused_and_says_so(tmp_path):
    atelier = CommandLine(tmp_path / "home")
    asked = [picture("a"), picture("b", model="offline-image-fine"), note("c")]
    found = atelier("run", write_lines(tmp_path / "n.jsonl", *asked), "--json", ATELIER_PROVIDERS="")
    jobs = {job["request_id"]: job for job in found.json["jobs"]}
    assert found.code == 1
    assert [(e["code"], e["message"]) for e in jobs["a"]["errors"]] == [
        ("no_model", "no model that is switched on can do this (none is on)")
    ]
    assert "offline-image-fine: provider offline is not switched on" in jobs["b"]["errors"][0]["message"]
    assert jobs["c"]["type"] == "job.succeeded"  # a template needs no provider
    assert atelier.calls() == []
