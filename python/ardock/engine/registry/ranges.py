"""Going on where a transfer broke off: ``Range`` and ``Content-Range`` of what is read, ``Range`` of what is written.

RFC 9110, section 14, and the distribution spec 1.1, "Pushing a blob in chunks". Bookkeeping alone, no I/O.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_CONTENT_RANGE: Final = re.compile(r"bytes[ \t]+([0-9]+)-([0-9]+)/([0-9]+|\*)", re.ASCII | re.IGNORECASE)
_UNSATISFIED: Final = re.compile(r"bytes[ \t]+\*/([0-9]+)", re.ASCII | re.IGNORECASE)
_STORED: Final = re.compile(r"(?:bytes[= ])?0-([0-9]+)", re.ASCII | re.IGNORECASE)
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class Body(msgspec.Struct, frozen=True):
    """How a response's body fits what was read before.

    Attributes:
        skip: Bytes of its beginning that are there already.
        total: The whole content's size as the server tells it; None: it does not.
    """

    skip: int
    total: int | None


class Complete(msgspec.Struct, frozen=True):
    """There was nothing left to read."""


class Misfit(msgspec.Struct, frozen=True):
    """The response is not what was asked for.

    Attributes:
        reason: How, as the end of a sentence.
        final: Asking again would not help.
    """

    reason: str
    final: bool = False


def asking(position: int) -> dict[str, str]:
    """Headers that ask for a content from `position` on."""
    return {"Range": f"bytes={position}-"} if position else {}


def continued(
    status: int, content_range: str | None, content_length: str | None, *, position: int, size: int | None
) -> Body | Complete | Misfit:
    """How to go on with a response to a request that asked for a content from `position` on.

    Args:
        status: 200, 206 or 416.
        content_range: That header.
        content_length: That header.
        position: Bytes that are there already.
        size: The content's size where it is known.
    """
    if status == 416:
        # Asked for from the very end on: everything came before the connection broke.
        if position == size:
            return Complete()
        told = _UNSATISFIED.fullmatch((content_range or "").strip())
        if size is None and told is not None and int(told[1]) == position:
            return Complete()
        return Misfit(f"it has no byte {position} of it", final=True)
    if status == 200:
        # Also what a server answers that ignores Range: all of it, from the beginning.
        length = _LENGTH.fullmatch((content_length or "").strip())
        total = int(length[0]) if length is not None else None
        return _checked(Body(position, total), size)
    found = _CONTENT_RANGE.fullmatch((content_range or "").strip())
    if found is None:
        return Misfit(f"it answers with a part whose Content-Range is {content_range!r}")
    first, last = int(found[1]), int(found[2])
    total = int(found[3]) if found[3] != "*" else None
    if first > position or last < first or last + 1 < position:
        return Misfit(f"it was asked for the bytes from {position} on and sends those from {first} to {last}")
    return _checked(Body(position - first, total), size)


def _checked(body: Body, size: int | None) -> Body | Misfit:
    if size is not None and body.total is not None and body.total != size:
        return Misfit(f"it has {body.total} bytes of it where there should be {size}", final=True)
    return body


def stored(value: str | None) -> int:
    """How many bytes of an upload a registry has, by the ``Range`` of its answer (``0-<last byte>``).

    None and ``0-0`` mean none: docker-registry answers the latter for an empty upload, and sending the one byte again that it
    may mean instead is answered by 416 at worst.
    """
    found = _STORED.fullmatch((value or "").strip())
    if found is None or found[1].strip("0") == "":
        return 0
    return int(found[1]) + 1
