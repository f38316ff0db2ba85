"""Writing a blob: whole or in pieces, going on after a break where the registry says that it is.

Distribution spec 1.1, "Pushing blobs". An upload is a session at an address that each answer names anew. Its state is asked for
after a break; a session that is forgotten is begun anew. Whatever ends the upload before its time, the session is given up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

import trio

from ardock.engine.registry.host import Host
from ardock.engine.registry.places import redirected
from ardock.engine.registry.ranges import stored
from ardock.engine.registry.retrying import PROGRESS, TRANSIENT
from ardock.engine.registry.transport import FINAL, Answer, Broken
from ardock.model.errors import ArdockError, ContentDamaged, RegistryUnavailable

# Of a blob's bytes from an offset on.
Opener = Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
# Of the pieces where a registry, or a proxy before it, answers that the whole is too large.
_PIECE: Final = 16 << 20
_TOO_LARGE: Final = 413
# For giving up a session: it is a courtesy, nobody should wait long for it.
_GIVING_UP: Final = 5.0


class Upload:
    """The upload of one blob to one repository."""

    def __init__(
        self,
        host: Host,
        path: str,
        scopes: Sequence[str],
        *,
        what: str,
        blob: str,
        digest: str,
        size: int,
        opener: Opener,
        progress: Callable[[int], None] | None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            host: The registry.
            path: Of the repository's uploads there.
            scopes: What writing needs to be allowed.
            what: What is written, to begin an error with.
            blob: Path of the blob there, once it is.
            digest: Of the blob.
            size: Its bytes.
            opener: Opens it from an offset on.
            progress: Is told how many bytes were sent; the number goes back after a break.
        """
        self._host = host
        self._path = path
        self._scopes = scopes
        self._what = what
        self._blob = blob
        self._digest = digest
        self._size = size
        self._opener = opener
        self._progress = progress or (lambda _: None)
        self._chunk = host.options.chunk
        self._session = ""  # its address; empty where there is none
        self._least = 0  # of the pieces that the registry takes, bytes
        self._position = 0  # what the registry has
        self._sent = 0  # how far the last body got
        self._done = False
        self._failures = 0
        self._failed_at = 0

    async def run(self) -> None:
        """Upload it.

        Raises:
            ContentDamaged: The registry got other bytes than the digest names.
            ArdockError: It refuses, or cannot be reached.
        """
        try:
            while not self._done:
                try:
                    await (self._step() if self._session else self._begin())
                except Broken as broken:
                    problem = self._host.unreachable(broken, self._what)
                    await self._again(problem, final=broken.kind in FINAL)
        except BaseException:
            await self._give_up()
            raise

    async def _begin(self) -> None:
        """Open a session."""
        self._position = self._sent = 0
        answer = await self._exchange("POST", self._path, {"Content-Length": "0"})
        try:
            if answer.status != 202:
                await self._failed(answer)
                return
            self._moved(answer)
            least = answer.header("OCI-Chunk-Min-Length") or ""
            self._least = int(least) if least.isascii() and least.isdigit() else 0
        finally:
            await answer.aclose()

    async def _step(self) -> None:
        """Send the whole, the next piece, or the end."""
        if not self._chunk and not self._position:
            await self._put(self._size)
        elif self._position >= self._size:
            await self._put(0)
        else:
            await self._patch()

    async def _put(self, length: int) -> None:
        """The last request of the session: with the whole blob, or nothing."""
        joiner = "&" if "?" in self._session else "?"
        answer = await self._exchange(
            "PUT",
            f"{self._session}{joiner}digest={self._digest}",
            {"Content-Type": "application/octet-stream", "Content-Length": str(length)},
            length,
        )
        try:
            if answer.status in {201, 204}:
                self._session, self._done = "", True
                told = answer.header("Docker-Content-Digest")
                if told is not None and told.startswith(self._digest.partition(":")[0]) and told != self._digest:
                    raise ContentDamaged(f"{self._what}: {self._host.name} has kept it as {told}")
            else:
                await self._failed(answer)
        finally:
            await answer.aclose()

    async def _patch(self) -> None:
        """A piece, or all that is missing."""
        rest = self._size - self._position
        length = min(rest, max(self._chunk, self._least)) if self._chunk else rest
        answer = await self._exchange(
            "PATCH",
            self._session,
            {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(length),
                # Of the specification, which is not RFC 9110's: without a unit and a total.
                "Content-Range": f"{self._position}-{self._position + length - 1}",
            },
            length,
        )
        try:
            if answer.status != 202:
                await self._failed(answer)
                return
            self._moved(answer)
            self._position += length
        finally:
            await answer.aclose()

    async def _exchange(self, method: str, target: str, headers: dict[str, str], length: int = 0) -> Answer:
        first = self._position

        def body() -> AsyncIterator[bytes]:
            return self._body(first, length)

        return await self._host.exchange(
            method, target, scopes=self._scopes, headers=headers, content=body if length else b""
        )

    async def _body(self, first: int, length: int) -> AsyncIterator[bytes]:
        """The blob's bytes from `first` on, `length` of them."""
        left = length
        async with self._opener(first) as pieces:
            async for piece in pieces:
                part = piece[:left]
                left -= len(part)
                if part:
                    yield part
                self._sent = first + length - left
                self._progress(self._sent)
                if not left:
                    return
        raise ContentDamaged(f"{self._what}: it ends after {first + length - left} bytes of {self._size}")

    def _moved(self, answer: Answer) -> None:
        """The session's next address."""
        hop = redirected(answer.url, answer.header("Location"), self._host.options.insecure)
        if isinstance(hop, str):
            raise RegistryUnavailable(
                f"{self._what}: {self._host.name}: its answer to an upload names no address: {hop}"
            )
        self._session = hop.url

    async def _failed(self, answer: Answer) -> None:
        """What is done about an answer that is no success.

        Raises:
            ArdockError: Nothing.
        """
        status = answer.status
        problem = await self._host.refusal(answer, self._what)
        if status == _TOO_LARGE and self._size > _PIECE and (not self._chunk or self._chunk > _PIECE):
            # Some proxies bound the size of one request: 100 MB and less are in use.
            self._chunk = _PIECE
            await self._again(problem)
        elif status == 416 or (status == 404 and self._session):
            # Other bytes are there than we think; or the session is not.
            await self._again(problem, forgotten=status == 404)
        else:
            await self._again(problem, final=status not in TRANSIENT, asked=self._host.asked(answer))

    async def _again(
        self, problem: ArdockError, *, final: bool = False, forgotten: bool = False, asked: float | None = None
    ) -> None:
        """Wait, and see what the registry has.

        Raises:
            ArdockError: `problem`: it makes no sense to go on.
        """
        if final:
            raise problem
        if self._position - self._failed_at >= PROGRESS:
            self._failures = 0
        self._failed_at = self._position
        self._failures += 1
        await self._host.pause(problem, self._failures, asked)
        if self._sent >= self._size and await self._arrived():
            # The answer was lost, not the blob.
            self._session, self._done = "", True
        elif forgotten or (self._session and not await self._ask()):
            self._session = ""

    async def _ask(self) -> bool:
        """Ask how far the session is; whether it can be gone on with."""
        try:
            answer = await self._exchange("GET", self._session, {})
        except Broken:
            # Whatever comes next finds out; from the beginning, since nothing is known.
            return False
        try:
            if answer.status not in {200, 202, 204}:
                return False
            position = stored(answer.header("Range"))
            if position > self._size:
                return False
            self._position = self._sent = position
            self._progress(position)
            if answer.header("Location"):
                self._moved(answer)
            return True
        finally:
            await answer.aclose()

    async def _arrived(self) -> bool:
        """Whether the registry has the whole blob."""
        try:
            answer = await self._host.exchange("HEAD", self._blob, scopes=self._scopes)
        except Broken:
            return False
        await answer.aclose()
        return answer.status == 200

    async def _give_up(self) -> None:
        """Tell the registry that the session will not be gone on with; it would keep its bytes for a week otherwise."""
        if not self._session:
            return
        with trio.move_on_after(_GIVING_UP, shield=True), suppress(Broken, ArdockError):
            answer = await self._host.exchange("DELETE", self._session, scopes=self._scopes)
            await answer.aclose()
