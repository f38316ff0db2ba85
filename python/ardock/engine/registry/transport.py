"""HTTP exchanges with servers, over `httpcore2`: the one module that knows that library.

It is the lower half of `httpx2`, with connections and pools. What the upper half adds (following redirects, keeping cookies,
reading the environment) is decided elsewhere here, or not wanted; and its streams cannot be left in the middle of a body without
leaving a generator to the garbage collector. The library is imported at the first exchange: most engines never speak to a
registry.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Final, Literal

import trio

from ardock import _core
from ardock.engine.registry.certificates import tls_context
from ardock.engine.registry.places import Origin, Proxy, is_loopback, proxy_of
from ardock.model.errors import EngineClosed
from ardock.model.registry import RegistryOptions

if TYPE_CHECKING:
    import httpcore2

    from ardock.engine.registry.network import Network

# What went wrong: no connection; the peer does not speak TLS; nobody vouches for its certificate; it refuses us in the
# handshake (our certificate, or version); it broke afterwards.
Kind = Literal["connect", "plain", "certificate", "refused", "broken"]
# Those that stay as they are however often it is tried.
FINAL: Final = frozenset({"certificate", "refused"})
Content = bytes | Callable[[], AsyncIterator[bytes]]

_CONNECT_TIMEOUT: Final = 15.0
# A server on this machine that does not answer a TLS handshake at once waits for a request in plain.
_LOOPBACK_TIMEOUT: Final = 5.0
_KEEPALIVE: Final = 30.0
_USER_AGENT: Final = f"ardock/{_core.versions()['ardock']}"
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE"})


class Broken(Exception):  # noqa: N818 - named for what happened, as all errors here
    """An exchange that failed below HTTP; it may be tried again, unless its kind is in `FINAL`.

    Attributes:
        kind: See `Kind`.
        reason: In words, as the end of a sentence.
    """

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind: Kind = kind
        self.reason = reason


class Answer:
    """A response whose body was not read yet. It has a connection until it is closed.

    Attributes:
        url: The address that it is an answer of.
        status: Such as 200.
    """

    def __init__(self, url: str, response: httpcore2.Response) -> None:
        self.url = url
        self.status = response.status
        self._response = response

    def header(self, name: str) -> str | None:
        """A header's value, of several the first."""
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> list[str]:
        """Values of all headers of this name."""
        sought = name.lower().encode("ascii")
        return [value.decode("latin-1") for key, value in self._response.headers if key.lower() == sought]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body, in pieces as they come (64 KiB at most).

        Raises:
            Broken: It ended early.
        """
        with _mapped():
            async with aclosing(self._response.aiter_stream()) as pieces:
                async for piece in pieces:
                    yield piece

    async def read(self, limit: int) -> bytes:
        """The body's first `limit` bytes; more than that was there where the result is longer.

        Raises:
            Broken: It ended early.
        """
        body = bytearray()
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > limit:
                    break
        return bytes(body)

    async def aclose(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""
        with trio.CancelScope(shield=True):
            await self._response.aclose()


class Transport:
    """Connections to servers: a bounded pool for each, made at the first exchange."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._pools: dict[tuple[Origin, bool], httpcore2.AsyncConnectionPool] = {}
        self._network: Network | None = None
        self._closed = False

    async def send(
        self,
        method: str,
        url: str,
        origin: Origin,
        headers: Mapping[str, str],
        content: Content = b"",
        *,
        names: tuple[str, ...] = (),
        verify: bool = True,
    ) -> Answer:
        """One exchange; the answer is to be closed.

        Args:
            method: Such as ``GET``.
            url: Absolute.
            origin: Its server.
            headers: Further ones; with ``Content-Length`` where `content` is no `bytes`.
            content: The body, or what begins it anew.
            names: What else than by its authority the server is called in `RegistryOptions.certificates`.
            verify: Whether its certificate counts.

        Raises:
            Broken: It failed below HTTP.
            ArdockError: Its certificates, or its proxy, cannot be used.
        """
        import httpcore2  # noqa: PLC0415 - see the module's description

        pool = await self._pool(origin, names, verify=verify)
        connect = _LOOPBACK_TIMEOUT if is_loopback(origin.host) else _CONNECT_TIMEOUT
        patience = self._options.patience
        sent = {"Host": origin.authority, "User-Agent": _USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        sent.update(headers)
        if isinstance(content, bytes) and (content or method not in _BODILESS):
            sent["Content-Length"] = str(len(content))
        try:
            request = httpcore2.Request(
                method,
                url,
                headers=list(sent.items()),
                content=content if isinstance(content, bytes) else content(),
                extensions={
                    # For a place in the pool there is none: whoever has it makes progress, or is broken and gives it up.
                    "timeout": {"connect": min(connect, patience), "read": patience, "write": patience, "pool": None}
                },
            )
        except (TypeError, ValueError) as error:
            raise Broken("refused", f"the request cannot be sent: {error}") from error
        with _mapped():
            return Answer(url, await pool.handle_async_request(request))

    async def _pool(self, origin: Origin, names: tuple[str, ...], *, verify: bool) -> httpcore2.AsyncConnectionPool:
        import httpcore2  # noqa: PLC0415 - see the module's description

        key = (origin, verify)
        pool = self._pools.get(key)
        if pool is not None:
            return pool
        proxy = proxy_of(origin, os.environ) if self._options.environment else None
        context = None
        if origin.scheme == "https":
            folders = self._options.certificates
            called = (*names, origin.authority, f"{origin.host}:{origin.port}")
            context = await trio.to_thread.run_sync(lambda: tls_context(folders, called, verify=verify))
        if self._closed:
            raise EngineClosed("the engine is closed")
        if self._network is None:
            from ardock.engine.registry.network import Network  # noqa: PLC0415 - see the module's description

            self._network = Network()
        # Somebody else may have made the pool meanwhile.
        return self._pools.setdefault(
            key,
            httpcore2.AsyncConnectionPool(
                ssl_context=context,
                max_connections=self._options.connections,
                max_keepalive_connections=self._options.connections,
                keepalive_expiry=_KEEPALIVE,
                proxy=httpcore2.Proxy(proxy.url, auth=_encoded(proxy)) if proxy is not None else None,
                network_backend=self._network,
            ),
        )

    async def release(self) -> None:
        """Close all connections; the next exchange makes new ones. For when nobody uses one: who does gets `Broken`."""
        pools, self._pools = list(self._pools.values()), {}
        with trio.CancelScope(shield=True):
            for pool in pools:
                await pool.aclose()
            if self._network is not None:
                await self._network.aclose()

    async def aclose(self) -> None:
        """Close all connections; what uses one gets `Broken`."""
        self._closed = True
        await self.release()


def _encoded(proxy: Proxy) -> tuple[bytes, bytes] | None:
    return None if proxy.auth is None else (proxy.auth[0].encode(), proxy.auth[1].encode())


@contextmanager
def _mapped() -> Iterator[None]:
    """The library's errors as `Broken`."""
    import httpcore2  # noqa: PLC0415 - see the module's description

    try:
        yield
    except httpcore2.LocalProtocolError as error:
        # Such as a header that cannot be sent; it will not become another one.
        raise Broken("refused", f"the request cannot be sent: {error}") from error
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.ProxyError) as error:
        raise _broken(error, connecting=True) from error
    except (
        httpcore2.NetworkError,
        httpcore2.TimeoutException,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
        httpcore2.ConnectionNotAvailable,
    ) as error:
        raise _broken(error, connecting=False) from error


