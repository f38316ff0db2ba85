"""What a method of the API is; the methods themselves are declared in `ardock.protocol.methods` and `image_methods`."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

ResultT = TypeVar("ResultT")
# What travels in a stream besides the call itself: nothing; bytes of channels 0 (standard input), 1 (standard output or
# terminal) and 2 (standard error); records.
StreamKind = Literal["none", "bytes", "records"]


class Params(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What every call may have.

    Attributes:
        deadline: Seconds after which the call fails with ``deadline_exceeded``; what it was doing is cancelled as if the
            client had asked for that.
        request_id: Of a call that changes something: the client's own name for it, 1 to 64 characters. A call that is
            repeated with the same one is not done again: it gets the first one's result (waiting for it if need be), also
            over another connection and after the daemon was started anew.
    """

    deadline: float | None = None
    request_id: str | None = None


class NoParams(Params, frozen=True, kw_only=True):
    """No parameters."""


class Nothing(msgspec.Struct, frozen=True, kw_only=True):
    """A result that says only that it was done."""


class Method(msgspec.Struct, Generic[ResultT], frozen=True, kw_only=True):
    """One method.

    Attributes:
        name: ``noun.verb``.
        params: Its parameters.
        result: The type of its result.
        doc: One or two sentences; what becomes of it when it is cancelled (or the client goes away) where that is not nothing.
        mutates: It changes something, so a request id has a meaning.
        sends: What the client streams.
        receives: What the server streams before the result.
        item_in: The type of the client's records.
        items: The types of the server's records.
    """

    name: str
    params: type[Params]
    result: type[ResultT]
    doc: str
    mutates: bool = False
    sends: StreamKind = "none"
    receives: StreamKind = "none"
    item_in: type[msgspec.Struct] | None = None
    items: tuple[type[msgspec.Struct], ...] = ()
