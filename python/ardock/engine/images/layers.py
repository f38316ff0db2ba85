"""Layers: from bytes to unpacked trees, each made once however many want it."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio

from ardock import _core
from ardock.engine.content import Blobs, Lease, Leases
from ardock.engine.content.blobs import discard
from ardock.engine.content.disk import unusable
from ardock.engine.failpoints import reach
from ardock.engine.images.core import in_thread, together, told
from ardock.engine.images.formats import OCI_LAYER, Descriptor
from ardock.engine.images.jobs import Job, Jobs, Tell
from ardock.engine.images.record import Layer, Record, chain_of_thing, chain_thing
from ardock.engine.images.sources import Sink, Source
from ardock.engine.snapshots import Directories, Driver
from ardock.model.errors import ArdockError, ContentDamaged
from ardock.model.image import Progress

# Layers that come in at once, in the whole engine: more only take the disk and the processors from each other.
_AT_ONCE: Final = 6
_KEY: Final = "layer-"
_LOG: Final = logging.getLogger("ardock.engine.images")


class Wanted(NamedTuple):
    """A layer of an image that is to be here.

    Attributes:
        diff_id: Digest of its uncompressed archive.
        chain: Its name when it is unpacked.
        below: The names of those that it lies on, the topmost first.
        descriptor: Of its archive; the digest is empty where it is not known before it was read.
    """

    diff_id: str
    chain: str
    below: tuple[str, ...]
    descriptor: Descriptor


class Layers:
    """The layers of one engine: archives in the content store, trees in the snapshot driver's.

    Attributes:
        driver: The snapshot driver.
    """

    def __init__(self, blobs: Blobs, driver: Driver, leases: Leases, nursery: trio.Nursery) -> None:
        """Layers come in in tasks of `nursery`."""
        self.driver = driver
        self._blobs = blobs
        self._leases = leases
        self._nursery = nursery
        self._jobs: Jobs[Layer] = Jobs(nursery)
        self._turns = trio.CapacityLimiter(_AT_ONCE)
        self._local_turns = trio.CapacityLimiter(_AT_ONCE)
        self._unpacked: set[str] = set()
        self._known: dict[str, Layer] = {}
        # Blobs that come in, and trees that are being removed, with what tells their end.
        self._coming: dict[str, trio.Event] = {}
        self._going: dict[str, trio.Event] = {}
        self._removals = 0
        # Set, and replaced, when there is a tree more or less.
        self._changed = trio.Event()

    def __repr__(self) -> str:
        """How many are unpacked."""
        return f"<Layers: {len(self._unpacked)} unpacked, {self._jobs!r}>"

    def open(self, unpacked: Iterable[str]) -> None:
        """Those that the driver has."""
        self._unpacked = set(unpacked)

    def learn(self, record: Record) -> None:
        """What an image's record tells of its layers."""
        self._known.update(zip(record.chains, record.layers, strict=True))

    def is_unpacked(self, chain: str) -> bool:
        """Its tree is there."""
        return chain in self._unpacked

    # Coming in

    async def ensure(self, wanted: Wanted, source: Source, lease: Lease, tell: Tell) -> Layer:
        """Have a layer's tree, and its archive where that is known by its digest; what was missing comes from `source`.

        Args:
            wanted: Which.
            source: Where it comes from.
            lease: Holds all of it from now on.
            tell: Told how far it is.

        Raises:
            ContentDamaged: What came is another content.
            InvalidArgument: It is no archive of a layer.
            Unsupported: There is something in it that is not taken.
            DiskFull: The disk is full.
            FolderUnusable: The disk fails otherwise.
            As `Source.pour`.
        """
        blob = wanted.descriptor.digest
        part = blob or wanted.diff_id
        # To hold and to look is one step.
        lease.hold(chain_thing(wanted.chain), *filter(None, [blob]))
        there = True
        while wanted.chain not in self._unpacked or (blob and blob not in self._blobs):
            there = False
            key = blob if wanted.chain in self._unpacked else wanted.chain
            await self._jobs.join(key, lambda job: self._make(wanted, source, job), lease, tell)
        layer = self._found(wanted, lease)
        if there:
            tell(Progress(part=part, status="exists", done=layer.size, total=layer.size))
        return layer

    def _found(self, wanted: Wanted, lease: Lease) -> Layer:
        """What is known of a layer that is there, with the archive that was asked for, or the one at hand."""
        layer = self._known.get(wanted.chain, Layer(diff_id=wanted.diff_id))
        descriptor = wanted.descriptor
        if descriptor.digest:
            return msgspec.structs.replace(
                layer,
                blob=descriptor.digest,
                size=self._blobs.size(descriptor.digest),
                media_type=descriptor.media_type,
            )
        if layer.blob and layer.blob in self._blobs:
            lease.hold(layer.blob)
            return layer
        return msgspec.structs.replace(layer, blob="", size=0, media_type="")

    async def _make(self, wanted: Wanted, source: Source, job: Job[Layer]) -> Layer:
        """What of it is missing."""
        blob = wanted.descriptor.digest
        part = blob or wanted.diff_id
        with self._leases.lease() as lease:
            lease.hold(chain_thing(wanted.chain), *filter(None, [blob]))
            job.tell(Progress(part=part, status="waiting", total=wanted.descriptor.size))
            layer = None
            known = self._known.get(wanted.chain) if wanted.chain in self._unpacked else None
            async with self._turn(blob, local=source.local):
                if not blob or blob not in self._blobs:
                    try:
                        layer = await self._receive(wanted, source, lease, job)
                    except ContentDamaged:
                        other = source.elsewhere()
                        if other is None:
                            raise
                        layer = await self._receive(wanted, other, lease, job)
            if wanted.chain not in self._unpacked:
                archive = layer.blob if layer is not None else blob
                layer = await self._unpack(wanted, archive, job)
            elif layer is not None and known is not None:
                # Nobody has looked into it so far, and it is to be given away as this layer's.
                await self._look_into(wanted, layer.blob)
                layer = msgspec.structs.replace(layer, content=known.content, files=known.files)
            if layer is None:
                layer = self._known.get(wanted.chain, Layer(diff_id=wanted.diff_id))
            self._known[wanted.chain] = layer
            if not blob and layer.blob:
                job.hold(layer.blob)
            job.tell(Progress(part=part, status="pulled", done=layer.size, total=layer.size))
            return layer

    async def _look_into(self, wanted: Wanted, blob: str) -> None:
        """Hold an archive, whose tree is here, against the diff id: unpack it, for nothing else.

        Raises:
            ContentDamaged: It is another layer's.
        """
        async with self.making(wanted.below) as (_, target):
            path = self._blobs.path(blob)
            self._check(wanted, await self.unpack_into(target, lambda sink: sink.feed_file(path)))

    @asynccontextmanager
    async def _turn(self, blob: str, *, local: bool) -> AsyncIterator[None]:
        """Alone with this blob, as one of few; what comes from the disk does not wait for what comes from far away."""
        while blob and blob in self._coming:
            await self._coming[blob].wait()
        over = trio.Event()
        if blob:
            self._coming[blob] = over
        try:
            async with self._local_turns if local else self._turns:
                yield
        finally:
            if blob:
                del self._coming[blob]
            over.set()

    async def _receive(self, wanted: Wanted, source: Source, lease: Lease, job: Job[Layer]) -> Layer:
        """Its archive, and its tree at the same time where that needs nothing of the layers below."""
        descriptor = wanted.descriptor
        at_once = self.driver.independent and wanted.chain not in self._unpacked
        made = self._blobs.aside()
        key = ""
        try:
            if at_once:
                key, target = await self._prepare(wanted)
            else:
                target = ""
            ingest = self._ingest(target, blob=str(made), expected=descriptor.digest)
            part = descriptor.digest or wanted.diff_id

            def on_bytes(count: int) -> None:
                job.tell(Progress(part=part, status="downloading", done=count, total=descriptor.size))

            summary = await self._fill(ingest, lambda sink: source.pour(descriptor, sink), on_bytes)
            self._check(wanted, summary)
            lease.hold(summary.digest)
            job.tell(Progress(part=part, status="unpacking", done=summary.size, total=summary.size))
            await in_thread(lambda: self._blobs.keep(made, summary.digest))
            layer = Layer(
                diff_id=wanted.diff_id,
                blob=summary.digest,
                size=summary.size,
                media_type=descriptor.media_type or OCI_LAYER,
                content=summary.content,
                files=summary.files,
            )
            if key:
                await self._commit(key, wanted.chain)
            return layer
        finally:
            try:
                await self._clear(key)
            finally:
                with trio.CancelScope(shield=True):
                    await in_thread(lambda: discard(made))

    async def _unpack(self, wanted: Wanted, blob: str, job: Job[Layer]) -> Layer:
        """Its tree, from its archive in the store."""
        size = self._blobs.size(blob)

        def on_bytes(count: int) -> None:
            job.tell(Progress(part=blob, status="unpacking", done=count, total=size))

        if wanted.below and not self.driver.independent:
            while wanted.below[0] not in self._unpacked:
                await self._changed.wait()
        key = ""
        try:
            key, target = await self._prepare(wanted)
            ingest = self._ingest(target, blob=None, expected=blob)
            summary = await self._fill(ingest, lambda sink: sink.feed_file(self._blobs.path(blob)), on_bytes)
            self._check(wanted, summary)
            await self._commit(key, wanted.chain)
        finally:
            await self._clear(key)
        return Layer(
            diff_id=wanted.diff_id,
            blob=blob,
            size=size,
            media_type=wanted.descriptor.media_type or OCI_LAYER,
            content=summary.content,
            files=summary.files,
        )

    def _ingest(self, target: str, *, blob: str | None, expected: str, strict: bool = False) -> _core.LayerIngest:
        return told(
            lambda: _core.LayerIngest(
                blob=blob,
                target=target or None,
                whiteouts=self.driver.whiteouts,
                algorithm=expected.partition(":")[0] or "sha256",
                expected=expected or None,
                strict=strict,
            )
        )

    async def _fill(
        self, ingest: _core.LayerIngest, pour: Callable[[Sink], Awaitable[None]], on_bytes: Callable[[int], None]
    ) -> _core.LayerSummary:
        try:
            await pour(Sink(ingest, on_bytes))
            flag = _core.CancelFlag()
            return await in_thread(lambda: told(lambda: ingest.finish(flag)), flag)
        except BaseException:
            with trio.CancelScope(shield=True):
                await in_thread(ingest.abort)
            raise

    def _check(self, wanted: Wanted, summary: _core.LayerSummary) -> None:
        descriptor = wanted.descriptor
        # Of what is unpacked once more, the size is not asked again.
        if descriptor.digest == summary.digest and descriptor.size and summary.size != descriptor.size:
            raise ContentDamaged(
                f"layer {descriptor.digest}: {summary.size} bytes came, and its manifest says {descriptor.size}"
            )
        if summary.diff_id and summary.diff_id != wanted.diff_id:
            raise ContentDamaged(
                f"layer {summary.digest}: its archive has the digest {summary.diff_id}, and the image's configuration says "
                f"{wanted.diff_id}"
            )

    # Going out

    async def ensure_archive(self, record: Record, number: int, lease: Lease, tell: Tell) -> Layer:
        """Have the archive of one of an image's layers, which is made of its tree where it has none.

        Raises:
            ContentDamaged: The tree is not what it was.
            DiskFull: There is no room.
            FolderUnusable: The disk fails otherwise.
        """
        layer, chain = record.layers[number], record.chains[number]
        lease.hold(*filter(None, [layer.blob]))
        if layer.blob and layer.blob in self._blobs:
            return layer
        below = record.chains[:number][::-1]
        made = None
        while made is None:
            made = await self._jobs.join(f"pack {chain}", lambda job: self._pack(layer, chain, below, job), lease, tell)
        return made

    async def _pack(self, layer: Layer, chain: str, below: tuple[str, ...], job: Job[Layer]) -> Layer:
        job.tell(Progress(part=layer.diff_id, status="packing", total=layer.content))
        made = self._blobs.aside()
        flag = _core.CancelFlag()

        def run() -> _core.LayerSummary:
            try:
                with self.driver.directories(chain, below) as found, made.open("xb") as file:
                    summary = told(
                        lambda: _core.pack(
                            found.dirs,
                            file.fileno(),
                            compression="gzip",
                            below=found.below,
                            layout=found.layout,
                            cancel=flag,
                        )
                    )
                    os.fsync(file.fileno())
                    return summary
            except OSError as error:
                raise unusable(error) from error

        try:
            summary = await in_thread(run, flag)
            if summary.diff_id != layer.diff_id:
                raise ContentDamaged(
                    f"layer {chain[:12]}: its files were changed on the disk: they have the digest {summary.diff_id}, and had "
                    f"{layer.diff_id}"
                )
            with self._leases.lease() as lease:
                lease.hold(summary.digest)
                await in_thread(lambda: self._blobs.keep(made, summary.digest))
                job.hold(summary.digest)
        finally:
            with trio.CancelScope(shield=True):
                await in_thread(lambda: discard(made))
        return msgspec.structs.replace(layer, blob=summary.digest, size=summary.size, media_type=f"{OCI_LAYER}+gzip")

    # Trees that are made here

    @asynccontextmanager
    async def making(self, below: tuple[str, ...]) -> AsyncIterator[tuple[str, str]]:
        """A snapshot on `below` (the topmost first) to write a tree into: its key and directory. Gone afterwards unless committed."""
        key = f"{_KEY}{secrets.token_hex(8)}"
        try:
            path = await in_thread(lambda: self.driver.prepare(key, below))
            yield key, str(path)
        finally:
            await self._clear(key)

    async def unpack_into(
        self, target: str, pour: Callable[[Sink], Awaitable[None]], *, strict: bool = False
    ) -> _core.LayerSummary:
        """Unpack an archive into the directory of a snapshot of `making`; nothing else of it is kept.

        With `strict` one without an end mark is refused as cut off: for those that no digest speaks for.
        """
        ingest = self._ingest(target, blob=None, expected="", strict=strict)
        return await self._fill(ingest, pour, lambda _: None)

    async def copy_changes(self, found: Directories, target: str, hidden: Sequence[str]) -> _core.LayerSummary:
        """Write what a container has written, but what is beneath the paths `hidden`, into the directory of a snapshot of `making`.

        Returns:
            The layer that this is.

        It goes through an archive, as it will when it is pushed: what an archive cannot hold is refused now.
        """
        flag = _core.CancelFlag()
        if not found.dirs:
            # It has never run: its layer is the archive of nothing.
            return await in_thread(lambda: told(lambda: _core.pack([target], None, cancel=flag)), flag)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        packed: list[_core.LayerSummary] = []

        async def pack() -> None:
            try:
                packed.append(
                    await in_thread(
                        lambda: told(
                            lambda: _core.pack(
                                found.dirs, writer, below=found.below, layout=found.layout, hidden=hidden, cancel=flag
                            )
                        ),
                        flag,
                        own=True,
                    )
                )
            finally:
                os.close(writer)

        async def pour(sink: Sink) -> None:
            await sink.feed_pipe(reader)

        async def unpack() -> None:
            try:
                await self.unpack_into(target, pour)
            finally:
                # Who packs gets EPIPE from now on.
                os.close(reader)

        await together([pack, unpack])
        return packed[0]

    async def keep(self, key: str, chain: str, layer: Layer) -> None:
        """Make a tree that was made here a layer; the caller holds `chain`."""
        await self._commit(key, chain)
        self._known.setdefault(chain, layer)

    async def exchange(self, key: str, chain: str) -> None:
        """Put a tree of `making` in the place of a layer that is damaged or missing."""
        with trio.CancelScope(shield=True):
            # If the next step fails it is gone, and comes again with the next pull or load.
            self._unpacked.discard(chain)
            await in_thread(lambda: self.driver.remove(chain))
            await self._commit(key, chain)

    async def _prepare(self, wanted: Wanted) -> tuple[str, str]:
        key = f"{_KEY}{secrets.token_hex(8)}"
        with trio.CancelScope(shield=True):
            path = await in_thread(lambda: self.driver.prepare(key, wanted.below))
        return key, str(path)

    async def _commit(self, key: str, chain: str) -> None:
        while chain in self._going:
            await self._going[chain].wait()
        # From here on whole: what was committed is known.
        with trio.CancelScope(shield=True):
            reach("layer.commit.before")
            await in_thread(lambda: self.driver.commit(key, chain))
            reach("layer.commit.after")
            self._unpacked.add(chain)
            self._changed.set()
            self._changed = trio.Event()

    async def _clear(self, key: str) -> None:
        if key:
            with trio.CancelScope(shield=True):
                await in_thread(lambda: self.driver.remove(key))

    # Going

    def drop(self, things: list[str]) -> None:
        """Remove what nobody holds; at once as far as anybody can tell, and from the disk in the background."""
        blobs = [thing for thing in things if chain_of_thing(thing) is None]
        chains = [chain for thing in things if (chain := chain_of_thing(thing)) is not None and chain in self._unpacked]
        gone = self._blobs.drop(blobs)
        for chain in chains:
            self._unpacked.discard(chain)
            self._known.pop(chain, None)
            self._going[chain] = trio.Event()
        if gone or chains:
            self._removals += 1
            self._nursery.start_soon(self._remove, gone, chains)

    async def _remove(self, blobs: list[Path], chains: list[str]) -> None:
        with trio.CancelScope(shield=True):
            for path in blobs:
                await in_thread(partial(_logged, partial(discard, path), str(path)))
            # The topmost first: some drivers' lie on each other.
            for chain in reversed(chains):
                await in_thread(partial(_logged, partial(self.driver.remove, chain), chain))
                self._going.pop(chain).set()
        self._removals -= 1
        self._changed.set()
        self._changed = trio.Event()

    async def until_removed(self) -> None:
        """Wait until the disk has what was removed back."""
        while self._removals:
            await self._changed.wait()


def _logged(call: Callable[[], None], what: str) -> None:
    """Nobody waits for this error, and the next engine tries again."""
    try:
        call()
    except ArdockError as error:
        _LOG.warning("cannot remove %s: %s", what, error)