def _broken(error: Exception, *, connecting: bool) -> Broken:
    """What happened, by the exceptions that led to this one."""
    during_tls = False
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Broken("certificate", f"its certificate is not trusted: {cause.verify_message or cause.reason}")
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            # With TLS 1.3 it comes after the handshake, in place of the first answer.
            return Broken("refused", f"it refuses the TLS connection: {cause.reason.lower().replace('_', ' ')}")
        if isinstance(cause, ssl.SSLError) and connecting:
            return Broken("plain", f"the TLS handshake failed: {cause.reason or cause}")
        if isinstance(cause, socket.gaierror):
            return Broken("connect", f"its name cannot be resolved: {cause.strerror}")
        if isinstance(cause, OSError) and cause.errno:
            return Broken("connect" if connecting else "broken", os.strerror(cause.errno).lower())
        during_tls = during_tls or isinstance(cause, trio.BrokenResourceError)
    if connecting and during_tls:
        return Broken("plain", "it broke off in the TLS handshake")
    name = type(error).__name__
    if name.endswith("Timeout"):
        return Broken("connect" if connecting else "broken", f"it did not {_WAITED.get(name, 'answer')} in time")
    return Broken("connect" if connecting else "broken", str(error).rstrip(".").lower() or name)


_WAITED: Final = {"ConnectTimeout": "take the connection", "WriteTimeout": "take what was sent"}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those it was raised from, of a group the first's."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            current = current.exceptions[0]
        else:
            # Also where it is suppressed: the library raises `from None`.
            current = current.__cause__ or current.__context__
