"""Checking a spec's values against its fields' types."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import structs

from ardock.model.errors import InvalidArgument
from ardock.model.spec import ContainerSpec


def convert(values: Mapping[str, object]) -> ContainerSpec:
    """A spec of these fields; lists are made tuples.

    Raises:
        InvalidArgument: An unknown field, or a value of another type than its field's.
    """
    try:
        return msgspec.convert(values, ContainerSpec)
    except msgspec.ValidationError as error:
        # Such as: Expected `str`, got `int` - at `$.mounts[0].source`
        reason, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`").partition("[")[0].partition(".")[0]
        text = reason.replace("`", "").replace("Object contains unknown field", "unknown option")
        text = text[:1].lower() + text[1:]
        raise InvalidArgument(f"{field}: {text}" if field else text, field=field) from None


def check(spec: ContainerSpec) -> ContainerSpec:
    """`spec` with every value of its field's type (a Struct that was made in Python is not checked by itself).

    Raises:
        InvalidArgument: A value is of another type.
    """
    return convert(structs.asdict(spec))
