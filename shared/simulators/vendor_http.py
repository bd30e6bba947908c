"""What the simulated vendors have in common over HTTP: refusals, and strict shapes of what they are sent.

A shape is a type (`float` takes whole numbers too), a set of allowed values, a list of one shape, a tuple of
alternatives, an object of shapes (a name that ends in "?" may be missing), or a function that returns a complaint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shared.simulators.http_server import Answer, Request, Response

Check = Callable[[Any], str | None]


class Refused(Exception):
    """A vendor's error answer to one request; each vendor gives it its own form.

    Attributes:
        code: the vendor's own name of the error, where it has one.
        field: where in the body the mistake is, e.g. "parameters.seed".
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.field = status, message, code, field
        self.headers = dict(headers or {})


class VendorApi(Protocol):
    """One vendor behind the common server."""

    name: str

    def owns(self, path: str) -> bool:
        """Whether the vendor answers for this path."""

    def respond(self, request: Request) -> Answer:
        """Answer. Raises Refused and NotAnObject."""

    def error(self, refused: Refused) -> Response:
        """Return the refusal in the vendor's form."""


def check(value: Any, shape: Any, at: str = "", *, status: int = 400) -> None:
    """Raise Refused (*status*) unless *value* has the *shape*; *at* is where it stands in the body."""
    complaint = _complaint(value, shape)
    if complaint is not None:
        where, told = complaint
        field = f"{at}{where}".removeprefix(".")
        raise Refused(status, f"{field or 'body'}: {told}", field=field)


def between(low: float, high: float, kind: type = int) -> Check:
    """Return a shape: a number from *low* to *high*."""

    def complaint(value: Any) -> str | None:
        found = _complaint(value, kind)
        if found is not None:
            return found[1]
        return None if low <= value <= high else f"must be from {low} to {high}"

    return complaint


def filled(longest: int | None = None) -> Check:
    """Return a shape: a text that is not blank, of at most *longest* UTF-16 units."""

    def complaint(value: Any) -> str | None:
        if not isinstance(value, str) or not value.strip():
            return "must be a text that is not empty"
        too_long = longest is not None and len(value.encode("utf-16-le", "surrogatepass")) // 2 > longest
        return f"must have at most {longest} characters" if too_long else None

    return complaint


def bearer(request: Request, expected: str | None = None) -> None:
    """Raise Refused (401) unless the request carries a bearer token: *expected*, or any when that is None."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or (expected is not None and token.strip() != expected):
        raise Refused(401, "Request had invalid authentication credentials.", code="UNAUTHENTICATED")


def _complaint(value: Any, shape: Any) -> tuple[str, str] | None:
    """Return where and what is wrong."""
    if isinstance(shape, type):
        return _type_complaint(value, shape)
    if isinstance(shape, set | frozenset):
        fits = isinstance(value, str | int) and not isinstance(value, bool) and value in shape
        return None if fits else ("", f"must be one of {', '.join(sorted(map(str, shape)))}")
    if isinstance(shape, list):
        return _list_complaint(value, shape[0])
    if isinstance(shape, dict):
        return _object_complaint(value, shape)
    if isinstance(shape, tuple):
        found = [_complaint(value, each) for each in shape]
        return None if None in found else found[-1]
    told = shape(value)
    return None if told is None else ("", str(told))


def _type_complaint(value: Any, kind: type) -> tuple[str, str] | None:
    if kind is object:
        return None
    if isinstance(value, bool) and kind is not bool:
        return "", f"must be {_NAMES.get(kind, kind.__name__)}"
    fits = isinstance(value, (int, float) if kind is float else kind)
    return None if fits else ("", f"must be {_NAMES.get(kind, kind.__name__)}")


_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "a boolean", dict: "an object", list: "a list"}


def _list_complaint(value: Any, shape: Any) -> tuple[str, str] | None:
    if not isinstance(value, list):
        return "", "must be a list"
    for n, each in enumerate(value):
        if found := _complaint(each, shape):
            return f"[{n}]{found[0]}", found[1]
    return None


def _object_complaint(value: Any, shape: dict[str, Any]) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return "", "must be an object"
    known = {name.removesuffix("?"): each for name, each in shape.items()}
    for name in value:
        if name not in known:
            return f".{name}", "there is no such field"
    for name in shape:
        if not name.endswith("?") and name not in value:
            return f".{name}", "is required"
    for name, each in value.items():
        if found := _complaint(each, known[name]):
            return f".{name}{found[0]}", found[1]
    return None
