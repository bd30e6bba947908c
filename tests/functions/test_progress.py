import io
from dataclasses import replace
from datetime import UTC, datetime

from functions._progress import Progress
from shared.domain.job import Job, State

NOW = datetime(2026, 11, 21, tzinfo=UTC)
JOB = Job("j1", "text", "default", State.GENERATING, 1, NOW, NOW, "h", {}, request_id="note")
DONE = replace(JOB, state=State.SUCCEEDED)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, *jobs: Job) -> str:
    progress = Progress(stream, total=2)
    for job in jobs:
        progress.show(job)
        progress.draw()
    progress.close()
    return stream.getvalue()


def test_a_terminal_shows_counts_by_state_in_place_and_a_line_per_finished_job() -> None:
    text = shown(Terminal(), JOB, DONE)
    assert "0/2  1 generating" in text
    assert "note: succeeded 0 USD\n" in text
    assert "1/2  1 succeeded" in text
    assert text.endswith("\r\x1b[2K")


def test_a_pipe_gets_one_plain_line_for_every_state_of_a_job() -> None:
    assert shown(io.StringIO(), JOB, JOB, DONE) == "note: generating\nnote: succeeded 0 USD\n"
