"""Frames: MessagePack-RPC messages as bytes, and how a byte stream is split into them.

A message is its own frame: the protocol has no length before it. ``[0, id, method, params]`` is a call,
``[1, id, error, result]`` its answer, ``[2, name, params]`` a notification (https://github.com/msgpack-rpc/msgpack-rpc/blob/master/spec.md).
"""

from __future__ import annotations

from typing import Final

import msgspec

from ardock import _core
from ardock.model.errors import InvalidArgument
from ardock.protocol.methods import ErrorInfo

# The largest message, in bytes: a specification with its input, or a batch of records. Longer things travel as streams.
MAX_FRAME: Final = 16 << 20
# Arrays and maps within one another; no record of the API is a quarter as deep.
MAX_DEPTH: Final = 64

CALL: Final = 0
ANSWER: Final = 1
NOTIFICATION: Final = 2

_encode: Final = msgspec.msgpack.Encoder().encode
_NOTHING: Final = b"\xc0"
_ITEMS: Final = b"\x93\x02\xa5items\x92"


def reader(max_frame: int = MAX_FRAME) -> _core.FrameReader:
    """What splits a stream into messages; its `feed` raises ValueError, in one sentence, for what is none."""
    return _core.FrameReader(max_frame, MAX_DEPTH)


def call(id: int, method: str, params: bytes | msgspec.Raw) -> bytes:  # noqa: A002 - the specification's word
    """A call with its encoded parameters.

    Raises:
        InvalidArgument: It is longer than `MAX_FRAME`.
    """
    frame = b"\x94\x00" + _encode(id) + _encode(method) + bytes(params)
    if len(frame) > MAX_FRAME:
        raise InvalidArgument(f"{method}: the request has {len(frame)} bytes, and {MAX_FRAME} are the most")
    return frame


def answer(id: int, result: bytes) -> bytes:  # noqa: A002
    """The answer to a call: its encoded result."""
    return b"\x94\x01" + _encode(id) + _NOTHING + result


def failure(id: int, error: ErrorInfo) -> bytes:  # noqa: A002
    """The answer to a call that failed."""
    return b"\x94\x01" + _encode(id) + _encode(error) + _NOTHING


def notification(name: str, *params: object) -> bytes:
    """A notification; `params` become its array."""
    return _encode((NOTIFICATION, name, params))


def items(id: int, count: int, encoded: bytes) -> bytes:  # noqa: A002
    """Records of a call's stream, from `count` maps that are encoded one after the other."""
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return b"".join((_ITEMS, _encode(id), head, encoded))
