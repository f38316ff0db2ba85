"""Specs made of what a caller gives, and the checks of an argument's type that every engine makes, here or remote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import structs

from ardock.model.errors import InvalidArgument
from ardock.model.spec import ContainerOptions, ContainerSpec, ExecSpec

MOST_OUTPUT: Final = 1 << 30

_SpecT = TypeVar("_SpecT", ContainerSpec, ExecSpec)


def make_spec(argv: Sequence[str] | ContainerSpec, options: ContainerOptions) -> ContainerSpec:
    """A spec from keyword arguments.

    Raises:
        InvalidArgument: An unknown option, or a value of the wrong type. The values of a whole `ContainerSpec` are checked where
            it is planned.
    """
    if isinstance(argv, ContainerSpec):
        if not options:
            return argv
        return convert({**structs.asdict(argv), **options}, ContainerSpec)
    _refuse_text(argv)
    return convert({"argv": argv, **options}, ContainerSpec)


def make_exec_spec(argv: Sequence[str] | ExecSpec) -> ExecSpec:
    """An exec's spec.

    Raises:
        InvalidArgument: `argv` is no list of words.
    """
    if isinstance(argv, ExecSpec):
        return argv
    _refuse_text(argv)
    return convert({"argv": argv}, ExecSpec)


def check(spec: _SpecT) -> _SpecT:
    """`spec` with every value of its field's type (a Struct that was made in Python is not checked by itself).

    Raises:
        InvalidArgument: A value is of another type.
    """
    return convert(structs.asdict(spec), type(spec))


def check_whole(spec: _SpecT) -> _SpecT:
    """As `check`, with what its records hold checked, too.

    Raises:
        InvalidArgument: A value is of another type.
    """
    try:
        values = msgspec.to_builtins(spec)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"a value of the specification is of no type that one has: {error}") from None
    return convert(values, type(spec))


def convert(values: Mapping[str, object], kind: type[_SpecT]) -> _SpecT:
    """A spec of these fields; lists are made tuples.

    Raises:
        InvalidArgument: An unknown field, or a value of another type than its field's.
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        # Such as: Expected `str`, got `int` - at `$.mounts[0].source`
        reason, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`").partition("[")[0].partition(".")[0]
        text = reason.replace("`", "").replace("Object contains unknown field", "unknown option")
        text = text[:1].lower() + text[1:]
        raise InvalidArgument(f"{field}: {text}" if field else text, field=field) from None


def check_max_output(max_output: int) -> None:
    """Refuse what cannot be kept.

    Raises:
        InvalidArgument: It is negative or more than 1 GiB.
    """
    if not 0 <= max_output <= MOST_OUTPUT:
        raise InvalidArgument(f"max_output: must be 0 to {MOST_OUTPUT} bytes, not {max_output}", field="max_output")


def _refuse_text(argv: object) -> None:
    """A word is a sequence of words, too: each of its letters."""
    if isinstance(argv, str | bytes):
        raise InvalidArgument('argv: a list of words is expected, such as ["echo", "hi"]', field="argv")
