"""Blocked terms are found however they are disguised, and nowhere else; secrets do not reach the log."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.letter_folding import fold
from shared.domain.safety import check_prompt, find_blocked_terms, parse_terms, redact
from shared.errors import SettingsError

FILE = Path(__file__).parents[2] / "shared" / "domain" / "blocked_terms.toml"
SHIPPED = parse_terms(tomllib.loads(FILE.read_text(encoding="utf-8")))
RULES = parse_terms(
    {
        "allowed": ["bath bomb", "Nude Lipstick"],
        "blocked": {
            "weapons": ["bomb", "How to make a bomb", "AK-47"],
            "violence": ["kill", "rape", "kill yourself"],
            "sexual": ["cunt", "ass", "sex", "hell", "nude"],
            "drugs": ["lsd"],
            "other": ["\u70b8\u5f39", "\u0431\u043e\u043c\u0431\u0430"],
        },
    }
)


def found(text: str) -> list[str]:
    return find_blocked_terms(text, RULES)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("a bomb", "bomb"),
        ("BOMB!", "bomb"),
        ("(bomb)", "bomb"),
        ("bomb's fuse", "bomb"),
        ("bomb2", "bomb"),
        ("b o m b", "bomb"),
        ("b  o  m  b", "bomb"),
        ("b.o.m.b", "bomb"),
        ("b-o_m*b", "bomb"),
        ("b\no\nm\nb", "bomb"),
        ("draw a b o m b", "bomb"),
        ("m a k e   a   b o m b   n o w", "bomb"),
        ("bo-mb", "bomb"),
        ("bo.m_b", "bomb"),
        ("b\u043emb", "bomb"),  # Cyrillic o
        ("\u0412\u041e\u041cB", "bomb"),  # Cyrillic capitals
        ("b\u03bfmb", "bomb"),  # Greek o
        ("\uff42\uff4f\uff4d\uff42", "bomb"),  # full-width
        ("\U0001d41b\U0001d428\U0001d426\U0001d41b", "bomb"),  # mathematical bold
        ("\u24d1\u24de\u24dc\u24d1", "bomb"),  # circled
        ("\U0001f171\U0001f17e\U0001f17c\U0001f171", "bomb"),  # squared
        ("\u0299\u1d0f\u1d0d\u0299", "bomb"),  # small capitals
        ("b\u00f6mb b\u014dmb", "bomb"),  # accents
        ("b\u0335o\u0335m\u0335b", "bomb"),  # struck through
        ("b\u200bo\u200dm\u2060b", "bomb"),  # zero-width
        ("bo\u00admb", "bomb"),  # soft hyphen
        ("b\ufe0fomb", "bomb"),  # variation selector
        ("b0mb", "bomb"),
        ("80mb", "bomb"),
        ("k1ll", "kill"),
        ("ki11", "kill"),
        ("k!|l", "kill"),
        ("r4p3", "rape"),
        ("r@pe", "rape"),
        ("a$$", "ass"),
        ("how  to\nmake-a bomb", "how to make a bomb"),
        ("ak 47", "ak 47"),
        ("kill, yourself", "kill yourself"),
        ("\u5236\u9020\u70b8\u5f39\u65b9\u6cd5", "\u70b8\u5f39"),  # Chinese has no blanks
        ("\u0411\u043e\u043c\u0431\u0430!", fold("\u0431\u043e\u043c\u0431\u0430")),
    ],
)
def test_a_blocked_term_is_found_in_any_disguise(text: str, term: str) -> None:
    assert found(text) == [term]


@pytest.mark.parametrize(
    "text",
    [
        "Scunthorpe United",
        "a bunch of grapes, one grape, grapefruit, drapes",
        "skill, skillet, skilled, painkiller, Killarney",
        "assassin's creed, a class of glass, assess, embassy, bassist",
        "Essex, Sussex, sextant",
        "shell, hello, seashells, Michelle",
        "she'll, he\u2019ll, we'll, it's, I'd",
        "bombast, Bombay, bombard",
        "a 15d camera, 455 pixels, 1080p, 4k, 85mm, i5, mp3, 2x",
        "G R A P E",
        "S.K.I.L.L",
        "U.S.A., N.A.S.A., a b c d e f g",
        "a bath bomb and a Bath-Bomb",
        "nude  lipstick",
        "mass-assembly, close-up, high-quality, state-of-the-art",
        "mass $ale, 50% off @ the shop",
        "",
    ],
)
def test_innocent_words_raise_no_alarm(text: str) -> None:
    assert found(text) == []


def test_an_allowed_phrase_excuses_only_itself() -> None:
    assert found("a bath bomb beside a bomb") == ["bomb"]
    assert found("blood bath bombs, bath bomb") == []
    assert found("nude, lipsticks") == ["nude"]


def test_findings_name_each_category_once_and_never_the_prompt() -> None:
    findings = check_prompt("kill the canary with a bomb, then rape and a b0mb", RULES)
    assert [(finding.category, finding.code) for finding in findings] == [
        ("violence", "blocked_term"),
        ("weapons", "blocked_term"),
    ]
    assert not any(word in finding.message for finding in findings for word in ("canary", "kill", "bomb", "rape"))


def test_terms_that_begin_alike_are_told_apart() -> None:
    rules = parse_terms({"blocked": {"a": ["bomb", "bombs", "bomb shell", "bo"], "b": ["bombing run", "slot", "siot"]}})
    for term in rules.categories:
        assert find_blocked_terms(f"{term}.", rules) == [term]
    assert find_blocked_terms("bomb shells, bombing, bombs, slo7", rules) == ["bomb", "bombs", "slot"]


def test_a_list_of_many_terms_is_looked_for_in_a_long_text_within_reason() -> None:
    rules = parse_terms({"blocked": {"a": [f"term{i:x}x" for i in range(1000)]}, "allowed": ["good term7x"]})
    assert find_blocked_terms("good term7x, term7x, term3e7x " * 1000, rules) == ["term7x", "term3e7x"]


def test_terms_in_a_generated_text_are_told_once_each_in_order() -> None:
    assert find_blocked_terms("Rape, then a bomb; b.o.m.b, rape", RULES) == ["rape", "bomb"]


def test_rules_without_terms_find_nothing() -> None:
    assert check_prompt("a bomb", parse_terms({"blocked": {}})) == []


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({}, "blocked"),
        ({"blocked": ["bomb"]}, "blocked"),
        ({"blocked": {}, "alowed": []}, "alowed"),
        ({"blocked": {"weapons": "bomb"}}, "blocked.weapons"),
        ({"blocked": {"weapons": ["bomb", 3]}}, "blocked.weapons"),
        ({"blocked": {"weapons": ["b"]}}, "blocked.weapons"),
        ({"blocked": {"weapons": [" - "]}}, "blocked.weapons"),
        ({"blocked": {"weapons": ["bomb" * 1000]}}, "blocked.weapons"),
        ({"blocked": {}, "allowed": {}}, "allowed"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_place(document: dict[str, Any], place: str) -> None:
    with pytest.raises(SettingsError, match=place):
        parse_terms(document)


def test_the_shipped_terms_block_every_category_and_let_marketing_through() -> None:
    assert set(SHIPPED.categories.values()) == set(tomllib.loads(FILE.read_text(encoding="utf-8"))["blocked"])
    for term, category in SHIPPED.categories.items():
        assert find_blocked_terms(f"show me {term} please", SHIPPED) == [term]
        assert [finding.category for finding in check_prompt(term.upper(), SHIPPED)] == [category]
    for prompt in (
        "A lavender bath bomb on marble, a woman in a bomber jacket with nude nails",
        "Photo of a skilled therapist in Scunthorpe eating grapes beside analysis charts and cocktails",
        "Assassin's Creed style rooftops of Essex, a peacock and a dickcissel, class photo",
        "The heroine leads the suicide prevention campaign; a great replacement for paper cups",
    ):
        assert check_prompt(prompt, SHIPPED) == [], prompt


@given(st.text())
@example("e\u0301\u0316" * 2000)
@example("a b " * 2000)
def test_any_text_can_be_checked_and_folding_twice_is_folding_once(text: str) -> None:
    assert isinstance(find_blocked_terms(text, SHIPPED), list)
    once = fold(text)
    assert fold(once) == once


@given(st.sampled_from(["bomb", "kill", "rape"]), st.data())
def test_separators_of_any_sort_do_not_hide_a_term(term: str, data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.text(" .-_*/\t\u00b7", min_size=1, max_size=4), min_size=3, max_size=3))
    assert found("".join(char + gap for char, gap in zip(term, [*gaps, ""], strict=True))) == [term]


# ---------------------------------------------------------------- redaction


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("write to jane.o'doe+x@mail.shop.co.uk now", "write to [email] now"),
        ("<j\u00fcrgen@b\u00fccher.de>", "<[email]>"),
        ("call +49 170 1234567, (555) 123-4567", "call [phone], [phone]"),
        ("call 555-123-4567 or 0171 1234567 or 0049 30 901820", "call [phone] or [phone] or [phone]"),
        ("card 4111 1111 1111 1111 and 5500-0000-0000-0004", "card [card] and [card]"),
        ("378282246310005", "[card]"),
        ("to DE89 3704 0044 0532 0130 00 IS SENT", "to [iban] IS SENT"),
        ("gb82WEST12345698765432", "[iban]"),
        ("key=AIza" + "a" * 35, "key=[key]"),
        ("OpenAI sk-proj-" + "a1" * 20, "OpenAI [key]"),
        ("ghp_" + "a" * 36 + " hf_" + "b" * 34 + " r8_" + "c" * 37, "[key] [key] [key]"),
        ("token ya29.a0AfH6SMBxxxxxxxxxxxxxxxx", "token [key]"),
        ("Authorization: Bearer abc.def-ghi=", "Authorization: Bearer [key]"),
        ("authorization: bearer  abcdefgh", "authorization: bearer  [key]"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2ln", "[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\nok", "[key]\nok"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB cut off", "[key]"),
        (
            "GET https://storage.googleapis.com/b/o.png?X-Goog-Signature=ab&X-Goog-Date=1 404",
            "GET https://storage.googleapis.com/b/o.png?[query] 404",
        ),
        ("'https://u:pw@shop.com/a#t=1'", "'https://[user]@shop.com/a?[query]'"),
    ],
)
def test_personal_data_and_secrets_are_taken_out(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T12:00:00.000000Z job 0f3a9c2b44f1e6d7a8b9c0d1e2f30415 took 1234 ms",
        "1920x1080 at 30 fps, 0.067200 USD, 50000 micro-USD, v3.1.4, 192.168.10.20:8080",
        "gs://outputs/jobs/0f3a/1/0.png https://shop.com/a",
        "card 4111 1111 1111 1112",
        "DE88370400440532013000",
        "@mention and a@b",
        "basic example, token limit",
    ],
)
def test_what_a_log_is_for_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_any_text_can_be_redacted_and_stays_so(text: str) -> None:
    assert redact(redact(text)) == redact(text)
