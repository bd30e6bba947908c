"""Files in the inbox: good lines become requests, bad lines are told of beside the file, hostile names do no harm."""

import json
from pathlib import Path

import pytest

from shared.domain.intake import envelope_of
from shared.errors import BlobNotFound
from shared.ports import Json
from tests.pipeline.harness import TEXT, Pipeline

LINE = json.dumps(TEXT)


def upload(pipeline: Pipeline, name: str, data: bytes) -> str:
    """Put a file into the inbox and tell of it; return its URI."""
    uri = f"gs://inbox/{name}"
    info = pipeline.services.blobs.replace(uri, data, "application/octet-stream", None)
    tell(pipeline, name, info.generation)
    return uri


def tell(pipeline: Pipeline, name: str, generation: str = "1") -> None:
    pipeline.deliver("on_upload", {"bucket": "inbox", "name": name, "generation": generation, "size": "1"})


def published(pipeline: Pipeline) -> int:
    return sum(pipeline.system.bus.backlog().get("validate", {}).values())


def errors(pipeline: Pipeline, uri: str) -> list[Json] | None:
    try:
        told = pipeline.services.blobs.read(f"{uri}.errors.json", 1 << 24)
    except BlobNotFound:
        return None
    found: list[Json] = json.loads(told)["errors"]
    return found


OUTSIDE = ["../x.json", "/etc/x.json", "a/../../x.json", "..", "a\nb.json", "x" * 2000 + ".json"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leaves_the_bucket_is_dropped_without_an_exception(tmp_path: Path, name: str):
    pipeline = Pipeline(tmp_path)
    tell(pipeline, name)
    assert published(pipeline) == 0


@pytest.mark.parametrize("name", ["plan.json", "Ordner/Grüße 日本 🎏.json", "a b'c\"d;$(x).JSON", "n" * 200 + ".json"])
def test_an_odd_but_possible_name_is_read(tmp_path: Path, name: str):
    pipeline = Pipeline(tmp_path)
    uri = upload(pipeline, name, LINE.encode())
    assert published(pipeline) == 1
    assert errors(pipeline, uri) is None


@pytest.mark.parametrize("name", ["a.json.errors.json", "a.errors.json", "picture.png", "README", "a.json.gz"])
def test_what_is_no_manifest_is_ignored(tmp_path: Path, name: str):
    pipeline = Pipeline(tmp_path)
    uri = upload(pipeline, name, b"{not json")
    assert published(pipeline) == 0
    assert errors(pipeline, uri) is None


def test_a_file_that_is_gone_already_is_no_error(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    tell(pipeline, "gone.json")
    assert published(pipeline) == 0


@pytest.mark.parametrize("name, form", [("plan.jsonl", "{0}\n{1}\n{0}\n"), ("plan.json", "[{0},\n{1},\n{0}]")])
def test_a_request_of_ten_megabytes_costs_only_itself(tmp_path: Path, name: str, form: str):
    pipeline = Pipeline(tmp_path)
    long = json.dumps({**TEXT, "prompt": "x" * 10_000_000})
    uri = upload(pipeline, name, form.format(LINE, long).encode())
    assert published(pipeline) == 2
    assert [(e["line"], e["code"]) for e in errors(pipeline, uri) or []] == [(2, "too_long")]


def test_ten_thousand_lines_are_all_published(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    uri = upload(pipeline, "plan.jsonl", (LINE + "\n").encode() * 10_000)
    assert published(pipeline) == 10_000
    assert errors(pipeline, uri) is None


def test_a_file_over_the_limit_is_refused_as_a_whole(tmp_path: Path):
    pipeline = Pipeline(tmp_path, max_manifest_bytes=2048)
    uri = upload(pipeline, "plan.jsonl", (LINE + "\n").encode() * 100)
    assert published(pipeline) == 0
    assert [(e["line"], e["code"]) for e in errors(pipeline, uri) or []] == [(0, "too_large")]


@pytest.mark.parametrize(
    "name, data, line, code",
    [
        ("a.csv", "kind,prompt\ntext,Größe des Hafens\n".encode("latin-1"), 2, "wrong_encoding"),
        ("a.json", b"\xff\xfe[\x00]\x00", 0, "wrong_encoding"),
        ("a.json", b"", 0, "empty_file"),
        ("a.jsonl", b"{\n", 1, "invalid_json"),
        ("a.csv", b"kind,prompt,max_cost\ntext,The old harbour,1\n", 1, "unknown_field"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, name: str, data: bytes, line: int, code: str):
    pipeline = Pipeline(tmp_path)
    uri = upload(pipeline, name, data)
    assert published(pipeline) == 0
    assert [(e["line"], e["code"]) for e in errors(pipeline, uri) or []] == [(line, code)]


def test_a_spreadsheets_csv_with_a_byte_order_mark_and_quoted_line_breaks_is_read(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    text = '\ufeffkind,prompt,task,labels\r\ntext,"The old harbour,\r\nby ""night""",fast,team=sea\r\n'
    uri = upload(pipeline, "plan.csv", text.encode())
    assert errors(pipeline, uri) is None
    pipeline.settle()
    (result,) = pipeline.results
    assert result["type"] == "job.succeeded"
    assert result["labels"] == {"team": "sea"}
    assert result["prompt"]["original"].startswith("The old harbour,")
    assert 'by "night"' in result["prompt"]["original"]


def test_the_same_notification_twice_makes_no_new_job(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    lines = [json.dumps({**TEXT, "prompt": f"{TEXT['prompt']}, {n}"}) for n in range(3)]
    upload(pipeline, "plan.jsonl", "\n".join(lines).encode())
    pipeline.settle()
    generation = pipeline.services.blobs.stat("gs://inbox/plan.jsonl").generation
    tell(pipeline, "plan.jsonl", generation)
    pipeline.settle()
    assert pipeline.audit().jobs == 3
    assert len(pipeline.results) == 3
    assert len(pipeline.calls()) == 3


def test_a_corrected_file_is_told_to_be_free_of_errors(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    uri = upload(pipeline, "plan.jsonl", b"{\n")
    assert errors(pipeline, uri)
    upload(pipeline, "plan.jsonl", LINE.encode())
    assert errors(pipeline, uri) == []


def test_a_job_says_which_line_of_which_file_it_came_from(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    upload(pipeline, "plan.jsonl", f"\n{LINE}".encode())
    generation = pipeline.services.blobs.stat("gs://inbox/plan.jsonl").generation
    source = {"bucket": "inbox", "object": "plan.jsonl", "generation": generation, "line": 2}
    pipeline.settle()
    assert pipeline.job(envelope_of({"request": TEXT, "source": source}, "").job_id).source == source


def test_an_upload_that_was_overwritten_before_its_event_came_is_left_to_the_later_event(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    uri = "gs://inbox/plan.json"
    old = pipeline.services.blobs.replace(uri, LINE.encode(), "application/json", None)
    new = pipeline.services.blobs.replace(uri, LINE.replace("harbour", "quay").encode(), "application/json", None)
    tell(pipeline, "plan.json", old.generation)
    assert published(pipeline) == 0
    tell(pipeline, "plan.json", new.generation)
    assert published(pipeline) == 1
