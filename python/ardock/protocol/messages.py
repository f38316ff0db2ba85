"""Messages: what frames mean, as values."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ardock.protocol.frames import ANSWER, CALL, NOTIFICATION
from ardock.protocol.methods import ErrorInfo

Id = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
Channel = Annotated[int, msgspec.Meta(ge=0, le=2)]
Size = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
Name = Annotated[str, msgspec.Meta(max_length=64)]


class Request(msgspec.Struct, frozen=True):
    """A call. `params` is encoded and not looked at yet."""

    id: int
    method: str
    params: msgspec.Raw


class Reply(msgspec.Struct, frozen=True):
    """The answer to a call; `result` is encoded, and nil with an error."""

    id: int
    error: ErrorInfo | None
    result: msgspec.Raw


class Bytes(msgspec.Struct, frozen=True):
    """Bytes of a channel of a call: 0 standard input, 1 standard output or terminal, 2 standard error."""

    id: int
    channel: int
    data: bytes


class End(msgspec.Struct, frozen=True):
    """A channel of a call has ended."""

    id: int
    channel: int


class Items(msgspec.Struct, frozen=True):
    """Records of a call, encoded."""

    id: int
    items: list[msgspec.Raw]


class ItemsEnd(msgspec.Struct, frozen=True):
    """The records of a call have ended."""

    id: int


class Cancel(msgspec.Struct, frozen=True):
    """The client does not want a call any more; it is answered all the same, soon."""

    id: int


class Credit(msgspec.Struct, frozen=True):
    """The receiver of a call's stream has consumed `size` bytes of it."""

    id: int
    size: int


class Failed(msgspec.Struct, frozen=True):
    """The connection itself failed, and is closed after this."""

    error: ErrorInfo


Message = Request | Reply | Bytes | End | Items | ItemsEnd | Cancel | Credit | Failed

_raws: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_number: Final = msgspec.msgpack.Decoder(int).decode
_call: Final = msgspec.msgpack.Decoder(tuple[int, Id, Name, msgspec.Raw]).decode
_answer: Final = msgspec.msgpack.Decoder(tuple[int, Id, ErrorInfo | None, msgspec.Raw]).decode
_notification: Final = msgspec.msgpack.Decoder(tuple[int, Name, msgspec.Raw]).decode

_bytes: Final = msgspec.msgpack.Decoder(tuple[Id, Channel, bytes]).decode
_end: Final = msgspec.msgpack.Decoder(tuple[Id, Channel]).decode
_items: Final = msgspec.msgpack.Decoder(tuple[Id, list[msgspec.Raw]]).decode
_one_id: Final = msgspec.msgpack.Decoder(tuple[Id]).decode
_credit: Final = msgspec.msgpack.Decoder(tuple[Id, Size]).decode
_error: Final = msgspec.msgpack.Decoder(tuple[ErrorInfo]).decode


def decode(frame: bytes) -> Message:
    """The message that a frame is.

    Raises:
        ValueError: It is none, in one sentence (msgspec's errors are of that class, and so is text that is no UTF-8).
    """
    kind = _kind(frame)
    if kind == CALL:
        _, number, method, params = _call(frame)
        return Request(number, method, params)
    if kind == ANSWER:
        _, number, error, result = _answer(frame)
        return Reply(number, error, result)
    if kind == NOTIFICATION:
        _, name, params = _notification(frame)
        return _notified(name, params)
    raise ValueError(f"a message begins with 0 (a call), 1 (an answer) or 2 (a notification), not with {kind}")


def _kind(frame: bytes) -> int:
    # Whoever encodes as short as can be, as all do, has an array of one byte and a number of one byte.
    if frame[0] & 0xF0 == 0x90 and frame[1] < 0x80:
        return frame[1]
    return _number(_raws(frame)[0])


def _notified(name: str, params: msgspec.Raw) -> Message:
    match name:
        case "bytes":
            return Bytes(*_bytes(params))
        case "items":
            return Items(*_items(params))
        case "credit":
            return Credit(*_credit(params))
        case "end":
            return End(*_end(params))
        case "items_end":
            return ItemsEnd(*_one_id(params))
        case "cancel":
            return Cancel(*_one_id(params))
        case "error":
            return Failed(*_error(params))
        case _:
            raise ValueError(
                f"there is no notification {name!r}; there are bytes, end, items, items_end, credit, cancel and error"
            )
