"""Commands that read one stream of records to its end: `logs` and `events`."""

from __future__ import annotations

import contextlib
import gc
import select
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from ardock.client.blocking import Item
from ardock.model.errors import ConnectionLost

if TYPE_CHECKING:
    import msgspec

    from ardock.cli.connection import Connection
    from ardock.protocol.methods import Method, Params

ResultT = TypeVar("ResultT")


def records(engine: Connection, method: Method[ResultT], params: Params) -> Iterator[list[msgspec.Struct]]:
    """The records of a call as they come, as many at a time as there are; ends with the call.

    Credit is given back once the caller asks for more: what it cannot print stays over there.

    Raises:
        ConnectionLost: The owner has ended; all that came before was given.
        ArdockError: What the engine answers.
    """
    gc.enable()
    client = engine.client
    call = client.begin(method, params)
    while True:
        done = call.done  # Before taking: what comes first is taken first.
        items = call.take()
        came = [item for item in items if isinstance(item, Item)]
        if items:
            engine.answered()
        if came:
            yield [item.record for item in came]
            call.consumed(sum(item.size for item in came))
        if done and not items:
            call.result()
            return
        if items:
            continue
        poller = select.poll()
        poller.register(client.fileno(), select.POLLIN | (select.POLLOUT if client.unsent else 0))
        poller.poll()
        if client.unsent:
            client.flush()
        # What came before the end of the connection is in the call, and so is the end.
        with contextlib.suppress(ConnectionLost):
            client.feed()
