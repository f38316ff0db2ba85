"""The sockets beneath `httpcore2`: trio's, and none of them is left open.

The library loses a socket where it is cancelled in a TLS handshake, and may keep one in its pool that nobody can use where it is
cancelled just after. So each is known here, closed where its handshake does not succeed for whatever reason, and closed at the
latest when its transport lets go of all. Imports the library: imported with the first exchange alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import httpcore2
import trio


class Network(httpcore2.AsyncNetworkBackend):
    """Where one transport's connections come from."""

    def __init__(self) -> None:
        """None is open."""
        self._trio = httpcore2.TrioBackend()
        self._open: set[_Stream] = set()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """See `httpcore2.AsyncNetworkBackend`."""
        stream = await self._trio.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._open)

    async def sleep(self, seconds: float) -> None:
        """See `httpcore2.AsyncNetworkBackend`."""
        await trio.sleep(seconds)

    async def aclose(self) -> None:
        """Close what is open."""
        for stream in tuple(self._open):
            await stream.aclose()


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, inner: httpcore2.AsyncNetworkStream, known: set[_Stream]) -> None:
        self._inner = inner
        self._known = known
        known.add(self)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        self._known.discard(self)
        # Nothing is flushed: HTTP tells its ends itself.
        with trio.CancelScope(shield=True):
            await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            inner = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self.aclose()
            raise
        self._known.discard(self)
        return _Stream(inner, self._known)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
