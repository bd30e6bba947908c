"""The report of a run: safe, self-contained, complete, and its figures add up."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from time import perf_counter

import pytest
from PIL import Image

from functions import _job_view as view
from functions._charts import cost_by_model, stacked, time_per_stage
from functions._embedding import Embedder, poster_frame, thumbnail
from functions._pages import dollars, duration, measured, size, style_source
from functions._report import totals, write_report
from shared.domain.job import Job, State
from shared.domain.money import format_usd
from shared.errors import BlobTooLarge
from tests.functions import samples
from tests.functions.samples import START, Gallery

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> a fox"
LOADING = {"src", "poster", "srcset", "data", "background", "action", "formaction", "xlink:href", "manifest", "ping"}


class Page(HTMLParser):
    """The tags of a page, and the text outside of its style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a tag."""
        return [attributes for name, attributes in self.tags if name == tag]


Write = Callable[..., Page]


@pytest.fixture
def report(tmp_path: Path) -> Write:
    def write(jobs: list[Job], gallery: Gallery | None = None, **options: int) -> Page:
        path = tmp_path / "out" / "report.html"
        read = (gallery or Gallery()).read
        moment = START + timedelta(minutes=1)
        write_report(path, jobs, generated_at=moment, title="Atelier run", read_piece=read, **options)
        return Page(path.read_text("utf-8"))

    return write


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return samples.exhibition()


@pytest.fixture
def page(report: Write, gallery: Gallery) -> Page:
    return report(gallery.jobs, gallery)


def cards(page: Page) -> dict[str, str]:
    """Return the text of each job's card by the request's id."""
    parts = page.html.split("<article")[1:]
    texts = [re.sub(r"\s+", " ", Page("<article" + part.partition("</article>")[0]).text) for part in parts]
    names = [re.search(r'class="ref"[^>]*>([^<]*)<', part) for part in parts]
    return {name.group(1): text for name, text in zip(names, texts, strict=True) if name}


# ---------------------------------------------------------------- safe and self-contained


def test_a_prompt_with_markup_is_shown_as_text_and_nothing_else(report: Write) -> None:
    evil = samples.job("evil", prompt=EVIL, request_id=EVIL, state=State.FAILED)
    errors = ({"field": EVIL, "code": EVIL, "message": EVIL},)
    labels = {"kind": "image", "labels": {EVIL: EVIL}}
    lines = tuple({**line, "note": EVIL} for line in evil.timeline)
    source = {"file": EVIL, "line": 1}
    page = report([replace(evil, errors=errors, request=labels, timeline=lines, source=source, kind=EVIL)])
    assert not page.all("script")
    assert all(tag["src"] != "x" for tag in page.all("img"))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) >= 6


def test_texts_and_measurements_from_outside_are_inert(report: Write) -> None:
    gallery = Gallery()
    written = samples.text_job(gallery, "evil", f"Subject: {EVIL}\n\n{EVIL}", "email")
    piece = replace(written.attempts[0].pieces[0], checks={EVIL: {"measured": EVIL, "wanted": EVIL, "passed": False}})
    failing = replace(written.attempts[0], pieces=(piece,), error={"code": EVIL, "message": EVIL})
    page = report([replace(written, attempts=(failing,))], gallery)
    assert not page.all("script")
    assert not page.all("img")
    assert page.text.count(EVIL) >= 6


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in LOADING & attributes.keys():
            assert (attributes[name] or "").startswith("data:"), (tag, name)
    assert [tag["href"] for tag in page.all("link") if not (tag["href"] or "").startswith("data:")] == []
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert not page.all("iframe")
    assert not page.all("object")


def test_links_lead_only_to_the_originals_and_within_the_page(page: Page) -> None:
    schemes = {(tag["href"] or "").partition(":")[0] for tag in page.all("a")}
    assert {s for s in schemes if not s.startswith("#")} == {"file"}


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", "https://example.com/a.png", "data:text/html,x", "gs://b/a.png"]
)
def test_an_address_a_browser_should_not_follow_is_shown_but_not_linked(report: Write, uri: str) -> None:
    gallery = Gallery()
    made = samples.image_job(gallery)
    gallery.files[uri] = samples.picture(1)
    piece = replace(made.attempts[0].pieces[0], uri=uri)
    page = report([replace(made, attempts=(replace(made.attempts[0], pieces=(piece,)),))], gallery)
    assert uri in page.text
    assert uri not in [tag["href"] for tag in page.all("a")]


def test_the_policy_allows_data_uris_and_our_stylesheet_only(page: Page) -> None:
    policy = next(tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    assert rules["style-src"] == style_source()
    assert "script-src" not in rules
    assert not [attributes for _, attributes in page.tags if "style" in attributes]


def test_the_style_on_the_page_has_the_hash_of_the_policy(page: Page) -> None:
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert style_source() == f"'sha256-{digest}'"


def test_the_same_jobs_give_the_same_page(report: Write, gallery: Gallery) -> None:
    assert report(gallery.jobs, gallery).html == report(gallery.jobs, gallery).html


def test_a_report_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def broken(_uri: str) -> bytes:
        raise RuntimeError("a bug")

    gallery = Gallery()
    with pytest.raises(RuntimeError):
        write_report(path, [samples.image_job(gallery)], generated_at=START, title="x", read_piece=broken)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- what is on it


def test_every_job_has_a_card_with_its_prompt_and_state(page: Page, gallery: Gallery) -> None:
    shown = cards(page)
    assert list(shown) == [job.request_id for job in gallery.jobs]
    for job in gallery.jobs:
        assert str(job.state) in shown[job.request_id or ""]
        assert (job.prompt.get("original") or "the request was not kept") in shown[job.request_id or ""]


def test_pictures_are_embedded_as_jpegs_that_open(page: Page) -> None:
    sources = [tag["src"] or "" for tag in page.all("img")]
    assert len(sources) == 8  # 1 + 4, fallback, cached, rejected
    opened = [Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2]))) for s in sources]
    assert {picture.format for picture in opened} == {"JPEG"}


def test_a_clip_is_embedded_as_it_is_with_a_poster(page: Page, gallery: Gallery) -> None:
    (video,) = page.all("video")
    (clip,) = [data for uri, data in gallery.files.items() if uri.endswith(".mp4")]
    assert base64.b64decode((video["src"] or "").removeprefix("data:video/mp4;base64,")) == clip
    assert (video["poster"] or "").startswith("data:image/jpeg;base64,")
    assert "controls" in video


def test_a_thread_is_split_into_posts_that_are_counted(page: Page) -> None:
    assert page.html.count('class="post"') == 3
    assert "1/3" in cards(page)["thread-1"]
    assert "41 of 280" in cards(page)["thread-1"]


def test_json_is_indented(page: Page) -> None:
    assert "<pre>{\n  &#34;headline&#34;: &#34;Morning light&#34;," in page.html


def test_an_email_has_its_subject_as_title(report: Write) -> None:
    gallery = Gallery()
    page = report([samples.text_job(gallery, "mail", "Subject: Hello there\n\nDear all", "email")], gallery)
    assert '<p class="text-title">Hello there</p>' in page.html
    assert '<p class="prose">Dear all</p>' in page.html


def test_a_refusal_says_in_words_what_was_wrong(page: Page) -> None:
    text = cards(page)["typo-1"]
    assert "max_cost: is not a field; did you mean max_cost_usd?" in text
    assert "prompt: must have 5 to 1,000 characters" in text


def test_a_failure_shows_its_attempts_and_their_errors(page: Page) -> None:
    text = cards(page)["storm-1"]
    assert "no candidate is left after 2 attempts" in text
    assert "1. offline-image-fine" in text
    assert "service unavailable" in text
    assert "no answer in time" in text
    assert "$0.02 may or may not have been charged" in text


def test_each_way_a_result_came_about_is_named(page: Page) -> None:
    shown = cards(page)
    assert "fallback first choice was offline-image-fine" in shown["harbour-1"]
    assert "alias asked for as gemini-flash" in shown["thread-1"]
    assert "simulated" in shown["valley-1"]
    assert "template written from a template" in shown["memo-1"]
    assert "from the cache answered by an identical request" in shown["valley-again"]
    assert "best effort no piece was approved" in shown["fog-1"]
    assert "40 % done" in shown["tide-1"]
    assert "alias" not in shown["valley-1"]
    assert "fallback first" not in shown["valley-1"]


def test_a_cached_answer_links_to_the_job_that_made_it(page: Page, gallery: Gallery) -> None:
    assert f"#job-{gallery.jobs[0].job_id}" in [tag["href"] for tag in page.all("a")]
    assert "see that job" in cards(page)["valley-again"]


def test_grade_cost_quote_time_and_checks_are_on_the_card(page: Page) -> None:
    text = cards(page)["valley-1"]
    for fact in ("grade A", "Cost$0.04", "Quoted$0.02–$0.04", "Time1.9 s", "Attempts1", "offline-image-fine"):
        assert fact in text
    assert "2 of 3 checks passed" in text
    assert "banding 0.71 wanted <= 0.6" in text


def test_a_filter_is_offered_for_each_state_and_kind_there_is(page: Page) -> None:
    ids = {tag["id"] for tag in page.all("input") if tag["type"] == "radio"}
    assert ids == {
        *("state-all", "state-succeeded", "state-failed", "state-refused", "state-cancelled", "state-running"),
        *("kind-all", "kind-image", "kind-video", "kind-text"),
    }
    for name in ids - {"state-all", "kind-all"}:
        kind, _, value = (name or "").partition("-")
        assert f'body:has(#{name}:checked) .job:not([data-{kind}="{value}"])' in page.style


def test_a_missing_and_a_broken_file_are_told_instead_of_shown(report: Write) -> None:
    gallery = Gallery()
    jobs = [samples.image_job(gallery, "gone"), samples.image_job(gallery, "torn"), samples.video_job(gallery, "cut")]
    uris = [job.attempts[0].pieces[0].uri for job in jobs]
    del gallery.files[uris[0]]
    gallery.files[uris[1]] = gallery.files[uris[1]][:50]
    gallery.files[uris[2]] = b"not a clip"
    shown = cards(report(jobs, gallery))
    assert "could not be read" in shown["gone"]
    assert "not a picture" in shown["torn"]
    assert "not a clip" in shown["cut"]


def test_a_large_clip_is_linked_beside_one_of_its_frames(report: Write) -> None:
    gallery = Gallery()
    made = samples.video_job(gallery)
    piece = replace(made.attempts[0].pieces[0], size_bytes=8_000_001)
    page = report([replace(made, attempts=(replace(made.attempts[0], pieces=(piece,)),))], gallery)
    assert not page.all("video")
    assert len(page.all("img")) == 1
    assert piece.uri in [tag["href"] for tag in page.all("a")]


def test_no_more_is_embedded_than_allowed(report: Write) -> None:
    gallery = Gallery()
    jobs = [samples.image_job(gallery, f"n-{n}") for n in range(6)]
    page = report(jobs, gallery, max_embedded_bytes=3_000)
    embedded = [len(base64.b64decode((tag["src"] or "").partition(",")[2])) for tag in page.all("img")]
    assert 0 < len(embedded) < 6
    assert sum(embedded[:-1]) < 3_000
    assert "not embedded, to keep this page small" in page.text


def test_a_run_without_jobs_still_makes_a_page(report: Write) -> None:
    assert "No jobs" in report([]).text


def test_a_reader_that_refuses_a_file_is_told(report: Write) -> None:
    gallery = Gallery()
    made = samples.image_job(gallery)

    def refusing(_uri: str) -> bytes:
        raise BlobTooLarge("over 256 MiB")

    shown = Embedder(refusing, 1_000_000).show(view.pieces(made)[0])
    assert shown.problem == "the file could not be read: over 256 MiB"


def test_a_thumbnail_keeps_its_proportions_and_flattens_what_is_clear() -> None:
    wide = thumbnail(samples.picture(1, 200, 100), 80)
    assert wide is not None
    assert Image.open(io.BytesIO(wide)).size == (80, 40)
    buffer = io.BytesIO()
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(buffer, "PNG")
    flat = thumbnail(buffer.getvalue(), 80)
    assert flat is not None
    assert Image.open(io.BytesIO(flat)).getpixel((5, 5)) == (255, 255, 255)


def test_a_poster_is_a_frame_of_the_clip() -> None:
    poster = poster_frame(samples.clip(3), 48)
    assert poster is not None
    assert Image.open(io.BytesIO(poster)).size == (48, 32)


# ---------------------------------------------------------------- figures


def test_the_totals_are_those_of_the_jobs(gallery: Gallery, page: Page) -> None:
    found = totals(gallery.jobs)
    assert found["jobs"] == 13
    assert found["succeeded"] == 8
    # 0.04 + 0.16 + 0.60 + 2 * 0.0026 + 0.02 + 0.04 (rejected); the template and the cached answer are free
    assert found["cost_usd"] == "0.8652"
    assert found["suspense_usd"] == "0.02"
    assert (found["attempts"], found["fallbacks"], found["cached"]) == (13, 2, 1)
    assert "8 of 13 jobs succeeded" in page.text
    assert "$0.8652" in page.text


def test_the_cost_chart_adds_up_to_what_was_spent(gallery: Gallery) -> None:
    chart = cost_by_model(gallery.jobs)
    assert sum(bar.amount for bar in chart.bars) == sum(job.spent for job in gallery.jobs)
    assert [bar.label for bar in chart.bars][:2] == ["offline-video-cinema", "offline-image-fine"]
    assert chart.total == "$0.8652 in all"
    assert next(b.detail for b in chart.bars if b.label == "offline-image-standard") == "2 attempts, $0.02 in doubt"


def test_many_models_are_gathered_in_a_last_bar() -> None:
    gallery = Gallery()
    made = samples.image_job(gallery)
    jobs = [replace(made, attempts=(replace(made.attempts[0], model=f"m{n}"),)) for n in range(20)]
    chart = cost_by_model(jobs)
    assert len(chart.bars) == 12
    assert chart.bars[-1].label == "9 more models"
    assert sum(bar.amount for bar in chart.bars) == 20 * 40_000


def test_the_time_chart_adds_up_to_the_durations_of_the_jobs(gallery: Gallery) -> None:
    ended = [job for job in gallery.jobs if job.is_finished and job.state is not State.CANCELLED]
    lasted = sum((job.finished_at - job.created_at).total_seconds() for job in ended if job.finished_at)
    chart = time_per_stage([job for job in ended if job.request_id != "typo-1"])
    assert sum(bar.amount for bar in chart.bars) == pytest.approx(lasted, abs=0.001)


def test_time_at_the_vendor_is_told_from_our_own() -> None:
    bars = {bar.label: bar.amount for bar in time_per_stage([samples.video_job(Gallery())]).bars}
    assert bars["vendor at work"] == pytest.approx(6.03, abs=0.001)
    assert bars["generate"] == pytest.approx(0.1, abs=0.001)
    assert bars["quality check"] == pytest.approx(0.7, abs=0.001)


def test_clocks_that_disagree_never_make_a_negative_time() -> None:
    made = samples.video_job(Gallery())
    lines = list(made.timeline)
    lines[3], lines[4] = lines[4], lines[3]
    lengths = [span.length_s for span in view.spans(replace(made, timeline=tuple(lines)))]
    assert all(length > 0 for length in lengths)
    assert sum(lengths) == pytest.approx(7.1, abs=0.001)


def test_what_happens_after_the_end_is_no_part_of_a_jobs_time() -> None:
    made = samples.video_job(Gallery())
    late = samples.steps(made.created_at, [("record_cost", 900.0, State.SUCCEEDED, 90.0)])
    lengths = [span.length_s for span in view.spans(replace(made, timeline=(*made.timeline, *late)))]
    assert sum(lengths) == pytest.approx(7.1, abs=0.001)


def test_a_chart_tells_its_values_to_those_who_cannot_see_it(page: Page) -> None:
    assert "offline-video-cinema: $0.60 (2 attempts); offline-image-fine: $0.24 (5 attempts)" in page.text
    charts = [tag for tag in page.all("svg") if tag.get("role") == "img"]
    assert [tag["aria-labelledby"] for tag in charts] == ["cost-title cost-desc", "time-title time-desc"]


def test_parts_of_a_bar_lie_side_by_side() -> None:
    parts = stacked([("spent", 25), ("doubt", 0), ("held", 50)], 100)
    assert [(p.tone, p.start, p.width) for p in parts] == [("spent", 0.0, 25.0), ("held", 25.0, 50.0)]


def test_polls_are_folded_into_one_line() -> None:
    folded = view.folded_timeline(samples.video_job(Gallery()))
    assert [(line["to"], line["times"]) for line in folded][:3] == [("generating", 1), ("waiting", 3), ("checking", 1)]


@pytest.mark.parametrize(
    ("micro_usd", "text"), [(0, "$0.00"), (500_000, "$0.50"), (67_200, "$0.0672"), (1_234_000_001, "$1,234.000001")]
)
def test_money_is_written_with_cents_at_least(micro_usd: int, text: str) -> None:
    assert dollars(format_usd(micro_usd)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0124, "12 ms"),
        (3.25, "3.2 s"),
        (59.97, "1 min"),
        (125, "2 min 5 s"),
        (3780, "1 h 3 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_written_in_the_units_that_matter(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(None, "none"), ([], "none"), (["a", "b"], "a, b"), (0, "0"), ("x", "x")])
def test_measurements_are_written_for_people(value: object, text: str) -> None:
    assert measured(value) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(512, "512 B"), (1_200, "1.2 kB"), (250_000, "250 kB"), (3_400_000, "3.4 MB")]
)
def test_sizes_are_written_in_decimal_units(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


def test_a_hundred_jobs_make_a_page_in_seconds(report: Write) -> None:
    gallery = Gallery()
    jobs = [samples.image_job(gallery, f"image-{n}", side=256) for n in range(100)]
    started = perf_counter()
    page = report(jobs, gallery)
    assert perf_counter() - started < 10
    assert len(page.all("article")) == 100
    assert len(page.all("img")) == 100
