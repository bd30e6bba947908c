"""The offline writer: texts, posts and JSON that pass the gate for any prompt, the same every time."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from shared.domain.platforms import PLATFORMS, platform_checks, thread_parts, weighted_length
from shared.domain.text_quality import judge_text
from shared.errors import InvalidCall
from shared.providers.studio.text import TASKS, count_tokens, render_template, render_text
from shared.providers.studio.text_pattern import draw, read_pattern
from shared.providers.studio.text_topic import Dice, read_topic

BACKPACK = "Write a LinkedIn post about our new solar powered backpack for hikers in Norway"
HOSTILE = [
    "",
    " \n\t ",
    "!!! ???",
    "a",
    "5 5 5 5",
    "the of and to",
    "🍕🔥👨\u200d👩\u200d👧\u200d👦🇳🇴",
    "x" * 5000,
    "{a} {b} {0} %s %(x)s ${y} {{",
    "\x00\x1b[31m\u202eevil\ud800\ufffe",
    "Z̷̢̛a̴l̵g̶o " * 40,
    "<script>alert(1)</script> '; DROP TABLE jobs; --",
    "新しいコーヒーショップの開店についての投稿を書いてください",
    "请写一篇关于城市公园的文章",
    "주말 캠핑 여행에 대한 글을 써 주세요",
    "เขียนโพสต์เกี่ยวกับการเดินทางในเชียงใหม่",
    "हिन्दी में पर्वतारोहण के बारे में एक लेख लिखें",
    "اكتب منشورا عن القهوة العربية",
    "Schreibe einen Beitrag über nachhaltige Mode aus Leinen",
    "mail me@example.com or see https://example.com/a?b=c #tag @someone",
    "#one #two #three #four #five #six",
    "".join(chr(0x1D4D0 + n) for n in range(20)) + " " + "".join(chr(0x1D4EA + n) for n in range(20)),
    "word " * 3000,
]
PLATFORM_NAMES = [None, *PLATFORMS]

prompts = st.one_of(
    st.sampled_from([BACKPACK, *HOSTILE]),
    st.text(max_size=200),
    st.lists(st.sampled_from([*BACKPACK.split(), "Kaffee", "東京", "кофе", "☕", "and", "about"]), max_size=30).map(
        " ".join
    ),
)


def grade(text: str, platform: str | None = None, *, is_json: bool = False) -> str:
    return judge_text(
        text,
        finish="stop",
        platform=platform,
        schema_errors=[] if is_json else None,
        blocked_terms_found=[],
        min_grade="B",
    ).grade


# ---------------------------------------------------------------- any prompt


@given(
    prompt=prompts,
    task=st.sampled_from(TASKS),
    platform=st.sampled_from(PLATFORM_NAMES),
    seed=st.integers(0, 2**40),
    max_tokens=st.one_of(st.integers(1, 60), st.just(1024)),
)
@settings(max_examples=400)
def test_any_text_passes_the_gate_and_fits(
    prompt: str, task: str, platform: str | None, seed: int, max_tokens: int
) -> None:
    text, finish = render_text(prompt, task=task, platform=platform, seed=seed, max_tokens=max_tokens)
    assert finish == "stop"
    assert count_tokens(text) <= max_tokens
    assert grade(text, platform) in {"A", "B"}


@pytest.mark.parametrize("prompt", HOSTILE)
def test_any_template_passes_the_gate(prompt: str) -> None:
    for platform in PLATFORM_NAMES:
        text, finish = render_template(prompt, platform=platform)
        assert finish == "stop"
        assert grade(text, platform) in {"A", "B"}


@given(prompt=prompts, seed=st.integers(0, 999), platform=st.sampled_from(PLATFORM_NAMES))
@settings(max_examples=100)
def test_any_json_passes_the_gate(prompt: str, seed: int, platform: str | None) -> None:
    schema = SCHEMAS["post"]
    text, _ = render_text(prompt, task="content", schema=schema, seed=seed, platform=platform)
    Draft202012Validator(schema).validate(json.loads(text))
    assert grade(text, platform, is_json=True) in {"A", "B"}


@given(prompt=prompts, task=st.sampled_from(TASKS), platform=st.sampled_from(PLATFORM_NAMES))
@settings(max_examples=150)
def test_no_sentence_comes_twice(prompt: str, task: str, platform: str | None) -> None:
    text, _ = render_text(prompt, task=task, platform=platform)
    sentences = [
        s
        for s in re.split(r"(?<=[.!?])\s+", re.sub(r"^(\d+[./]\d*|[-•]) ", "", text, flags=re.MULTILINE))
        if len(s) > 12
    ]
    assert len(sentences) == len(set(sentences))


# ---------------------------------------------------------------- same and different


def test_the_same_call_gives_the_same_text() -> None:
    assert render_text(BACKPACK, task="content", seed=3) == render_text(BACKPACK, task="content", seed=3)
    # A fixed text: other machines and later versions of Python must agree.
    assert Dice("prompt", 7).below(1000) == 344


@pytest.mark.parametrize("task", TASKS)
def test_seeds_give_different_texts(task: str) -> None:
    texts = {render_text(BACKPACK, task=task, seed=seed)[0] for seed in range(50)}
    assert len(texts) >= 48


def test_the_system_prompt_and_the_prompt_change_the_text() -> None:
    plain = render_text(BACKPACK, task="general")[0]
    assert render_text(BACKPACK, task="general", system="Be brief.")[0] != plain
    assert render_text(BACKPACK + "!", task="general")[0] != plain


# ---------------------------------------------------------------- what it is about


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        (BACKPACK, ("new solar powered backpack", "hikers", "Norway")),
        ("Explain quantum computing", ("quantum computing",)),
        ("Launch of our cold brew coffee, with oat milk", ("cold brew coffee", "Launch", "oat milk")),
        ("请写一篇关于城市公园的文章", ("城市公园",)),
        ("新しいコーヒーショップの開店について", ("コーヒーショップ", "開店")),
        ("เขียนโพสต์เกี่ยวกับการเดินทางในเชียงใหม่", ("เดินทาง", "เชียงใหม่")),
        ("Beitrag über nachhaltige Mode aus Leinen", ("nachhaltige Mode", "Leinen")),
        ("🍕🔥🍕", ("🍕", "🔥")),
        ("write to me@example.com, see https://example.com/x about cats", ("cats",)),
    ],
)
def test_the_key_phrases_of_a_prompt_are_found(prompt: str, phrases: tuple[str, ...]) -> None:
    assert read_topic(prompt, Dice(prompt)).phrases[: len(phrases)] == phrases


@pytest.mark.parametrize("task", TASKS)
def test_a_text_is_about_the_prompt(task: str) -> None:
    for seed in range(10):
        text = render_text(BACKPACK, task=task, seed=seed)[0]
        assert "solar powered backpack" in text
        assert "our new solar powered backpack" in text


def test_personal_addresses_are_not_repeated() -> None:
    prompt = "Invite jane.roe@corp.example and @jroe to the picnic, see https://corp.example/u/42"
    for platform in PLATFORM_NAMES:
        text = render_text(prompt, task="content", platform=platform)[0]
        assert "picnic" in text
        assert not re.search("jane|corp|jroe", text)


# ---------------------------------------------------------------- forms


def test_lengths_follow_the_task() -> None:
    def sentences(text: str) -> int:
        return len(re.findall(r"[.!?](?=\s|$)", text))

    for seed in range(20):
        fast, general, content, complex_text = (
            render_text(BACKPACK, task=task, seed=seed)[0] for task in ("fast", "general", "content", "complex")
        )
        assert 2 <= sentences(fast) <= 3
        assert 1 <= len(general.split("\n\n")) <= 2
        assert 3 <= len(content.split("\n\n")) <= 4
        assert complex_text.startswith("# ")
        assert len(re.findall("^## ", complex_text, re.MULTILINE)) >= 4


def test_reasoning_is_numbered_steps_and_a_conclusion() -> None:
    for seed in range(10):
        text = render_text(BACKPACK, task="reasoning", seed=seed)[0]
        numbers = re.findall(r"^(\d)\. ", text, re.MULTILINE)
        assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
        assert len(numbers) >= 4
        assert text.split("\n\n")[-1].startswith("Conclusion: ")


@pytest.mark.parametrize(
    "prompt", [BACKPACK, "주말 캠핑 여행에 대한 글 자연 산책 하이킹 캠프파이어 별빛", "🍕", "東京の夜景"]
)
def test_x_gets_a_numbered_thread(prompt: str) -> None:
    for seed in range(25):
        text = render_text(prompt, task="content", platform="x", seed=seed)[0]
        parts = thread_parts(text)
        assert 3 <= len(parts) <= 6
        assert [part.split()[0] for part in parts] == [f"{n}/{len(parts)}" for n in range(1, len(parts) + 1)]
        assert max(map(weighted_length, parts)) <= 280
        assert 1 <= len(re.findall(r"#\w", text)) <= 2


@pytest.mark.parametrize(("platform", "fewest", "most"), [("linkedin", 3, 5), ("instagram", 3, 5), ("threads", 1, 1)])
def test_posts_carry_hashtags_of_the_prompt(platform: str, fewest: int, most: int) -> None:
    for seed in range(10):
        text = render_text(BACKPACK, task="content", platform=platform, seed=seed)[0]
        tags = re.findall(r"#\w+", text)
        assert fewest <= len(tags) <= most
        assert tags[0] == "#NewSolarPoweredBackpack"
        assert len(tags) == len(set(tags))


def test_email_has_a_subject_and_a_sign_off() -> None:
    lines = render_text(BACKPACK, task="content", platform="email")[0].split("\n")
    assert lines[0].startswith("Subject: ")
    assert lines[1] == ""
    assert lines[-1] in {"Kind regards", "With best wishes", "Until soon", "With thanks and best wishes"}


def test_youtube_has_a_title() -> None:
    assert render_text(BACKPACK, task="content", platform="youtube")[0].startswith("Title: ")


def test_a_platform_is_known_by_any_spelling() -> None:
    assert len(thread_parts(render_text(BACKPACK, task="content", platform="Twitter")[0])) >= 3


def test_a_short_limit_keeps_the_ending_of_a_form() -> None:
    text = render_text(BACKPACK, task="reasoning", max_tokens=120)[0]
    assert text.split("\n\n")[-1].startswith("Conclusion: ")
    assert render_text(BACKPACK, task="content", platform="linkedin", max_tokens=80)[0].endswith(
        "ackpack #Hikers #Norway"
    )


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5, 8, 13, 21, 34])
def test_a_tiny_limit_still_gives_a_whole_sentence(max_tokens: int) -> None:
    for platform in PLATFORM_NAMES:
        text = render_text("x" * 300, task="general", platform=platform, max_tokens=max_tokens)[0]
        assert count_tokens(text) <= max_tokens
        assert re.search(r"[.!?\w]$", text)


def test_a_heading_is_never_left_alone() -> None:
    for max_tokens in range(10, 400, 7):
        text = render_text(BACKPACK, task="complex", max_tokens=max_tokens)[0]
        assert not text.split("\n")[-1].startswith("## ")


def test_a_template_is_short_plain_and_of_the_platform() -> None:
    text = render_template(BACKPACK)[0]
    assert "our new solar powered backpack" in text
    assert len(text) < 400
    assert render_template(BACKPACK, platform="email")[0].startswith("Subject: ")
    for platform, rules in PLATFORMS.items():
        assert not platform_checks(render_template(BACKPACK, platform=platform)[0], rules)
    assert count_tokens(render_template(BACKPACK, max_tokens=3)[0]) <= 3


def test_unknown_tasks_and_platforms_are_refused() -> None:
    with pytest.raises(InvalidCall, match="unknown task 'poem'"):
        render_text("a poem", task="poem")
    with pytest.raises(InvalidCall, match="unknown platform 'friendster'"):
        render_template("a poem", platform="friendster")


@pytest.mark.parametrize(("text", "tokens"), [("", 1), ("a", 1), ("abcd", 1), ("abcde", 2), ("a" * 400, 100)])
def test_tokens_are_four_characters(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


# ---------------------------------------------------------------- JSON


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


TEXT, COUNT = {"type": "string"}, {"type": "integer"}
SCHEMAS: dict[str, Any] = {
    "product": _object(
        title={"type": "string", "maxLength": 60},
        summary={"type": "string", "minLength": 40, "maxLength": 200},
        tags={"type": "array", "items": TEXT, "minItems": 3, "maxItems": 5, "uniqueItems": True},
        price={"type": "number", "minimum": 0, "multipleOf": 0.01},
        in_stock={"type": "boolean"},
    ),
    "post": _object(
        post=TEXT,
        hashtags={"type": "array", "items": {"type": "string", "pattern": r"^#\w+$"}, "maxItems": 2},
        publishDate={"type": "string", "format": "date"},
        sentiment={"enum": ["positive", "neutral", "negative"]},
        cta={"type": "string", "maxLength": 80},
    ),
    "any": {},
    "short text": {"type": "string", "maxLength": 3},
    "exact text": {"type": "string", "minLength": 12, "maxLength": 12},
    "long text": {"type": "string", "minLength": 3000, "maxLength": 3100},
    "enum": {"enum": ["red", 2, None, {"a": 1}]},
    "const": {"const": {"k": [1, 2, {"x": None}]}},
    "one integer": {"type": "integer", "minimum": 7, "maximum": 7},
    "between": {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
    "multiple": {"type": "integer", "minimum": 100, "multipleOf": 7},
    "negative": {"type": "number", "maximum": -3.5},
    "fraction": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "tenths": {"type": "number", "minimum": 19.85, "maximum": 20.15, "multipleOf": 0.1},
    "formats": _object(
        **{
            name.replace("-", "_"): {"type": "string", "format": name}
            for name in ("date", "time", "date-time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname")
        }
    ),
    "one of": {"oneOf": [_object(kind={"const": "a"}, n=COUNT), _object(kind={"const": "b"})]},
    "nullable": _object(
        x={"anyOf": [{"type": "null"}, {"type": "string", "minLength": 5}]}, y={"type": ["null", "integer"]}
    ),
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": COUNT}, "required": ["a"]},
            {"properties": {"a": {"minimum": 10}, "b": TEXT}, "required": ["b"]},
        ]
    },
    "references": {
        "$defs": {"item": _object(name=TEXT, qty={"$ref": "#/$defs/a~1b"}), "a/b": {"type": "integer", "minimum": 1}},
        **_object(items={"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 4}),
    },
    "tree": {
        "$ref": "#/$defs/node",
        "$defs": {"node": _object(label=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/node"}})},
    },
    "list": {
        "$ref": "#/$defs/link",
        "$defs": {"link": {"anyOf": [_object(value=COUNT, next={"$ref": "#/$defs/link"}), {"type": "null"}]}},
    },
    "tuple": {"type": "array", "prefixItems": [TEXT, COUNT], "items": False, "minItems": 2},
    "contains": {"type": "array", "items": COUNT, "contains": {"const": 42}, "minItems": 2},
    "unique": {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": 10},
        "minItems": 10,
        "uniqueItems": True,
    },
    "unique enum": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    "more properties": {"type": "object", "minProperties": 4, "additionalProperties": {"type": "number"}},
    "named by pattern": {"patternProperties": {"^S_": TEXT}, "additionalProperties": False, "minProperties": 3},
    "names": {"type": "object", "propertyNames": {"pattern": "^[a-z]{3}$"}, "minProperties": 2},
    "not": {"type": "integer", "minimum": 1, "maximum": 3, "not": {"enum": [1, 2]}},
    "if": {
        "type": "object",
        "properties": {"kind": {"enum": ["x", "y"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "x"}}},
        "then": {"required": ["ex"]},
        "else": {"required": ["why"]},
    },
    "dependent": {
        "type": "object",
        "properties": {"card": TEXT},
        "required": ["card"],
        "dependentRequired": {"card": ["address"]},
    },
    "forbidden property": {"type": "object", "properties": {"old": False, "new": TEXT}},
}
PATTERNS = [
    r"^[A-Z]{3}-\d{4}$",
    r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
    r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$",
    r"^\+?[1-9]\d{1,14}$",
    r"^(?=.*[A-Z])(?=.*\d).{8,}$",
    r"^(?:draft|final)_v\d+(\.\d+)?$",
    r"^[^\s@]+@[^\s@]+\.[a-z]{2,}$",
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$",
    r"^(?P<letter>[\w.-])\1{0}$|^[A-F]$",
    r"^[\u0041-\u0043\-\]]{2,3}$",
    r"ing",
    r"^(\w+\s?)*$",
]


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("prompt", [BACKPACK, "🍕", "東京の夜景", ""])
def test_an_instance_validates(name: str, prompt: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for seed in range(5):
        text, finish = render_text(prompt, task="general", schema=schema, seed=seed, max_tokens=4096)
        validator.validate(json.loads(text))
        assert finish == "stop"
    validator.validate(json.loads(render_template(prompt, schema=schema, max_tokens=4096)[0]))


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if r"\1" not in p])
@pytest.mark.parametrize("least", [0, 40])
def test_a_simple_pattern_is_matched(pattern: str, least: int) -> None:
    schema = {"type": "string", "pattern": pattern, "minLength": least}
    try:
        value = json.loads(render_text(BACKPACK, task="general", schema=schema)[0])
    except InvalidCall:
        assert any(bounded in pattern for bounded in ("{4}$", "{6})$", "{1,14}$", r"3[01])$", "{2,3}$"))
        assert least == 40
    else:
        assert re.search(pattern, value)
        assert len(value) >= least


@given(seed=st.integers(0, 10_000), spread=st.integers(0, 20))
@settings(max_examples=60)
def test_a_drawn_string_matches_its_expression(seed: int, spread: int) -> None:
    for pattern in PATTERNS:
        if "(?=" not in pattern and r"\1" not in pattern:
            assert re.search(pattern, draw(read_pattern(pattern), Dice(seed), spread)), pattern


def test_property_names_give_hints() -> None:
    names = ("title", "summary", "tags", "unitPrice", "contact_email", "slug", "year", "cta")
    schema = _object(
        **dict.fromkeys(names, TEXT)
        | {"unitPrice": {"type": "number"}, "year": COUNT, "tags": {"type": "array", "items": TEXT}}
    )
    value = json.loads(render_text(BACKPACK, task="general", schema=schema)[0])
    assert "solar powered backpack" in value["title"]
    assert value["summary"].endswith(".")
    assert {"hikers", "Norway", "new solar powered backpack"} >= set(value["tags"])
    assert value["unitPrice"] == 19.5
    assert value["contact_email"] == "new-solar-powered-backpack@example.com"
    assert value["slug"] == "new-solar-powered-backpack"
    assert value["year"] == 2026


def test_json_is_never_cut_but_made_lean() -> None:
    schema = SCHEMAS["product"] | {"required": ["title", "tags"]}
    full = json.loads(render_text(BACKPACK, task="general", schema=schema)[0])
    text = render_text(BACKPACK, task="general", schema=schema, max_tokens=40)[0]
    assert set(full) == {"title", "summary", "tags", "price", "in_stock"}
    assert set(json.loads(text)) == {"title", "tags"}
    assert count_tokens(text) <= 40
    with pytest.raises(InvalidCall, match=r"more than max_tokens = 8"):
        render_text(BACKPACK, task="general", schema=schema, max_tokens=8)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 4}, "nothing can satisfy it"),
        ({"not": {}}, "nothing can satisfy it"),
        (_object(a={"type": "string"}, b={"enum": []}), "at /b: nothing can satisfy it"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "at /a"),
        ({"allOf": [TEXT, COUNT]}, "nothing can satisfy it"),
        ({"$ref": "https://example.com/schema.json"}, "is not local"),
        ({"$ref": "#/$defs/nowhere"}, "points to nothing"),
        ({"$ref": "#"}, "nothing can satisfy it"),
        ({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}, "nested too deeply"),
        (
            {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "uniqueItems": True},
            "differs from the others",
        ),
        ({"type": "array", "minItems": 10**9}, "1000000000 items"),
        ({"type": "string", "minLength": 10**9}, "1000000000 characters"),
        ({"type": "string", "pattern": "("}, "unclosed"),
        ({"type": "string", "pattern": r"^(a)\1$"}, "back-reference"),
        ({"type": "string", "pattern": "^(a{9999}){9999}$"}, "more than 20000 characters"),
        ({"type": "string", "pattern": "^[a-z]{3}$", "minLength": 5}, "no text of 5 to"),
        ({"type": "strange"}, "nothing can satisfy it"),
        ({"type": "object", "properties": 5}, "cannot be read"),
        ({"type": "integer", "multipleOf": 0}, "cannot be read"),
        ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 2}}, "$ref": "#/$defs/a"}, "nothing can satisfy it"),
        ({"allOf": [{"anyOf": [{"minimum": n} for n in range(8)]}] * 12 + [{"enum": ["x"]}, COUNT]}, "nothing can"),
    ],
)
def test_a_schema_that_cannot_be_satisfied_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidCall, match=re.escape(message)):
        render_text(BACKPACK, task="general", schema=schema)
