"""Dataclasses and named tuples as plain values, and back: each value is checked against its annotation on the way."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_INT = range(-(2**63), 2**63)
"""The integers that a table can hold."""


class WrongValueError(ValueError):
    """A value that is not of the type that it should have."""


def plain(value: Any) -> Any:
    """Return a value as lists, mappings and scalars; a class with a method `plain` says itself how."""
    if hasattr(value, "plain"):
        return value.plain()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(element) for key, element in value.items()}
    if isinstance(value, frozenset):
        return sorted(plain(element) for element in value)
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    return str(value) if isinstance(value, Path) else value


def of(kind: type[T], value: Any) -> T:
    """Return a plain value as one of type `kind`, arrays being tuples; WrongValueError where it is not.

    A class with a static method `of_plain` says itself how.
    """
    typed: T = _maker(kind)(value)  # type: ignore[arg-type]
    return typed


Maker = Callable[[Any], Any]


@cache
def _maker(kind: Any) -> Maker:
    """Return what makes a value of this type of a plain one."""
    if hasattr(kind, "of_plain"):
        maker: Maker = kind.of_plain
        return maker
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _choice(arguments)
    if origin in (Union, types.UnionType):
        return _either([_maker(argument) for argument in sorted(arguments, key=lambda kind: kind is not type(None))])
    return _record(kind) if origin is None else _collection(origin, arguments)


def _integer(value: Any) -> int:
    if type(value) is not int or value not in _INT:
        raise WrongValueError("not a 64-bit integer")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise WrongValueError("not a number")
    return float(value)


def _exactly(kind: type) -> Maker:
    return lambda value: _typed(value, kind)


_SCALARS: dict[Any, Maker] = {
    Any: lambda value: value,
    int: _integer,
    float: _number,
    Path: lambda value: Path(_typed(value, str)),
    **{kind: _exactly(kind) for kind in (bool, str, bytes, type(None))},
}


def _choice(allowed: Sequence[Any]) -> Maker:
    def make(value: Any) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in allowed):
            raise WrongValueError("not one of the allowed values")
        return value

    return make


def _either(makers: Sequence[Maker]) -> Maker:
    def make(value: Any) -> Any:
        for maker in makers:
            try:
                return maker(value)
            except WrongValueError:
                continue
        raise WrongValueError("none of the allowed types")

    return make


def _collection(origin: Any, arguments: Sequence[Any]) -> Maker:
    """Return what makes a tuple, a list, a set or a mapping."""
    if origin is tuple and arguments[-1] is not ...:
        return _tuple(lambda *values: values, arguments)
    if issubclass(origin, Mapping):
        key, element = (_maker(argument) for argument in arguments)
        return lambda value: {key(k): element(v) for k, v in _typed(value, dict).items()}
    kind, element = (frozenset if origin is frozenset else tuple), _maker(arguments[0])
    return lambda value: kind(element(item) for item in _typed(value, tuple))


def _record(kind: Any) -> Maker:
    """Return what makes a dataclass of a mapping, or a named tuple of an array."""
    hints = get_type_hints(kind)
    if hasattr(kind, "_fields"):
        return _tuple(kind, [hints[name] for name in kind._fields])
    makers = {field.name: _maker(hints[field.name]) for field in fields(kind)}

    def make(value: Any) -> Any:
        if _typed(value, dict).keys() != makers.keys():
            raise WrongValueError(f"not the fields of {kind.__name__}")
        return kind(**{name: makers[name](field) for name, field in value.items()})

    return make


def _tuple(kind: Callable[..., Any], types_: Sequence[Any]) -> Maker:
    makers = [_maker(type_) for type_ in types_]

    def make(value: Any) -> Any:
        if len(_typed(value, tuple)) != len(makers):
            raise WrongValueError(f"not {len(makers)} values")
        return kind(*(maker(element) for maker, element in zip(makers, value, strict=True)))

    return make


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise WrongValueError(f"{type(value).__name__} in the place of {kind.__name__}")
    return value
