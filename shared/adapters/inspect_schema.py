"""Holds JSON against a JSON Schema (draft 2020-12) that somebody else wrote, within bounds.

A schema can be a program: references that multiply, patterns that backtrack for ever. So evaluation counts its
steps, nothing is fetched, and a pattern that could be slow runs in a process of its own that is killed in time.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry

MAX_SCHEMA_NODES = 5_000
MAX_STEPS = 100_000
MAX_ERRORS = 20
MAX_PROPERTY_NAME = 200
_PATTERN_S = 2.0
_SLOW_PATTERNS = 10  # of one evaluation, that may take a process each
_SEARCH = "import json,re,sys;p,t=json.load(sys.stdin);sys.exit(0 if re.search(p,t) else 3)"
_REPEATS = re.compile(r"(?<!\\)(?:\\\\)*([*+]|\{\d*,\d*\})")
_GROUP_REPEATS = re.compile(r"\)(?:[*+]|\{\d*,)")
_CHEAP_WORK = 1_000_000  # characters to the power of repeats


class _TooMuch(Exception):
    """The evaluation was given up; the text says why."""


def text_errors(text: str, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with *text* as JSON of *schema*; empty when nothing is."""
    try:
        instance = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return [f"not JSON: {error}"]
    return schema_errors(instance, schema)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def schema_errors(instance: Any, schema: dict[str, Any]) -> list[str]:
    """Return at most 20 things that are wrong with *instance*, each with its place; empty when nothing is.

    Never raises: a schema that is none, refers elsewhere or takes too much work makes an error as well.
    """
    try:
        return _first_errors(instance, schema)
    except _TooMuch as error:
        return [f"schema: {error}"]
    except RecursionError:
        return ["schema: too deep"]
    except Exception as error:  # noqa: BLE001 - a schema can break the evaluator in ways that have no common type
        return [f"schema: {type(error).__name__}: {error}"[:300]]


def _first_errors(instance: Any, schema: dict[str, Any]) -> list[str]:
    _demand_bounded(schema)
    if any(len(name) > MAX_PROPERTY_NAME for name, _ in _members(instance)):
        raise _TooMuch(f"a property name of more than {MAX_PROPERTY_NAME} characters")
    errors = _validator()(schema, registry=Registry()).iter_errors(instance)
    return [_sentence(error) for error in itertools.islice(errors, MAX_ERRORS)]


def _sentence(error: ValidationError) -> str:
    return f"{error.json_path}: {error.message}"[:300]


def schema_problem(schema: Any) -> str | None:
    """Return why *schema* is no JSON schema that we accept; None when it is one. Never raises."""
    if not isinstance(schema, dict):
        return "a JSON schema is an object"
    try:
        _demand_bounded(schema)
        errors = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA).iter_errors(schema)
        worst = best_match(errors)
    except (SchemaError, ValueError, re.error) as error:
        return str(error)[:300]
    except RecursionError:
        return "too deep"
    return None if worst is None else _sentence(worst)


def _demand_bounded(schema: dict[str, Any]) -> None:
    """Refuse what cannot be evaluated here. Raises ValueError."""
    for count, (key, value) in enumerate(_members(schema)):
        if count > MAX_SCHEMA_NODES:
            raise ValueError(f"more than {MAX_SCHEMA_NODES} members")
        if key in {"$ref", "$dynamicRef"} and isinstance(value, str) and not value.startswith("#"):
            raise ValueError(f"{key} {value!r} refers to another document")
        if key == "pattern" and isinstance(value, str):
            re.compile(value)
        if key == "patternProperties" and isinstance(value, dict):
            for pattern in value:
                re.compile(pattern)
                if not _is_cheap(pattern, MAX_PROPERTY_NAME):
                    raise ValueError(f"pattern {pattern!r} could take too long")


def _members(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield every (key, value) of every object in *document*."""
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


# ---------------------------------------------------------------- bounded evaluation


def _validator() -> Callable[..., Any]:
    """Return a validator class whose keywords count their steps, for one evaluation."""
    steps = [0]
    slow = [0]
    keywords = {name: _counted(check, steps) for name, check in jsonschema.Draft202012Validator.VALIDATORS.items()}
    keywords["pattern"] = functools.partial(_pattern, slow)
    bounded: Callable[..., Any] = extend(jsonschema.Draft202012Validator, keywords)  # type: ignore[no-untyped-call]
    return bounded


def _counted(check: Callable[..., Any], steps: list[int]) -> Callable[..., Any]:
    def counting(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        size = len(instance) if isinstance(instance, dict | list) else 0
        compares = size * size if value is True else size  # uniqueItems holds each item against each
        steps[0] += 1 + compares // 128
        if steps[0] > MAX_STEPS:
            raise _TooMuch("takes too much work")
        return check(validator, value, instance, schema)

    return counting


def _pattern(slow: list[int], validator: Any, pattern: str, text: Any, _: Any) -> Iterator[ValidationError]:
    if not validator.is_type(text, "string"):
        return
    if _is_cheap(pattern, len(text)):
        found = re.search(pattern, text) is not None
    else:
        slow[0] += 1
        if slow[0] > _SLOW_PATTERNS:
            raise _TooMuch("too many patterns that could take long")
        found = _search_apart(pattern, text)
    if not found:
        yield ValidationError(f"{text[:100]!r} does not match {pattern!r}")


def _is_cheap(pattern: str, length: int) -> bool:
    """Whether matching is surely quick: no repeated group, and few repeats for the length of the text."""
    repeats = len(_REPEATS.findall(pattern))
    return not _GROUP_REPEATS.search(pattern) and max(length, 2) ** repeats <= _CHEAP_WORK


def _search_apart(pattern: str, text: str) -> bool:
    """Return whether *pattern* is found in *text*; a match that takes longer than two seconds is given up."""
    command = [sys.executable, "-I", "-S", "-c", _SEARCH]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and our own program; the pattern is its input
            command, input=json.dumps([pattern, text]).encode(), timeout=_PATTERN_S, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise _TooMuch(f"pattern {pattern!r} takes too long") from None
    if done.returncode not in {0, 3}:
        raise _TooMuch(f"pattern {pattern!r} does not run")
    return done.returncode == 0
