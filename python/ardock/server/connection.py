"""One connection: a task that reads and hands on what comes, a task that writes what was answered.

There is no task for a call that needs none: what the engine answers from memory is answered where it is read, a run is answered
by the engine's callback. All that became ready in one tick of the scheduler leaves in one write.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import Abort, ParkingLot, Task, current_task, reschedule, wait_task_rescheduled

from ardock.model.errors import ArdockError, Cancelled, CapacityExceeded, MalformedRequest
from ardock.protocol.errors import to_info
from ardock.protocol.methods import ErrorInfo
from ardock.protocol.session import (
    Bytes,
    Cancel,
    Credit,
    End,
    Failed,
    Items,
    ItemsEnd,
    Message,
    Reply,
    Request,
    ServerSession,
)
from ardock.server.bindings import BINDINGS
from ardock.server.call import Call
from ardock.server.peers import Peer

if TYPE_CHECKING:
    from ardock.server.server import Server

_log: Final = logging.getLogger("ardock.server")

# Below the allocator's threshold for a mapping of its own, and more than what comes in one tick.
_READ: Final = 1 << 16
# Bytes of answers that wait for a client that does not read; past them its requests are not read either.
MOST_WAITING: Final = 8 << 20
MOST_CALLS: Final = 4096
# Seconds in which a message that has begun must be whole.
FRAME_TIME: Final = 30.0
# Seconds in which a client that is told why its connection ends may take that.
FAREWELL: Final = 1.0


class Connection:
    """A client.

    Attributes:
        server: Whose connection it is.
        peer: Who is at the other end.
        session: The protocol's state.
        calls: Calls under way by their numbers.
    """

    def __init__(self, server: Server, stream: socket.socket, peer: Peer) -> None:
        """Own `stream`, which is non-blocking."""
        self.server: Server = server
        self.peer = peer
        self.session = ServerSession()
        self.calls: dict[int, Call] = {}
        self._socket = stream
        self._writer: Task | None = None
        self._unsent = 0
        self._drained = ParkingLot()
        self._is_gone = False
        self._begun = 0.0
        # Some call was told that there is no room because of what waits on the whole connection.
        self._held_back = False

    def __repr__(self) -> str:
        """Who and how much."""
        return f"<Connection of pid {self.peer.pid}, uid {self.peer.uid}: {len(self.calls)} calls, {self._waiting} bytes wait>"

    # --- its life ---

    async def run(self) -> None:
        """Serve it until it ends, on either side."""
        error: ArdockError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                error = await self._read()
                nursery.cancel_scope.cancel()
            if error is not None:
                _log.warning(
                    "connection refused",
                    extra={"fields": {"pid": self.peer.pid, "uid": self.peer.uid, "error": error.message}},
                )
                await self._say_why(error)
        finally:
            self._end()
            self._socket.close()

    def _end(self) -> None:
        """Tell every call that its client is gone. Where it is the server that goes, what they started goes on."""
        self._is_gone = True
        calls, self.calls = list(self.calls.values()), {}
        if not self.server.closing:
            for call in calls:
                call.gone()

    async def _read(self) -> ArdockError | None:
        """Hand on what comes until the client leaves (None) or breaks the rules (how)."""
        stream = self._socket
        while True:
            try:
                data = stream.recv(_READ)
            except BlockingIOError:
                if not await self._until_readable():
                    return MalformedRequest(f"a message that began {FRAME_TIME:.0f} s ago is not whole")
                continue
            except OSError:
                return None  # reset: as good as ended
            if not data:
                return None
            try:
                messages = self.session.feed(data)
            except ArdockError as error:
                return error
            for message in messages:
                self._handle(message)
            if messages or not self.session.pending:
                self._begun = 0.0
            while self._waiting > MOST_WAITING:
                await self._drained.park()
            # What is read without waiting would keep everybody else from running.
            await trio.lowlevel.checkpoint()

    async def _until_readable(self) -> bool:
        """Wait; False: for too long in the middle of a message."""
        if not self.session.pending:
            await trio.lowlevel.wait_readable(self._socket)
            return True
        self._begun = self._begun or trio.current_time()
        with trio.move_on_at(self._begun + FRAME_TIME) as scope:
            await trio.lowlevel.wait_readable(self._socket)
        return not scope.cancelled_caught

    async def _write(self, connection: trio.CancelScope) -> None:
        """Write what is ready, in one piece; `connection` is cancelled where the client is gone."""
        while True:
            if not self.session.waiting:
                await self._until_wanted()
            data = self.session.outgoing()
            self._unsent = len(data)
            if not await self._send_all(data):
                connection.cancel()
                return
            if self._drained:
                self._drained.unpark_all()
            if self._held_back:
                self._held_back = False
                for call in self.calls.values():
                    call.on_room()

    async def _send_all(self, data: bytes) -> bool:
        """Send; False: the client is gone."""
        view: memoryview | bytes = data
        while True:
            try:
                sent = self._socket.send(view)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
                continue
            except OSError:
                return False
            self._unsent -= sent
            if not self._unsent:
                return True
            view = memoryview(view)[sent:]

    async def _until_wanted(self) -> None:
        def abort(_: object) -> Abort:
            self._writer = None
            return Abort.SUCCEEDED

        self._writer = current_task()
        await wait_task_rescheduled(abort)

    async def _say_why(self, error: ArdockError) -> None:
        """The last message: why the connection ends. What was ready before goes first."""
        self.session.close(to_info(error))
        data = self.session.outgoing()
        self._unsent = len(data)
        with trio.move_on_after(FAREWELL):
            if await self._send_all(data):
                await linger(self._socket)

    # --- for calls ---

    @property
    def _waiting(self) -> int:
        return self.session.waiting + self._unsent

    def flush(self) -> None:
        """Wake the writer: it runs in the scheduler's next tick, after all that runs in this one."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            reschedule(writer)

    def room(self, number: int) -> int:
        """Bytes that the call may send of its streams; none while too much waits for the client anyhow."""
        if self._waiting > MOST_WAITING // 2:
            self._held_back = True
            return 0
        return self.session.room(number)

    def consumed(self, number: int, size: int) -> None:
        """The call has taken so many bytes of the client's stream."""
        if self.session.consumed(number, size):
            self.flush()

    def answered(self, call: Call, result: bytes, error: ErrorInfo | None) -> None:
        """The call's end. Whoever is answered a second time (cancelled, then done) is not."""
        if self._is_gone or self.calls.get(call.id) is not call:
            return
        del self.calls[call.id]
        if error is None:
            self.session.reply(call.id, result)
        else:
            self.session.fail(call.id, error)
        self.flush()

    def take(self, call: Call) -> None:
        """A call is under way from now on."""
        self.calls[call.id] = call

    def refuse(self, number: int, error: ArdockError) -> None:
        """Refuse at once a call that never was under way here."""
        self.session.fail(number, to_info(error))
        self.flush()

    # --- what comes ---

    def _handle(self, message: Message) -> None:
        if isinstance(message, Request):
            self._call(message)
            return
        assert not isinstance(message, Reply | Failed), "the session lets no client send that"
        call = self.calls.get(message.id)
        if call is None:
            return  # answered meanwhile
        match message:
            case Bytes():
                call.on_bytes(message.channel, message.data)
            case Credit():
                call.on_room()
            case End():
                call.on_end(message.channel)
            case Items():
                call.on_items(message.items)
            case ItemsEnd():
                call.on_items_end()
            case Cancel():
                call.cancel(Cancelled(f"{call.method}: cancelled"))

    def _call(self, request: Request) -> None:
        binding = BINDINGS.get(request.method)
        if binding is None:
            self.refuse(request.id, MalformedRequest(f"there is no method {request.method!r}"))
            return
        if len(self.calls) >= MOST_CALLS:
            text = f"{request.method}: {MOST_CALLS} calls of this connection are under way, which is the most"
            self.refuse(request.id, CapacityExceeded(text))
            return
        try:
            binding.begin(self, request.id, request.params)
        except ArdockError as error:
            self.calls.pop(request.id, None)
            self.refuse(request.id, error)


async def linger(stream: socket.socket) -> None:
    """Send no more, and wait until the other side closes, too; what it still sends is dropped.

    Closed at once, it would get EPIPE for what it is just sending, or ECONNRESET, and might never read why.
    """
    try:
        stream.shutdown(socket.SHUT_WR)
        while True:
            try:
                if not stream.recv(_READ):
                    return
            except BlockingIOError:
                await trio.lowlevel.wait_readable(stream)
    except OSError:
        return  # it is gone
