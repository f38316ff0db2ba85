"""Calls that tell how far they are, take bytes of ours, or bring bytes."""

from __future__ import annotations

import gc
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from ardock.client.blocking import Item
from ardock.model.errors import ConnectionLost, InvalidArgument
from ardock.model.image import Progress
from ardock.protocol.session import Bytes

if TYPE_CHECKING:
    from ardock.cli.connection import Connection
    from ardock.client.blocking import Call, Event
    from ardock.protocol.method import Method, Params

ResultT = TypeVar("ResultT")
Tell = Callable[[Progress], None]

_CHUNK: Final = 64 << 10


def transfer(engine: Connection, method: Method[ResultT], params: Params, tell: Tell) -> ResultT:
    """Make a call that tells how far it is; from the next owner again if this one ends before: it does what was left.

    Raises:
        ArdockError: What the engine answers.
    """
    gc.enable()
    while True:
        try:
            call = _begin(engine, method, params)
            for event in call.events():
                engine.answered()
                _tell(event, tell)
            return call.result()
        except ConnectionLost:
            engine.reconnect()


def upload(
    engine: Connection, method: Method[ResultT], params: Params, source: int, tell: Tell | None = None
) -> ResultT:
    """Make a call that gets the bytes of a descriptor, as many at a time as the engine takes.

    A lost connection ends it: what was read of a pipe cannot be read again.

    Raises:
        ArdockError: What the engine answers.
    """
    gc.enable()
    client = engine.client
    call = _begin(engine, method, params)
    at_end = False
    while not call.done:
        poller = select.poll()
        poller.register(client.fileno(), select.POLLIN | (select.POLLOUT if client.unsent else 0))
        # A regular file can always be read, which poll(2) says of it, too. Not while the engine has enough: a pipe whose
        # writer has gone would end every poll at once.
        if not at_end and call.sendable > 0:
            poller.register(source, select.POLLIN)
        for descriptor, _ in poller.poll():
            if descriptor != source:
                client.flush()
                client.feed()
            elif not call.done:
                data = os.read(source, min(_CHUNK, call.sendable))
                at_end = not data
                if data:
                    call.send_bytes(0, data)
                else:
                    call.end(0)
        for event in call.take():
            if isinstance(event, Item):
                if tell is not None:
                    _tell(event, tell)
                call.consumed(event.size)
    return call.result()


def download(engine: Connection, method: Method[ResultT], params: Params, sink: Callable[[bytes], None]) -> ResultT:
    """Make a call and hand the bytes that it brings to `sink`, which sets the pace.

    A lost connection ends it: what was written cannot be taken back.

    Raises:
        ArdockError: What the engine answers.
        As `sink`.
    """
    gc.enable()
    call = _begin(engine, method, params)
    for event in call.events():
        if isinstance(event, Bytes):
            sink(event.data)
    return call.result()


def _begin(engine: Connection, method: Method[ResultT], params: Params) -> Call[ResultT]:
    try:
        return engine.client.begin(method, params)
    except UnicodeEncodeError as error:
        # What Python has of a command line's bytes that are no text (PEP 383).
        raise InvalidArgument(f"{error.object!r} is no UTF-8, and the engine takes text only") from error


def _tell(event: Event, tell: Tell) -> None:
    if isinstance(event, Item) and isinstance(event.record, Progress):
        tell(event.record)
