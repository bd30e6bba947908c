"""Dataclasses to documents and back, with one compiled converter per class.

A field that has its default is left out of the document, which keeps documents small and lets a later version
add fields without touching stored ones.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from shared.domain.times import from_text, to_text
from shared.ports import Json

T = TypeVar("T")
Convert = Callable[[Any], Any]
Writers = tuple[tuple[str, Any, Convert | None], ...]
Readers = tuple[tuple[str, Convert | None], ...]

_WRITERS: dict[type, Writers] = {}
_READERS: dict[type, Readers] = {}


def to_doc(record: Any) -> Json:
    """Return the document of a dataclass instance; its times become texts and its tuples lists."""
    doc: Json = {}
    for name, default, convert in _writers(type(record)):
        value = getattr(record, name)
        if value is not default and value != default:
            doc[name] = value if convert is None or value is None else convert(value)
    return doc


def from_doc(cls: type[T], doc: Json) -> T:
    """Return the instance that `to_doc` turned into *doc*; unknown fields are ignored.

    Raises:
        TypeError: a field without a default is missing.
    """
    values: Json = {}
    for name, convert in _readers(cls):
        if name in doc:
            value = doc[name]
            values[name] = value if convert is None or value is None else convert(value)
    return cls(**values)


def _writers(cls: Any) -> Writers:
    if cls not in _WRITERS:
        hints = typing.get_type_hints(cls)
        fields = dataclasses.fields(cls)
        _WRITERS[cls] = tuple((f.name, _default(f), _converter(hints[f.name], writing=True)) for f in fields)
    return _WRITERS[cls]


def _readers(cls: Any) -> Readers:
    if cls not in _READERS:
        hints = typing.get_type_hints(cls)
        _READERS[cls] = tuple((f.name, _converter(hints[f.name], writing=False)) for f in dataclasses.fields(cls))
    return _READERS[cls]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _converter(hint: Any, *, writing: bool) -> Convert | None:
    """Return what turns a value of this type into JSON (or back), None where JSON has the type itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [_converter(arg, writing=writing) for arg in typing.get_args(hint) if arg is not type(None)]
        return next((kind for kind in kinds if kind), None)
    if typing.get_origin(hint) is tuple:
        return _tuple_converter(typing.get_args(hint)[0], writing=writing)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return to_doc if writing else partial(from_doc, hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return str if writing else hint
    if hint is datetime:
        return to_text if writing else from_text
    return None


def _tuple_converter(item: Any, *, writing: bool) -> Convert:
    convert, build = _converter(item, writing=writing), list if writing else tuple
    if convert is None:
        return build
    return lambda values: build([convert(value) for value in values])
