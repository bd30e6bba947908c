"""Verdicts on texts: each fault is found, and honest text of any script is not blamed."""

from __future__ import annotations

import json

import pytest

from shared.domain.quality import Check, PieceVerdict
from shared.domain.text_quality import judge_text

GOOD = (
    "The harbour wakes slowly in autumn. Fishing boats return with the tide, and gulls argue over every crate. "
    "By noon the market is loud, bright and full of salt.\n\n"
    "Nobody hurries here. Bread is bought warm, coffee is taken standing, and news travels faster than the ferry."
)
JAPANESE = (
    "港の朝はゆっくりと始まります。"
    "漁船が潮とともに戻り、かもめが箱をめぐって騒ぎます。"
    "昼には市場がにぎわい、パンはまだ温かいままです。"
)
HINDI = "पतझड़ में बंदरगाह धीरे-धीरे जागता है। मछुआरों की नावें ज्वार के साथ लौटती हैं। दोपहर तक बाज़ार रोशनी और आवाज़ों से भर जाता है।"
THAI = "ท่าเรือตื่นขึ้นอย่างช้าๆในฤดูใบไม้ร่วง เรือประมงกลับมาพร้อมกับน้ำขึ้น ตอนเที่ยงตลาดก็เต็มไปด้วยแสงสีและเสียงผู้คน"
ARABIC = "يستيقظ الميناء ببطء في الخريف. تعود قوارب الصيد مع المد، وتتجادل النوارس حول كل صندوق. هل زرت السوق ظهرا؟"


def judge(
    text: str,
    *,
    finish: str = "stop",
    platform: str | None = None,
    schema_errors: list[str] | None = None,
    blocked: tuple[str, ...] = (),
    min_grade: str = "C",
) -> PieceVerdict:
    return judge_text(
        text,
        finish=finish,
        platform=platform,
        schema_errors=schema_errors,
        blocked_terms_found=list(blocked),
        min_grade=min_grade,
    )


def failed(verdict: PieceVerdict) -> set[str]:
    return {check.name for check in verdict.checks if not check.passed and check.name != "grade"}


def check(verdict: PieceVerdict, name: str) -> Check:
    return next(c for c in verdict.checks if c.name == name)


@pytest.mark.parametrize("text", [GOOD, JAPANESE, HINDI, THAI, ARABIC, "👍", "42", "Oslo", "Yes. Yes. Yes. No."])
def test_an_honest_text_of_any_script_is_an_a(text: str) -> None:
    verdict = judge(text)
    assert (verdict.grade, verdict.approved, failed(verdict)) == ("A", True, set())


@pytest.mark.parametrize("text", ["", "  \n\t ", "...", "\u200b\u200b", "---\n***"])
def test_a_text_without_anything_to_read_is_refused(text: str) -> None:
    verdict = judge(text, min_grade="D")
    assert (verdict.grade, verdict.approved) == ("D", False)
    assert "not_empty" in failed(verdict)


def test_a_text_cut_by_the_token_limit_is_at_most_a_c() -> None:
    verdict = judge(GOOD, finish="max_tokens")
    assert (verdict.grade, verdict.approved, failed(verdict)) == ("C", True, {"finish"})
    assert not judge(GOOD, finish="max_tokens", min_grade="B").approved


def test_json_cut_by_the_token_limit_is_refused() -> None:
    verdict = judge('{"a": 1', finish="max_tokens", schema_errors=["not JSON"], min_grade="D")
    assert not verdict.approved
    assert {"finish", "schema"} <= failed(verdict)


@pytest.mark.parametrize("cut", [GOOD[:-20], GOOD[:-40].rstrip() + ",", GOOD + " And then there was the"])
def test_a_text_that_stops_in_mid_sentence_is_marked_down(cut: str) -> None:
    verdict = judge(cut)
    assert (verdict.grade, verdict.approved, failed(verdict)) == ("B", True, {"ends_whole"})


@pytest.mark.parametrize(
    "ending",
    [
        "\n\n#harbour #autumn",
        "\n\n- salt\n- bread",
        "\n\nKind regards",
        " 🌊",
        " (Really.)",
        "\n\nhttps://example.com/a/long/path/to/a/page",
    ],
)
def test_an_ending_without_a_full_stop_can_be_whole(ending: str) -> None:
    assert judge(GOOD + ending).grade == "A"


def test_a_text_in_a_script_without_full_stops_is_whole() -> None:
    assert check(judge(THAI), "ends_whole").passed


