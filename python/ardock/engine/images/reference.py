"""The name that an image is given, in the form that Docker shows: ``busybox:latest``."""

from __future__ import annotations

from typing import Final

from ardock.model.errors import InvalidArgument
from ardock.model.reference import parse_reference

_HEXADECIMAL: Final = frozenset("0123456789abcdef")


def normalize(text: str) -> str:
    """The name that `text` means, as ``name:tag`` (``latest`` where no tag is given).

    Raises:
        InvalidArgument: It is no name; field ``name``.
    """
    if "@" in text:
        raise InvalidArgument(f"name: {text!r} names a content by its digest, which cannot be given away", field="name")
    reference = parse_reference(text).tagged()
    name = reference.familiar_name
    if len(name) == 64 and set(name) <= _HEXADECIMAL:
        raise InvalidArgument(f"name: {text!r} would look like an id: it is 64 hexadecimal digits", field="name")
    return f"{name}:{reference.tag}"
