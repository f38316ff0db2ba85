"""An HTTP server between a client and a registry that cuts, slows, corrupts, refuses and redirects as a test says.

    with plain_registry() as registry, Proxy(registry.port) as proxy:
        proxy.faults.append(Fault("GET .*/blobs/", cut_after=1000))
        ... use proxy.host instead of registry.host ...
        assert proxy.count("GET .*/blobs/") == 2

It runs in a thread of its own, so that it serves tests with and without an event loop, and other processes.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

import h11
import trio

_PIECE = 64 << 10


@dataclass
class Fault:
    """What goes wrong with requests. The first fault in the list that fits and is not used up counts.

    Attributes:
        match: Regular expression, searched in ``METHOD /path?query``.
        times: For how many requests; -1: for all.
        skip: For how many before the first.
        status: Answer so, instead of asking the registry.
        headers: With these headers.
        body: With this body.
        cut_after: Abort the connection after so many bytes of the answer's body.
        cut_request_after: Abort both connections after so many bytes of the request's body (0: once its head is there).
        lose_answer: Let the registry do it, and abort the connection instead of answering.
        corrupt_at: Change the byte at this place of the answer's body.
        rate: Bytes of the answer's body a second.
        ignore_range: Ask the registry for all.
        redirect: Answer 307 to this ``scheme://host:port`` with the same path.
        replace_headers: Of the registry's answer; None removes one.
        hang: Do not answer before the client leaves.
    """

    match: str = ""
    times: int = 1
    skip: int = 0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    cut_request_after: int | None = None
    lose_answer: bool = False
    corrupt_at: int | None = None
    rate: float = 0.0
    ignore_range: bool = False
    redirect: str = ""
    replace_headers: Mapping[str, str | None] = field(default_factory=dict)
    hang: bool = False


@dataclass
class Seen:
    """A request that came.

    Attributes:
        line: ``METHOD /path?query``.
        headers: By name in lower case.
        received: Bytes of its body that came.
    """

    line: str
    headers: dict[str, str]
    received: int = 0


class Proxy:
    """See the module's description.

    Attributes:
        host: ``127.0.0.1:port``.
        faults: To be changed at any time.
        requests: All that came.
        connections: How many are open.
    """

    def __init__(self, port: int | None = None, *, address: str = "127.0.0.1") -> None:
        """Not started.

        Args:
            port: The registry's, on 127.0.0.1; None: there is none, and what no fault answers is answered by 404.
            address: Where to listen.
        """
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.connections = 0
        self.host = ""
        self._port = port
        self._address = address
        self._thread: threading.Thread | None = None
        self._started: queue.SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.CancelScope, int]] = queue.SimpleQueue()
        self._running: tuple[trio.lowlevel.TrioToken, trio.CancelScope] | None = None

    @property
    def url(self) -> str:
        """Of its root."""
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="proxy")
        self._thread.start()
        token, scope, port = self._started.get(timeout=10)
        self._running = token, scope
        self.host = f"[{self._address}]:{port}" if ":" in self._address else f"{self._address}:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._running is not None
        assert self._thread is not None
        token, scope = self._running
        token.run_sync_soon(scope.cancel)
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def count(self, pattern: str = "") -> int:
        """How many requests came that fit."""
        return len(self.seen(pattern))

    def seen(self, pattern: str = "") -> list[Seen]:
        """The requests that came and fit."""
        return [each for each in self.requests if re.search(pattern, each.line)]

    async def until(self, connections: int) -> None:
        """Wait until so few are open; five seconds at most."""
        with trio.fail_after(5):
            while self.connections > connections:  # noqa: ASYNC110 - it changes in another thread
                await trio.sleep(0.01)

    async def until_seen(self, pattern: str, count: int = 1) -> None:
        """Wait until so many requests came that fit; five seconds at most."""
        with trio.fail_after(5):
            while self.count(pattern) < count:  # noqa: ASYNC110 - idem
                await trio.sleep(0.01)

    async def _main(self) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host=self._address))
                port: int = listeners[0].socket.getsockname()[1]
                self._started.put((trio.lowlevel.current_trio_token(), scope, port))

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            await _Connection(self, stream, self._port).run()
        except (
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            h11.RemoteProtocolError,
            h11.LocalProtocolError,
            OSError,
        ):
            pass
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(stream)

    def fault_of(self, line: str) -> Fault | None:
        """The fault for this request, used once more by it."""
        for fault in self.faults:
            if fault.times and re.search(fault.match, line):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None


class _Abort(Exception):  # noqa: N818 - no error: a decision
    """End the connection now."""


class _Connection:
    def __init__(self, proxy: Proxy, stream: trio.SocketStream, port: int | None) -> None:
        self._proxy = proxy
        self._stream = stream
        self._port = port
        self._h11 = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while True:
            request = await _next(self._h11, self._stream)
            if not isinstance(request, h11.Request):
                return
            try:
                await self._answer(request)
            except _Abort:
                # With a reset instead of an orderly end, as a router that loses the connection does.
                self._stream.setsockopt(*_LINGER)
                return
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _answer(self, request: h11.Request) -> None:
        line = f"{request.method.decode()} {request.target.decode()}"
        seen = Seen(line, {name.decode(): value.decode("latin-1") for name, value in request.headers})
        self._proxy.requests.append(seen)
        fault = self._proxy.fault_of(line) or Fault()
        if fault.hang:
            while await self._stream.receive_some(_PIECE):
                pass
            raise _Abort
        if fault.status or fault.redirect or self._port is None:
            await self._drain(seen)
            await self._own(request, fault)
            return
        if fault.cut_request_after == 0:
            raise _Abort
        upstream = await trio.open_tcp_stream("127.0.0.1", self._port)
        try:
            await self._forward(request, seen, fault, upstream)
        finally:
            await trio.aclose_forcefully(upstream)

    async def _own(self, request: h11.Request, fault: Fault) -> None:
        headers = {"Content-Length": str(len(fault.body)), **fault.headers}
        status = fault.status or 404
        if fault.redirect:
            status = 307
            headers["Location"] = fault.redirect + request.target.decode()
        await self._send(h11.Response(status_code=status, headers=list(headers.items())))
        if request.method != b"HEAD":
            await self._send(h11.Data(data=fault.body))
        await self._send(h11.EndOfMessage())

    async def _forward(self, request: h11.Request, seen: Seen, fault: Fault, upstream: trio.SocketStream) -> None:
        client = h11.Connection(h11.CLIENT)
        dropped = {b"connection"} | ({b"range"} if fault.ignore_range else set())
        headers = [(name, value) for name, value in request.headers if name not in dropped]
        headers.append((b"connection", b"close"))
        await upstream.send_all(
            client.send(h11.Request(method=request.method, target=request.target, headers=headers)) or b""
        )
        while True:
            event = await _next(self._h11, self._stream)
            if not isinstance(event, h11.Data):
                break
            data = bytes(event.data)
            seen.received += len(data)
            if fault.cut_request_after is not None and seen.received >= fault.cut_request_after:
                over = seen.received - fault.cut_request_after
                await upstream.send_all(client.send(h11.Data(data=data[: len(data) - over])) or b"")
                await trio.sleep(0.05)  # for the registry to take it
                raise _Abort
            await upstream.send_all(client.send(h11.Data(data=data)) or b"")
        await upstream.send_all(client.send(h11.EndOfMessage()) or b"")
        answer = await _next(client, upstream)
        assert isinstance(answer, h11.Response)
        if fault.lose_answer:
            raise _Abort
        names = {name.lower().encode(): value for name, value in fault.replace_headers.items()}
        kept = [(name, value) for name, value in answer.headers if name not in {b"connection", *names}]
        kept += [(name, value.encode()) for name, value in names.items() if value is not None]
        await self._send(h11.Response(status_code=answer.status_code, headers=kept, reason=answer.reason))
        await self._pass_on(client, upstream, fault)
        await self._send(h11.EndOfMessage())

    async def _pass_on(self, client: h11.Connection, upstream: trio.SocketStream, fault: Fault) -> None:
        position = 0
        while True:
            event = await _next(client, upstream)
            if not isinstance(event, h11.Data):
                return
            data = bytearray(event.data)
            if fault.corrupt_at is not None and position <= fault.corrupt_at < position + len(data):
                data[fault.corrupt_at - position] ^= 1
            if fault.cut_after is not None and position + len(data) >= fault.cut_after:
                await self._send(h11.Data(data=bytes(data[: fault.cut_after - position])))
                await trio.sleep(0.02)  # a reset would overtake what is on the way
                raise _Abort
            position += len(data)
            await self._send(h11.Data(data=bytes(data)))
            if fault.rate:
                await trio.sleep(len(data) / fault.rate)

    async def _drain(self, seen: Seen) -> None:
        while isinstance(event := await _next(self._h11, self._stream), h11.Data):
            seen.received += len(event.data)

    async def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data:
            await self._stream.send_all(data)


# SO_LINGER with no time: closing sends a reset.
_LINGER = (1, 13, b"\1\0\0\0\0\0\0\0")


async def _next(connection: h11.Connection, stream: trio.SocketStream) -> h11.Event | type[h11.PAUSED]:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            assert event is not h11.NEED_DATA
            return event  # type: ignore[return-value] # the sentinel is told apart by identity, which the checker does not see
        connection.receive_data(await stream.receive_some(_PIECE))
