"""Limits of the publishing platforms, each in the platform's own unit."""

from __future__ import annotations

import pytest

from shared.domain.platforms import (
    PLATFORMS,
    Unit,
    find_platform,
    grapheme_length,
    length,
    platform_checks,
    platform_rules,
    split_title,
    thread_parts,
    weighted_length,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1f3\U0001f1f4"


def problems(text: str, name: str) -> set[str]:
    return {rule.name for rule in platform_checks(text, PLATFORMS[name])}


def test_every_platform_of_the_request_is_known() -> None:
    wanted = {"x", "linkedin", "instagram", "facebook", "tiktok", "youtube", "threads", "bluesky", "pinterest", "email"}
    assert set(PLATFORMS) == wanted


@pytest.mark.parametrize("name", ["X", " x ", "Twitter"])
def test_a_platform_is_found_in_any_spelling(name: str) -> None:
    assert find_platform(name) is PLATFORMS["x"]


def test_an_unknown_platform_is_not_found() -> None:
    assert find_platform("friendster") is None


# Cases of docs.x.com/fundamentals/counting-characters.
@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("", 0),
        ("caf\u00e9", 4),
        ("cafe\u0301", 4),
        ("\U0001f47e", 2),
        ("\U0001f64b\U0001f3fd", 2),
        (FAMILY, 2),
        (FLAG, 2),
        ("1\ufe0f\u20e3", 2),
        ("\u65e5\u672c", 4),
        ("\u0e20\u0e32\u0e29\u0e32", 4),
        ("\u201cquoted\u201d \u2014 dash", 15),
        ("https://example.com", 23),
        ("https://example.com/very/long/path?with=query&and=more#too", 23),
        ("see example.com.", 4 + 23 + 1),
        ("see https://example.com, please", 4 + 23 + 8),
        ("node.js and a@b.com", 19),
    ],
)
def test_x_weighs_a_text_as_published(text: str, weight: int) -> None:
    assert weighted_length(text) == weight


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("abc", 3),
        ("e\u0301", 1),
        (FAMILY, 1),
        (FLAG + FLAG, 2),
        ("\U0001f44d\U0001f3fd!", 2),
        ("a\r\nb", 3),
        ("\u0e17\u0e35\u0e48", 1),
    ],
)
def test_graphemes_are_what_a_reader_counts(text: str, count: int) -> None:
    assert grapheme_length(text) == count


def test_each_unit_counts_an_emoji_its_own_way() -> None:
    emoji = "\U0001f355"
    units: tuple[Unit, ...] = ("characters", "weighted", "graphemes", "utf16", "bytes", "emoji_bytes")
    assert [length(emoji, unit) for unit in units] == [1, 2, 1, 2, 4, 4]


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("linkedin", 3000),
        ("instagram", 2200),
        ("facebook", 63206),
        ("tiktok", 2200),
        ("youtube", 5000),
        ("threads", 500),
        ("bluesky", 300),
        ("pinterest", 500),
        ("x", 280),
    ],
)
def test_the_limit_itself_is_taken_and_one_more_is_not(name: str, limit: int) -> None:
    assert problems("a" * limit, name) == set()
    assert problems("a" * (limit + 1), name) == {"platform_length"}


def test_a_thread_is_measured_post_by_post() -> None:
    assert problems("\n\n".join(["a" * 280] * 5), "x") == set()
    assert problems("a" * 200 + "\n\n" + "b" * 281, "x") == {"platform_length"}
    assert problems("a" * 200 + "\n" + "b" * 200, "x") == {"platform_length"}


def test_thread_parts_ignore_blank_edges_and_spaces_between_lines() -> None:
    assert thread_parts("\n\none\n \t\n\ntwo\nmore\n\n") == ["one", "two\nmore"]


def test_instagram_takes_thirty_hashtags_and_no_more() -> None:
    tags = [f"#tag{n}" for n in range(31)]
    assert "platform_hashtags" not in problems(" ".join(tags[:30]), "instagram")
    assert "platform_hashtags" in problems(" ".join(tags), "instagram")


def test_more_hashtags_than_advised_are_only_a_warning() -> None:
    (rule,) = platform_checks("#one #two #three", PLATFORMS["x"])
    assert (rule.name, rule.measured, rule.fatal) == ("advised_hashtags", 3, False)


@pytest.mark.parametrize(
    "text", ["item #1 and #42", "# Heading", "a&#39;b", "https://example.com/#part", "C# is a language"]
)
def test_what_only_looks_like_a_hashtag_is_not_counted(text: str) -> None:
    assert platform_rules(text, PLATFORMS["email"])[1].measured == 0


@pytest.mark.parametrize(
    "text", ["#\u0939\u093f\u0928\u094d\u0926\u0940", "#\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48", "\uff03\u6625", "#3D"]
)
def test_a_hashtag_may_be_of_any_script(text: str) -> None:
    assert platform_rules(text, PLATFORMS["email"])[1].measured == 1


def test_a_title_line_has_a_limit_of_its_own_and_is_not_part_of_the_text() -> None:
    text = "**Title: A walk**\n\n" + "a" * 5000
    assert split_title(text, PLATFORMS["youtube"]) == ("A walk", "a" * 5000)
    assert problems(text, "youtube") == set()
    assert problems(f"Title: {'t' * 101}\n\nbody", "youtube") == {"platform_title"}
    assert problems("Subject:\n\nbody", "email") == {"platform_title"}


def test_a_first_line_with_another_label_is_text() -> None:
    assert split_title("Note: hello", PLATFORMS["youtube"]) == (None, "Note: hello")
    assert split_title("Title: hello", PLATFORMS["x"]) == (None, "Title: hello")


def test_youtube_refuses_angle_brackets() -> None:
    assert problems("now <b>new</b>", "youtube") == {"platform_forbidden"}


def test_every_rule_says_what_it_measured_and_wanted() -> None:
    rules = {
        rule.name: (rule.measured, rule.wanted, rule.passed) for rule in platform_rules("a #b", PLATFORMS["instagram"])
    }
    assert rules == {
        "platform_length": (4, "<= 2200 characters", True),
        "advised_hashtags": (1, "<= 5", True),
        "platform_hashtags": (1, "<= 30", True),
    }
