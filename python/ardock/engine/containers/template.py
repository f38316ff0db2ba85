"""A launch message encoded once for each shape of spec.

Encoding a whole `Launch` and planning it costs ten times what a container may cost in all. Most of its 4 KB are the same for
all containers of one shape: only request number, id (in several places), arguments, environment and blob differ. A
template is the message of one plan, made with markers in those places and cut at them.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import structs

from ardock.model.messages import Launch

_encode: Final = msgspec.msgpack.Encoder().encode

# No id, argument or variable of a user's can be these: an id is [a-z0-9], and the others are put in later.
ID_MARKER: Final = "\x01ardock-id\x01." + "." * 52
_SHORT_MARKER: Final = ID_MARKER[:12]
_ARGV: Final = b"\x02ardock-argv\x02"
_ENV: Final = b"\x02ardock-env\x02"
_BLOB: Final = b"\x02ardock-blob\x02"
_REQ: Final = (1 << 63) + 0x0102_0304_0506_0708


class Template:
    """Renders `Launch` messages that differ only in request number, id, arguments, environment and blob.

    Attributes:
        descriptors: How many descriptors each message takes.
        hostname: The host name that the spec gives; None where it is the short id.
        home: The user's home directory.
    """

    __slots__ = ("_order", "_pieces", "descriptors", "home", "hostname")

    def __init__(self, planned: Launch, *, hostname: str | None, home: str) -> None:
        """Cut `planned`, which was planned with `ID_MARKER` as its id."""
        self.descriptors = planned.fds[1]
        self.hostname = hostname
        self.home = home
        process = structs.replace(planned.spec.process, argv=(_ARGV,), env=(_ENV,))
        message = _encode(
            structs.replace(planned, req=_REQ, blob=_BLOB, spec=structs.replace(planned.spec, process=process))
        )
        patterns = (
            _encode(_REQ),
            _encode((_ARGV,)),
            _encode((_ENV,)),
            _encode(_BLOB),
            ID_MARKER.encode(),
            _SHORT_MARKER.encode(),
        )
        cut = re.compile(b"(" + b"|".join(re.escape(pattern) for pattern in patterns) + b")")
        # Odd elements are the markers. The last two bytes, the descriptors' first index and number, are put in by the
        # outbox, which knows the packet.
        parts = cut.split(message[:-2])
        self._order = tuple(patterns.index(part) for part in parts[1::2])
        self._pieces = tuple(parts[::2])

    def render(
        self, req: int, container_id: str, argv: tuple[bytes, ...], env: tuple[bytes, ...], blob: bytes
    ) -> bytes:
        """One message, without its last two bytes (the descriptors' first index and number)."""
        identity = container_id.encode()
        values = (_encode(req), _encode(argv), _encode(env), _encode(blob), identity, identity[:12])
        pieces = self._pieces
        joined = [pieces[0]]
        for index, kind in enumerate(self._order, 1):
            joined.append(values[kind])
            joined.append(pieces[index])
        return b"".join(joined)
