"""Docker's rule for the names of volumes (moby, ``daemon/names`` and ``volume/local``)."""

from __future__ import annotations

import os
import re
from typing import Final

from ardock.model.errors import InvalidArgument

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
# The name is a directory's, and a prefix goes before it for a moment.
_LONGEST: Final = 240


def check(name: str, field: str = "name") -> str:
    """`name`, which is one.

    Raises:
        InvalidArgument: It is none.
    """
    if len(name) == 1:
        raise InvalidArgument(f"{field}: volume name {name!r} is too short: give at least two characters", field=field)
    if len(name) > _LONGEST:
        raise InvalidArgument(
            f"{field}: volume name {name[:40]!r}... is longer than {_LONGEST} characters: give a shorter one",
            field=field,
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{field}: {name!r} includes characters that are invalid for a local volume name: only "
            "[a-zA-Z0-9][a-zA-Z0-9_.-] are allowed (a path begins with / or .)",
            field=field,
        )
    return name


def make_up() -> str:
    """The name of an anonymous volume: 64 hexadecimal digits."""
    return os.urandom(32).hex()
