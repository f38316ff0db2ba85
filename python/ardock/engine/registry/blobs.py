"""Reading a blob: in large pieces, going on after a break where it broke off, and elsewhere where a host fails for good."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import trio

from ardock.engine.registry.host import Host
from ardock.engine.registry.ranges import Body, Complete, asking, continued
from ardock.engine.registry.retrying import PROGRESS, TRANSIENT
from ardock.engine.registry.transport import FINAL, Answer, Broken
from ardock.model.errors import ArdockError, ContentDamaged, RegistryUnavailable

PIECE: Final = 1 << 20


class Source:
    """Where a blob may be read.

    Attributes:
        host: The registry.
        path: Of the blob there.
        attempts: How often it is tried without progress.
    """

    __slots__ = ("attempts", "host", "path")

    def __init__(self, host: Host, path: str, attempts: int) -> None:
        self.host = host
        self.path = path
        self.attempts = attempts


class BlobReader:
    """An iterator of a blob's bytes, in pieces of 1 MiB but for the last one. They are not verified.

    It is not an async generator: being cancelled in the middle leaves it as it was, and `aclose` ends it from outside.
    """

    def __init__(self, sources: Sequence[Source], scopes: Sequence[str], what: str, size: int | None) -> None:
        """Nothing is asked for before the first piece.

        Args:
            sources: Where it may be read, best first.
            scopes: What that needs to be allowed.
            what: What is read, to begin an error with.
            size: Its bytes; None: not known.
        """
        self._sources = list(sources)
        self._scopes = scopes
        self._what = what
        self._size = size
        self._answer: Answer | None = None
        self._pieces: AsyncGenerator[bytes, None] | None = None
        self._position = 0
        self._skip = 0
        self._failures = 0
        self._failed_at = 0
        self._done = size == 0

    def __aiter__(self) -> BlobReader:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            ArdockError: No source has it, or all go on failing.
        """
        buffer = bytearray()
        while not self._done and len(buffer) < PIECE:
            try:
                pieces = self._pieces or await self._begin()
                if pieces is None:
                    self._done = True
                    break
                piece = await anext(pieces, None)
            except Broken as broken:
                await self._again(self._sources[0].host.unreachable(broken, self._what), final=broken.kind in FINAL)
                continue
            if piece is None:
                await self._end()
                continue
            if self._skip:
                skipped = min(self._skip, len(piece))
                self._skip -= skipped
                piece = piece[skipped:]
            self._position += len(piece)
            if self._size is not None and self._position > self._size:
                await self.aclose()
                raise ContentDamaged(
                    f"{self._what}: {self._sources[0].host.name} sends more than the {self._size} bytes that it has"
                )
            buffer += piece
        if not buffer:
            raise StopAsyncIteration
        return bytes(buffer)

    async def aclose(self) -> None:
        """Give the connection back, or close it."""
        pieces, answer = self._pieces, self._answer
        self._pieces = self._answer = None
        with trio.CancelScope(shield=True):
            if pieces is not None:
                await pieces.aclose()
            if answer is not None:
                await answer.aclose()

    async def _begin(self) -> AsyncGenerator[bytes, None] | None:
        """Ask for what is missing; None: nothing is."""
        source = self._sources[0]
        answer = self._answer = await source.host.exchange(
            "GET", source.path, scopes=self._scopes, headers=asking(self._position)
        )
        if answer.status not in {200, 206, 416}:
            problem = await source.host.refusal(answer, self._what)
            await self._again(problem, final=answer.status not in TRANSIENT, asked=source.host.asked(answer))
            return await self._begin()
        fit = continued(
            answer.status,
            answer.header("Content-Range"),
            answer.header("Content-Length"),
            position=self._position,
            size=self._size,
        )
        if isinstance(fit, Complete):
            await self.aclose()
            return None
        if not isinstance(fit, Body):
            await self._again(RegistryUnavailable(f"{self._what}: {source.host.name}: {fit.reason}"), final=fit.final)
            return await self._begin()
        self._skip = fit.skip
        if self._size is None:
            self._size = fit.total
        self._pieces = answer.pieces()
        return self._pieces

    async def _end(self) -> None:
        """The answer is at its end: of the blob, or too early."""
        await self.aclose()
        if self._skip or (self._size is not None and self._position < self._size):
            host = self._sources[0].host
            await self._again(
                RegistryUnavailable(
                    f"{self._what}: {host.name} ends after {self._position - self._skip} bytes of {self._size}"
                )
            )
        else:
            self._done = True

    async def _again(self, problem: ArdockError, *, final: bool = False, asked: float | None = None) -> None:
        """Wait until it makes sense to ask again, or turn to the next source.

        Raises:
            ArdockError: `problem`: there is none.
        """
        await self.aclose()
        if self._position - self._failed_at >= PROGRESS:
            self._failures = 0
        self._failed_at = self._position
        self._failures += 1
        source = self._sources[0]
        try:
            if final:
                raise problem
            await source.host.pause(problem, self._failures, asked, source.attempts)
        except ArdockError:
            if len(self._sources) == 1:
                raise
            del self._sources[0]
            self._failures = 0
