"""What Docker's records are made of, beyond what JSON has words for.

Docker's objects are Go structs, and two differences between those and plain JSON can be seen from outside: a slice or a map
that was never made is ``null`` in JSON, yet ``[]`` or ``map[]`` where a template prints it; and a template that names a field
which a struct has not is an error, while a key that a map (labels, sysctls, ...) has not is ``<no value>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

# A struct is a plain dict here: its fields are all there is.
Struct = dict[str, object]


class OpenMap(dict[str, object]):
    """A map with any keys, such as labels."""


class NilMap(OpenMap):
    """A map that was never made."""


class NilList(list[object]):
    """A slice that was never made."""


def strings(values: Sequence[str]) -> list[object]:
    """A slice of strings that is nil where it is empty, as Docker's optional ones are."""
    return list(values) if values else NilList()


def string_map(values: Mapping[str, str]) -> OpenMap:
    """A map of strings, which is there also where it is empty."""
    return OpenMap(values)


def plain(value: object) -> object:
    """`value` as JSON has it: nil slices and maps are None, methods are left out."""
    match value:
        case NilMap() | NilList():
            return None
        case dict():
            return {key: plain(each) for key, each in value.items() if not callable(each)}
        case list() | tuple():
            return [plain(each) for each in value]
        case _:
            return value


def encode(value: object) -> str:
    """Compact JSON, fields in their order."""
    return msgspec.json.encode(plain(value)).decode()


def encode_indented(value: object) -> str:
    """JSON as `docker inspect` prints it: four columns a level, empty lists and objects on one line."""
    return msgspec.json.format(msgspec.json.encode(plain(value)), indent=4).decode()
