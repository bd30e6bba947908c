import io
import json
import threading

import pytest

from shared.log import bound, configure, log


@pytest.fixture
def stream():
    before = (log.handlers[:], log.level, log.propagate)
    stream = io.StringIO()
    configure("INFO", stream)
    yield stream
    log.handlers[:], log.level, log.propagate = before


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_severity_event_name_time_and_fields(stream):
    log.info("job.moved", extra={"job_id": "j1", "seq": 2, "note": "zwei\nZeilen"})
    (line,) = lines(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {"severity": "INFO", "message": "job.moved", "job_id": "j1", "seq": 2, "note": "zwei\nZeilen"}


def test_bound_fields_are_on_every_line_inside_and_on_none_outside(stream):
    with bound(job_id="j1", stage="generate"):
        log.info("a")
        with bound(stage="inner"):
            log.info("b")
        log.info("c")
    log.info("d")
    assert [(line.get("job_id"), line.get("stage")) for line in lines(stream)] == [
        ("j1", "generate"),
        ("j1", "inner"),
        ("j1", "generate"),
        (None, None),
    ]


def test_bound_fields_are_forgotten_when_the_block_raises(stream):
    with pytest.raises(KeyError), bound(job_id="j1"):
        raise KeyError
    log.info("after")
    assert "job_id" not in lines(stream)[0]


def test_another_thread_has_fields_of_its_own(stream):
    with bound(job_id="j1"):
        other = threading.Thread(target=lambda: log.info("elsewhere"))
        other.start()
        other.join()
    assert "job_id" not in lines(stream)[0]


def test_the_trace_stands_where_cloud_logging_looks_for_it(stream):
    with bound(trace="abc"):
        log.info("a")
    (line,) = lines(stream)
    assert line["logging.googleapis.com/trace"] == "abc"
    assert "trace" not in line


def test_in_a_project_the_trace_has_the_name_by_which_cloud_logging_joins_its_lines(stream):
    configure("INFO", stream, "my-project")
    with bound(trace="abc"):
        log.info("a")
    assert lines(stream)[0]["logging.googleapis.com/trace"] == "projects/my-project/traces/abc"


def test_an_exception_is_told_by_its_class_and_frames_and_not_by_its_text(stream):
    try:
        raise RuntimeError("a prompt that nobody should read")
    except RuntimeError:
        log.exception("event.failed")
    (line,) = lines(stream)
    assert (line["severity"], line["exception"]) == ("ERROR", "RuntimeError")
    assert "test_log.py" in line["frames"][-1]
    assert "prompt" not in stream.getvalue()


def test_lines_below_the_level_are_not_written(stream):
    log.debug("quiet")
    assert stream.getvalue() == ""


def test_a_value_that_is_no_json_is_written_as_text(stream):
    log.info("a", extra={"path": {1}})
    assert lines(stream)[0]["path"] == "{1}"


def test_configuring_again_replaces_the_stream(stream):
    second = io.StringIO()
    configure("ERROR", second)
    log.info("nowhere")
    log.error("here")
    assert stream.getvalue() == ""
    assert [line["message"] for line in lines(second)] == ["here"]