@pytest.mark.parametrize(
    "loop",
    [
        GOOD.split("\n", maxsplit=1)[0] + " The market opens at noon again." * 30,
        "I will not write on walls any more.\n" * 12,
        JAPANESE * 4,
        "ha " * 200,
        "a" * 3000,
        "😀" * 400,
        "the same old words go round and round " * 15,
    ],
)
def test_a_loop_is_refused(loop: str) -> None:
    verdict = judge(loop, min_grade="D")
    assert (verdict.grade, verdict.approved) == ("D", False)
    assert failed(verdict) & {"repeated_sentences", "repeated_phrases", "compression"}


def test_a_refrain_is_only_a_warning() -> None:
    refrain = "And the harbour sings its old slow song."
    verses = [s.strip() + "." for s in GOOD.replace("\n\n", " ").split(".") if s.strip()]
    song = "\n".join(f"{verse}\n{refrain}" for verse in verses)
    verdict = judge(song)
    assert verdict.approved
    assert verdict.grade in {"B", "C"}
    assert "repeated_sentences" in failed(verdict)


def test_the_same_sentence_with_other_numbers_and_capitals_is_a_repeat() -> None:
    text = "\n".join(
        f"{n}. Look at the harbour today!" if n % 2 else f"{n}. LOOK AT THE HARBOUR TODAY!" for n in range(1, 7)
    )
    assert check(judge(text), "repeated_sentences").measured > 0.8


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\u202e", "\ud800"])
def test_control_characters_are_refused(char: str) -> None:
    assert failed(judge(GOOD + char + " Yes.", min_grade="D")) == {"control_characters"}


def test_tabs_line_breaks_and_joiners_are_not_control_characters() -> None:
    assert judge("One\ttwo\r\nthree. \U0001f468\u200d\U0001f469 می\u200cروم.").grade == "A"


def test_blocked_terms_in_the_output_are_refused_and_named() -> None:
    verdict = judge(GOOD, blocked=("salt",), min_grade="D")
    assert not verdict.approved
    assert check(verdict, "blocked_terms").measured == ["salt"]


def test_platform_limits_are_fatal() -> None:
    verdict = judge(GOOD * 2, platform="threads", min_grade="D")
    assert "platform_length" in failed(verdict)
    assert not verdict.approved
    assert "platform_hashtags" in failed(
        judge(" ".join(f"#tag{chr(97 + n % 26)}{n}" for n in range(31)), platform="instagram")
    )


def test_more_hashtags_than_advised_cost_a_grade_and_no_more() -> None:
    verdict = judge("A short note. #one #two #three", platform="x")
    assert (verdict.grade, verdict.approved) == ("B", True)


def test_an_unknown_platform_is_a_warning() -> None:
    assert failed(judge(GOOD, platform="friendster")) == {"platform"}


def test_schema_errors_are_fatal_and_listed() -> None:
    verdict = judge('{"a": 1}', schema_errors=["a: 1 is not a string"], min_grade="D")
    assert not verdict.approved
    assert check(verdict, "schema").measured == ["a: 1 is not a string"]


def test_json_is_judged_by_its_strings_and_not_by_its_shape() -> None:
    rows = [{"type": "row", "colour": "blue", "amount": 0, "note": ""} for _ in range(60)]
    assert failed(judge(json.dumps(rows), schema_errors=[])) <= {"compression"}
    assert judge(json.dumps(rows), schema_errors=[]).grade == "A"
    assert "compression" in failed(judge(json.dumps({"post": "ha " * 200}), schema_errors=[]))


def test_platform_rules_hold_for_each_string_of_json() -> None:
    assert judge(json.dumps({"posts": [GOOD, "One more.", HINDI]}), schema_errors=[], platform="x").grade == "A"
    verdict = judge(json.dumps({"ok": "fine", "deep": [{"post": "a b " * 71}]}), schema_errors=[], platform="x")
    assert check(verdict, "platform_length").measured == 283


def test_the_grade_is_held_against_the_one_that_was_asked_for() -> None:
    verdict = judge(GOOD[:-20], min_grade="A")
    assert not verdict.approved
    assert check(verdict, "grade").measured == "B (80 of 100)"
    assert check(verdict, "grade").wanted == "A or better"


def test_every_check_is_json_and_says_what_it_wanted() -> None:
    verdict = judge(GOOD, platform="linkedin")
    assert all(c.wanted for c in verdict.checks)
    assert json.loads(json.dumps([c.measured for c in verdict.checks]))
