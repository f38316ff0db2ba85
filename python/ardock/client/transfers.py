"""Calls that move much or take long: their progress, the bytes that they bring, and the bytes that they take."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec
import trio

from ardock.client.calls import StreamCall
from ardock.client.remote import Remote
from ardock.client.streams import STDOUT, ChannelCall, InputStream, OutputStream
from ardock.model.image import Progress
from ardock.protocol.method import Method, Params

if TYPE_CHECKING:
    from ardock.client.line import Line
    from ardock.interface import OnProgress

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT", bound=msgspec.Struct)

_decode_progress: Final = msgspec.msgpack.Decoder(Progress).decode


class Telling(ChannelCall):
    """A call that tells how far it is; of each part the newest is kept until it is taken.

    It is sent again where the connection breaks: repeated, a pull, push, load of a path or check does what was left.
    """

    __slots__ = ("_untold",)

    repeats = True

    def __init__(self, line: Line, method: Method[ResultT], params: Params) -> None:
        """Not sent yet."""
        super().__init__(line, method, params)
        self._untold: dict[str, Progress] = {}

    def on_records(self, line: Line, items: Sequence[msgspec.Raw]) -> None:
        """Their credit goes back at once: what is kept is bounded by the number of parts."""
        for item in items:
            progress = _decode_progress(item)
            self._untold.pop(progress.part, None)
            self._untold[progress.part] = progress
        line.consumed(self, sum(map(len, items)))
        self.changed.unpark_all()

    def tell(self, progress: OnProgress | None) -> None:
        """Hand on what has come."""
        untold, self._untold = self._untold, {}
        if progress is not None:
            for one in untold.values():
                progress(one)


class TellingInput(Telling):
    """The same with bytes that the client sends, which it may not have a second time."""

    __slots__ = ()

    repeats = False


async def follow(call: Telling, progress: OnProgress | None) -> None:
    """Tell how far a call is until it is answered, then raise its error.

    Raises:
        ArdockError: It failed.
    """
    try:
        while True:
            call.tell(progress)
            if call.done:
                break
            await call.changed.park()
    finally:
        await call.end()
    if call.error is not None:
        raise call.error


async def transfer(remote: Remote, method: Method[ResultT], params: Params, progress: OnProgress | None) -> ResultT:
    """Make a call that tells how far it is."""
    call = Telling(remote.line, method, params)
    await remote.line.send(call)
    await follow(call, progress)
    return remote.decode(method, call.result)


async def upload(
    remote: Remote,
    method: Method[ResultT],
    params: Params,
    chunks: AsyncIterator[bytes],
    progress: OnProgress | None = None,
) -> ResultT:
    """Make a call whose channel 0 gets `chunks`."""
    call = TellingInput(remote.line, method, params)
    await remote.line.send(call)
    try:
        await _send(call, chunks, lambda: call.tell(progress))
        await follow(call, progress)
    finally:
        # Cancelled, or the caller's iterator failed: nothing of it is kept.
        await call.end()
    return remote.decode(method, call.result)


async def _send(call: ChannelCall, chunks: AsyncIterator[bytes], between: Callable[[], None]) -> None:
    stream = InputStream(call)
    try:
        async for chunk in chunks:
            await stream.send_all(chunk)
            between()
    except trio.BrokenResourceError:
        # It was answered before its end: the answer says why, and nobody else will end the generator.
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    else:
        stream.close()


@asynccontextmanager
async def download(remote: Remote, method: Method[ResultT], params: Params) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes of a call's channel 1, for as long as the context is open.

    Raises:
        ArdockError: The call was refused; or, from the iterator, it failed in the middle.
    """
    call = ChannelCall(remote.line, method, params)
    await call.until_accepted()
    try:
        async with aclosing(_pieces(call)) as pieces:
            yield pieces
    finally:
        await call.end()


async def _pieces(call: ChannelCall) -> AsyncGenerator[bytes, None]:
    stream = OutputStream(call, STDOUT)
    try:
        while data := await stream.receive_some():
            yield data
    except trio.BrokenResourceError:
        assert call.error is not None, "that broke it"
        raise call.error from None
    await call.until_done()
    if call.error is not None:
        raise call.error


class Collected(StreamCall, Generic[ItemT]):
    """A call whose records are wanted all together."""

    __slots__ = ("_decode", "items")

    repeats = True

    def __init__(self, line: Line, method: Method[ResultT], params: Params, kind: type[ItemT]) -> None:
        """Not sent yet."""
        super().__init__(line, method, params)
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self.items: list[ItemT] = []

    def on_records(self, line: Line, items: Sequence[msgspec.Raw]) -> None:
        """Kept."""
        self.items.extend(map(self._decode, items))
        super().on_records(line, items)

    def on_repeat(self) -> None:
        """All of them come again."""
        self.items.clear()


async def collect(remote: Remote, method: Method[ResultT], params: Params, kind: type[ItemT]) -> Sequence[ItemT]:
    """The records of a call.

    Raises:
        ArdockError: It failed.
    """
    call = Collected(remote.line, method, params, kind)
    await remote.line.send(call)
    try:
        await call.until_done()
    finally:
        await call.end()
    if call.error is not None:
        raise call.error
    return call.items
