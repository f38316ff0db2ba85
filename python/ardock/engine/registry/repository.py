"""One repository of a registry: what can be read there and written. Distribution spec 1.1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlencode

import msgspec
import trio

from ardock.engine.registry.blobs import BlobReader, Source
from ardock.engine.registry.host import Host
from ardock.engine.registry.places import redirected
from ardock.engine.registry.tokens import scope
from ardock.engine.registry.transport import Answer
from ardock.engine.registry.uploads import Opener, Upload
from ardock.model.errors import (
    ArdockError,
    ContentDamaged,
    EngineClosed,
    InvalidArgument,
    NotFound,
    NotPermitted,
    RegistryUnavailable,
    Unsupported,
)
from ardock.model.reference import Reference, is_tag, parse_digest

ResultT = TypeVar("ResultT")

# What Docker and OCI know: an index or a manifest of either. Schema 1 is not asked for; what has nothing else answers with it.
MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# Distribution spec 1.1: "A registry SHOULD enforce some limit ... at least 4 megabytes".
LARGEST_MANIFEST: Final = 4 << 20
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+"
# Mirrors are for speed: what does not come from one soon is better had elsewhere.
_MIRROR_ATTEMPTS: Final = 2
# For giving up an upload that was not wanted.
_GIVING_UP: Final = 5.0
_PAGE: Final = 1000
_LARGEST_PAGE: Final = 8 << 20
_MOST_PAGES: Final = 10_000
_LINK: Final = re.compile(r"<([^>]*)>([^,]*)")
_NEXT: Final = re.compile(r';\s*rel\s*=\s*"?next"?\s*(?:;|$)', re.IGNORECASE)


class Fetched(msgspec.Struct, frozen=True):
    """A manifest as it came.

    Attributes:
        media_type: What it is, without parameters.
        digest: Of `data`: the one that was asked for, else sha256.
        data: Its bytes.
    """

    media_type: str
    digest: str
    data: bytes


class _Typed(msgspec.Struct):
    mediaType: str = ""  # noqa: N815 - the field's name in the format
    schemaVersion: int = 0  # noqa: N815 - idem


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class Repository:
    """One repository on its registry, with the registry's mirrors for reading. Close it, or use it as a context manager.

    Attributes:
        reference: What it was opened with.
    """

    def __init__(
        self,
        reference: Reference,
        host: Host,
        mirrors: Sequence[Host],
        release: Callable[[], Awaitable[None]],
        *,
        push: bool,
    ) -> None:
        """Made by `Registries.open` alone."""
        self.reference = reference
        self._host = host
        self._mirrors = tuple(mirrors)
        self._release = release
        self._closed = False
        name = reference.repository
        self._path = f"/v2/{name}"
        self._pulling = scope(name, "pull")
        self._pushing = scope(name, "pull", "push")
        self._reading = (self._pushing,) if push else (self._pulling,)

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of its connections; those that nobody else uses are closed."""
        if not self._closed:
            self._closed = True
            with trio.CancelScope(shield=True):
                await self._release()

    def __repr__(self) -> str:
        """Which one."""
        return f"<Repository {self.reference.name}{' closed' if self._closed else ''}>"

    @property
    def mirrored(self) -> bool:
        """Whether there are mirrors that are read first."""
        return bool(self._mirrors)

    # --- reading: of mirrors first ---

    async def manifest(self, target: str, *, accept: Sequence[str] = MANIFEST_TYPES) -> Fetched:
        """A manifest or an index.

        Args:
            target: A tag, or a digest, which it is held against.
            accept: The media types to ask for.

        Raises:
            NotFound: There is none.
            NotPermitted: These credentials do not suffice.
            ContentDamaged: It is not what its digest names.
            Unsupported: It is of schema 1.
            RegistryUnavailable: No host can be reached, or all go on failing.
        """
        self._check(target)
        what = self._named(target)
        path = f"{self._path}/manifests/{target}"
        headers = {"Accept": ", ".join(accept)}

        async def use(answer: Answer) -> Fetched:
            data = await answer.read(LARGEST_MANIFEST)
            if len(data) > LARGEST_MANIFEST:
                raise ContentDamaged(f"{what}: the manifest is larger than {LARGEST_MANIFEST >> 20} MiB")
            return _checked(target, answer, data, what)

        async def fetch(host: Host, attempts: int | None) -> Fetched:
            return await host.ask("GET", path, use, what=what, scopes=self._reading, headers=headers, attempts=attempts)

        return await self._first(fetch)

    @asynccontextmanager
    async def blob(
        self, digest: str, size: int | None = None, *, mirrors: bool = True
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A blob's bytes, in pieces of 1 MiB but for the last one, NOT verified: whoever keeps them holds them against `digest`.

        A connection that breaks is made anew and goes on where it broke off; the bytes may come from several hosts then.

        Args:
            digest: The blob's.
            size: Its bytes where they are known: no more are given, and fewer are an error.
            mirrors: Ask mirrors first. Without, after one (`mirrored`) gave other bytes than `digest` names.

        Raises:
            ArdockError: As `manifest`, when a piece is asked for.
        """
        self._check(digest, tag=False)
        path = f"{self._path}/blobs/{digest}"
        sources = [Source(host, path, min(_MIRROR_ATTEMPTS, host.options.attempts)) for host in self._mirrors]
        if not mirrors:
            sources.clear()
        sources.append(Source(self._host, path, self._host.options.attempts))
        reader = BlobReader(sources, self._reading, self._named(digest), size)
        try:
            yield reader
        finally:
            await reader.aclose()

    async def tags(self) -> list[str]:
        """All tags, in the order of their characters: the specification's, which not every registry keeps to.

        Raises:
            ArdockError: As `manifest`.
        """
        self._check()

        async def fetch(host: Host, attempts: int | None) -> list[str]:
            return await self._tags(host, attempts)

        return await self._first(fetch)

    async def _tags(self, host: Host, attempts: int | None) -> list[str]:
        what = self.reference.familiar_name
        found: list[str] = []
        seen: set[str] = set()
        target = f"{self._path}/tags/list?n={_PAGE}"

        async def use(answer: Answer) -> str | None:
            body = await answer.read(_LARGEST_PAGE)
            try:
                found.extend(msgspec.json.decode(body, type=_Tags).tags or ())
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise RegistryUnavailable(f"{what}: {host.name}: its list of tags cannot be read: {error}") from error
            location = next_page(answer.headers("Link"))
            if location is None:
                return None
            hop = redirected(answer.url, location, host.options.insecure)
            if isinstance(hop, str) or not hop.same:
                raise RegistryUnavailable(f"{what}: {host.name}: its list of tags goes on at another server")
            return hop.url

        while target not in seen and len(seen) < _MOST_PAGES:
            seen.add(target)
            following = await host.ask("GET", target, use, what=what, scopes=self._reading, attempts=attempts)
            if following is None:
                return sorted(found)
            target = following
        raise RegistryUnavailable(f"{what}: {host.name}: its list of tags has no end")

    async def _first(self, fetch: Callable[[Host, int | None], Awaitable[ResultT]]) -> ResultT:
        """What the first host has that does not fail; the registry's own error where all do."""
        for mirror in self._mirrors:
            try:
                return await fetch(mirror, min(_MIRROR_ATTEMPTS, mirror.options.attempts))
            except ArdockError:
                continue
        return await fetch(self._host, None)

    # --- the registry itself ---

    async def exists(self, digest: str) -> int | None:
        """The size of a blob, bytes; None: the registry itself (no mirror) does not have it.

        Raises:
            ArdockError: As `manifest`.
        """
        self._check(digest, tag=False)

        async def use(answer: Answer) -> int:
            length = answer.header("Content-Length") or ""
            return int(length) if length.isascii() and length.isdigit() else 0

        try:
            return await self._host.ask(
                "HEAD", f"{self._path}/blobs/{digest}", use, what=self._named(digest), scopes=self._reading
            )
        except NotFound:
            return None

    async def mount(self, digest: str, source: str) -> bool:
        """Have a blob that another repository of the registry has, without sending it.

        Args:
            digest: The blob's.
            source: Path of the other repository, such as ``library/busybox``.

        Returns:
            Whether it is there now; else it has to be uploaded: the registry does not have it there, does not tell it to
            these credentials, or does not do this.

        Raises:
            ArdockError: As `manifest`.
        """
        self._check(digest, tag=False)
        scopes = (self._pushing, scope(source, "pull"))
        target = f"{self._path}/blobs/uploads/?{urlencode({'mount': digest, 'from': source})}"
        session = ""

        async def use(answer: Answer) -> bool:
            nonlocal session
            hop = redirected(answer.url, answer.header("Location"), self._host.options.insecure)
            # 202: it has opened an upload instead, as the specification has it.
            session = hop.url if answer.status == 202 and not isinstance(hop, str) else ""
            return answer.status == 201

        what = self._named(digest)
        try:
            mounted = await self._host.ask(
                "POST", target, use, what=what, good=(201, 202), scopes=scopes, headers={"Content-Length": "0"}
            )
        except (NotPermitted, NotFound, Unsupported, InvalidArgument):
            # Also where the other repository is not ours to read; if this one is not ours to write, the upload will tell.
            return False
        if session:
            with trio.move_on_after(_GIVING_UP), suppress(ArdockError):
                await self._host.ask(
                    "DELETE", session, _nothing, what=what, good=(200, 202, 204), scopes=(self._pushing,), attempts=1
                )
        return mounted

    async def upload(
        self, digest: str, size: int, opener: Opener, progress: Callable[[int], None] | None = None
    ) -> None:
        """Write a blob; it is not asked before whether the registry has it (`exists`).

        Args:
            digest: The blob's.
            size: Its bytes.
            opener: Gives an iterator of its bytes from an offset on; called again where the registry has to be sent some
                of them again.
            progress: Is told how many bytes were sent so far; the number goes back after a break.

        Raises:
            ContentDamaged: The bytes are not those of `digest` and `size`.
            NotPermitted: These credentials do not suffice.
            RegistryUnavailable: The registry cannot be reached, or goes on failing.
        """
        self._check(digest, tag=False)
        upload = Upload(
            self._host,
            f"{self._path}/blobs/uploads/",
            (self._pushing,),
            what=self._named(digest),
            blob=f"{self._path}/blobs/{digest}",
            digest=digest,
            size=size,
            opener=opener,
            progress=progress,
        )
        await upload.run()

    async def put_manifest(self, target: str, media_type: str, data: bytes) -> str:
        """Write a manifest or an index whose blobs and manifests are there.

        Args:
            target: A tag, or the digest of `data`.
            media_type: What it is.
            data: Its bytes.

        Returns:
            Its digest: `target` where that is one, else sha256.

        Raises:
            InvalidArgument: The registry refuses it as malformed.
            ArdockError: As `upload`.
        """
        self._check(target)
        digest = target if ":" in target else f"sha256:{hashlib.sha256(data).hexdigest()}"
        what = self._named(target)

        async def use(answer: Answer) -> str:
            told = answer.header("Docker-Content-Digest")
            if told is not None and told.partition(":")[0] == digest.partition(":")[0] and told != digest:
                raise ContentDamaged(f"{what}: {self._host.name} has kept it as {told}, not as {digest}")
            return digest

        return await self._host.ask(
            "PUT",
            f"{self._path}/manifests/{target}",
            use,
            what=what,
            good=(200, 201, 202, 204),
            scopes=(self._pushing,),
            headers={"Content-Type": media_type},
            content=data,
        )

    def _check(self, target: str | None = None, *, tag: bool = True) -> None:
        """See that this is still open, and that `target` is a digest or (`tag`) a tag: it becomes part of an address."""
        if self._closed:
            raise EngineClosed(f"{self!r} is used after it was closed")
        if target is None or (tag and is_tag(target)):
            return
        parse_digest(target)

    def _named(self, target: str) -> str:
        return f"{self.reference.familiar_name}{'@' if ':' in target else ':'}{target}"


async def _nothing(_: Answer) -> None:
    """Nothing is of interest in it."""


def _checked(target: str, answer: Answer, data: bytes, what: str) -> Fetched:
    """The manifest, held against the digest that it was asked for by, else against the one that the registry tells."""
    media_type = (answer.header("Content-Type") or "").partition(";")[0].strip().lower()
    try:
        typed = msgspec.json.decode(data, type=_Typed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        typed = _Typed()
    if media_type.startswith(_SCHEMA_1) or (typed.schemaVersion == 1 and not typed.mediaType):
        raise Unsupported(
            f"{what}: an image of schema 1, which Docker gave up in 2019: push it anew with a current tool",
            option="schema1",
        )
    if not media_type.startswith("application/vnd."):
        # Such as text/plain, of servers that know no better: then the manifest's own word counts.
        media_type = typed.mediaType or media_type
    told = answer.header("Docker-Content-Digest") or ""
    named = target if ":" in target else told
    algorithm = named.partition(":")[0]
    if algorithm not in {"sha256", "sha512"}:
        named, algorithm = "", "sha256"
    digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    if named and named != digest:
        raise ContentDamaged(f"{what}: what came is not what was named: its digest is {digest}, not {named}")
    return Fetched(media_type, digest, data)


def next_page(links: Sequence[str]) -> str | None:
    """Where a list goes on, by ``Link`` headers (RFC 8288); None: nowhere."""
    for value in links:
        for target, params in _LINK.findall(value):
            if _NEXT.search(params):
                return str(target)
    return None
