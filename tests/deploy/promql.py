"""As much of PromQL as tells which metrics, labels and values an expression asks for, and which of them there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.adapters.cloud_monitoring import TYPE_PREFIX
from shared.metrics import METRICS

# Google's own metrics: the resource and the labels of each, from the page that lists them.
GOOGLES: Mapping[str, tuple[str, set[str]]] = {
    # cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-pubsub
    "pubsub_googleapis_com:subscription_oldest_unacked_message_age": ("pubsub_subscription", {"subscription_id"}),
    # cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run
    "run_googleapis_com:request_count": ("cloud_run_revision", {"service_name", "response_code"}),
}

_SELECTOR = re.compile(r"([A-Za-z_]\w*:\w+)\{([^{}]*)\}")
_MATCHER = re.compile(r"(\w+)(=~|!~|!=|=)'([^']*)'")
_BY = re.compile(r"\bby \(([^()]*)\)")
_WINDOW = re.compile(r"\[(\d+)([smhd])\]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOSING = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class Matcher:
    """A condition on a label; *values* has the alternatives of a regular expression."""

    label: str
    wants: bool
    values: tuple[str, ...]

    def admits(self, value: str | None) -> bool:
        return (value in self.values) is self.wants


@dataclass(frozen=True)
class Selector:
    """A metric and the conditions on its labels."""

    metric: str
    matchers: tuple[Matcher, ...]


def selectors(expression: str) -> Iterator[Selector]:
    """Yield the selectors of an expression; each must have braces."""
    found = list(_SELECTOR.finditer(expression))
    named = re.findall(r"\w+:\w+", expression)
    assert len(found) == len(named), f"a metric has no braces in {expression}"
    for selector in found:
        matchers = [
            Matcher(label, operator[0] == "=", tuple(text.split("|") if "~" in operator else [text]))
            for label, operator, text in _MATCHER.findall(selector[2])
        ]
        rest = _MATCHER.sub("", selector[2]).replace(",", "").strip()
        assert not rest, f"not understood: {rest!r} in {expression}"
        yield Selector(selector[1], tuple(matchers))


def grouped_by(expression: str) -> set[str]:
    """Return the labels that are left of some of its aggregations."""
    return {label.strip() for labels in _BY.findall(expression) for label in labels.split(",")}


def labels_of(metric: str) -> set[str]:
    """Return the labels that its series may have. Raises AssertionError for a metric that nobody writes."""
    if metric in GOOGLES:
        return GOOGLES[metric][1]
    name, part = declared(metric)
    return {*METRICS[name].labels, *(["le"] if part == "_bucket" else [])}


def declared(metric: str) -> tuple[str, str]:
    """Return the declared name of one of our metrics, and which part of a histogram it is: only of one, and always."""
    found = re.fullmatch(re.escape(_mapped(TYPE_PREFIX)) + r"(\w+?)(_bucket|_sum|_count)?", metric)
    assert found, f"{metric} is neither ours nor one of Google's that are known here"
    name, part = found[1], found[2] or ""
    assert name in METRICS, f"{name} is not declared"
    assert (METRICS[name].kind == "distribution") is bool(part), f"{name} is a {METRICS[name].kind}"
    return name, part


def _mapped(metric_type: str) -> str:
    """Source: "Mapping Cloud Monitoring metric names to PromQL", cloud.google.com/monitoring/promql/promql-mapping."""
    domain, _, path = metric_type.partition("/")
    return re.sub(r"\W", "_", domain) + ":" + re.sub(r"\W", "_", path)


def windows_s(expression: str) -> list[int]:
    """Return how far back it looks, seconds."""
    return [int(number) * _SECONDS[unit] for number, unit in _WINDOW.findall(expression)]


def is_balanced(expression: str) -> bool:
    """Whether every bracket and quote is closed."""
    is_open: list[str] = []
    for sign in re.sub(r"'[^']*'", "", expression):
        if sign in _CLOSING.values():
            is_open.append(sign)
        elif sign == "'" or (sign in _CLOSING and (not is_open or is_open.pop() != _CLOSING[sign])):
            return False
    return not is_open
