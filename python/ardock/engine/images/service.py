"""`Images`: what can be done with images; implements `ardock.interface.Images`."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from ardock import _core
from ardock.engine.content import Blobs
from ardock.engine.images import changes as instructions
from ardock.engine.images import filters as image_filters
from ardock.engine.images import platforms
from ardock.engine.images.catalogue import Catalogue
from ardock.engine.images.check import Checker, recovered
from ardock.engine.images.core import in_thread
from ardock.engine.images.fetch import Document, Fetcher, Transfer
from ardock.engine.images.index import short
from ardock.engine.images.layers import Layers
from ardock.engine.images.load import Loader
from ardock.engine.images.make import Maker, Origin
from ardock.engine.images.mirror import Mirror
from ardock.engine.images.outflow import outflow
from ardock.engine.images.push import Giver, Packaged
from ardock.engine.images.record import decode
from ardock.engine.images.remote import RegistrySource
from ardock.engine.images.save import Blob, Saved, write_archive
from ardock.engine.images.telling import telling
from ardock.engine.registry import Registries
from ardock.engine.snapshots import Directories, Driver
from ardock.engine.state import State
from ardock.interface import OnProgress
from ardock.model.container import Filters
from ardock.model.errors import InvalidArgument, NotFound
from ardock.model.image import (
    HistoryEntry,
    ImageConfig,
    ImageDetails,
    ImageInfo,
    Loaded,
    Progress,
    Pruned,
    Pushed,
    StoreCheck,
    UsageLine,
)
from ardock.model.reference import Reference, parse_reference
from ardock.model.registry import Credentials

_CREATED: Final = "<missing>"
_LOG: Final = logging.getLogger("ardock.engine.images")


class Images:
    """The images of one engine."""

    def __init__(
        self,
        root: Path,
        state: State,
        driver: Driver,
        nursery: trio.Nursery,
        *,
        registries: Registries,
        in_use: Callable[[str], Sequence[str]],
        take: Callable[[bytes], tuple[str, bytes] | None] = lambda _: None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Not open yet.

        Args:
            root: The engine's root folder.
            state: Where images are written down.
            driver: Where layers are unpacked.
            nursery: For what comes in and goes.
            registries: Where images come from.
            in_use: Tells which containers (short ids) were made from an image (its id).
            take: Of the encoded result of a call, what its commit must have for the request it answers (`Requests.take`).
            now: Wall clock, ns since 1970.
        """
        self.driver: Driver = driver
        self._registries = registries
        self._in_use = in_use
        self._blobs = Blobs(root)
        self._mirror = Mirror(root)
        self._catalogue = Catalogue(state, self._blobs, self._mirror, in_use=in_use, take=take, now=now)
        self._layers = Layers(self._blobs, driver, self._catalogue.leases, nursery)
        self._fetcher = Fetcher(self._blobs, self._layers)
        self._maker = Maker(root, self._catalogue, self._blobs, self._layers)
        self._giver = Giver(self._catalogue, self._blobs, self._layers)
        self._loader = Loader(self._catalogue, self._blobs, self._fetcher)
        self._checker = Checker(self._catalogue, self._blobs, self._layers, in_use)
        self._directories: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._catalogue.index)

    def __repr__(self) -> str:
        """How many, and where."""
        return f"<Images: {len(self)} in {self._blobs.folder}>"

    async def open(self, rows: Iterable[tuple[str, bytes]], *, fresh: bool) -> None:
        """Learn what there is, and remove what a former engine left half made or half removed. Once, before anything else.

        Args:
            rows: What the state had of images.
            fresh: The state is new. A store that is not has lost its index then, which is made anew from the store.

        Raises:
            FolderUnusable: A row is damaged; a folder cannot be made, read or cleared.
            DiskFull: A folder cannot be made.
        """
        records = [decode(image_id, row) for image_id, row in rows]
        blobs = await in_thread(self._blobs.open)
        await in_thread(self._mirror.open)
        trees = await in_thread(self.driver.committed)
        self._layers.open(trees)
        lost = fresh and not records and bool(blobs)
        if lost:
            records, _ = await recovered(self._blobs, self._mirror, trees)
        unusable = [record for record in records if record.id not in blobs]
        for record in unusable:
            # Also those of development versions, whose images were trees without a configuration.
            _LOG.warning(
                "image %s (%s) has lost its configuration and is left out: pull, load or import it again",
                short(record.id),
                ", ".join(record.names) or "without a name",
            )
        self._catalogue.open(self._layers, [record for record in records if record.id in blobs])
        if lost and records:
            await self._catalogue.write_anew(records)
        held = self._catalogue.leases.held
        self._layers.drop([thing for thing in (*blobs, *(f"chain:{tree}" for tree in trees)) if not held(thing)])
        await in_thread(lambda: self._mirror.tidy(self._catalogue.index))
        await in_thread(self._clear)

    def _clear(self) -> None:
        """What was being unpacked when the last engine ended."""
        for key in sorted(self.driver.keys()):
            if key.startswith("layer-"):
                self.driver.remove(key)

    @asynccontextmanager
    async def _settling(self) -> AsyncIterator[None]:
        """Of what fails or is cancelled in the body nothing is left, and its room is back, when it is left."""
        try:
            yield
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._layers.until_removed()
            raise

    # What launching needs

    def id_of(self, ref: str) -> str:
        """An image's id, by name or by (a prefix of) its id.

        Raises:
            NotFound: There is none.
            Ambiguous: The prefix fits several.
        """
        return self._catalogue.index.find(ref)[0].id

    def config_of(self, ref: str) -> ImageConfig:
        """What its containers get. Errors as `id_of`; ContentDamaged: it is damaged on the disk."""
        return self._catalogue.config_of(self.id_of(ref)).config

    def chain_of(self, ref: str) -> tuple[str, ...]:
        """The names of its unpacked layers, the topmost first. Errors as `id_of`."""
        return self._catalogue.index.find(ref)[0].chains[::-1]

    def layers_of(self, ref: str) -> tuple[str, ...]:
        """Directories that show its root file system, merged, the topmost first. Errors as `id_of`."""
        record, _ = self._catalogue.index.find(ref)
        found = self._directories.get(record.id)
        if found is None:
            found = self.driver.mounts(record.chains[::-1]).directories
            if len(self._directories) > 1024:
                self._directories.clear()
            self._directories[record.id] = found
        return found

    # From and to registries

    async def pull(
        self,
        ref: str,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        progress: OnProgress | None = None,
    ) -> ImageInfo:
        """See `ardock.interface.Images.pull`."""
        reference = parse_reference(ref).tagged()
        platforms.parse(platform)
        what = reference.familiar
        with telling(progress) as tell:
            tell(Progress(part=what, status="resolving"))
            async with self._settling(), self._registries.open(reference, credentials) as repository:
                fetched = await repository.manifest(reference.target)
                source = RegistrySource(repository)
                root = Document(fetched.media_type, fetched.digest, fetched.data)
                with self._catalogue.leases.lease() as lease:
                    record = await self._fetcher.fetch(source, root, Transfer(what, platform, lease, tell))
                    kept = await self._catalogue.keep(
                        record,
                        # By a digest an image gets no name: its tag could have moved since.
                        names=() if reference.digest else (reference.familiar,),
                        digest=f"{reference.familiar_name}@{fetched.digest}",
                        action="pull",
                    )
            tell(Progress(part=what, status="pulled"))
        return kept.info

    async def push(
        self, ref: str, *, credentials: Credentials | None = None, progress: OnProgress | None = None
    ) -> Pushed:
        """See `ardock.interface.Images.push`."""
        reference = _named(ref)
        record, _ = self._catalogue.index.find(reference.familiar)
        with telling(progress) as tell, self._catalogue.leases.lease() as lease:
            lease.hold(*record.things)
            async with self._registries.open(reference, credentials, push=True) as repository:
                return await self._giver.push(record, repository, reference, lease, tell)

    # From and to archives

    async def load(
        self,
        source: str | Path | AsyncIterator[bytes],
        *,
        platform: str = "",
        progress: OnProgress | None = None,
    ) -> Sequence[Loaded]:
        """See `ardock.interface.Images.load`."""
        with telling(progress) as tell:
            async with self._settling():
                return await self._loader.load(Path(source) if isinstance(source, str) else source, platform, tell)

    @asynccontextmanager
    async def save(self, refs: Sequence[str], *, platform: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
        """See `ardock.interface.Images.save`."""
        if not refs:
            raise InvalidArgument("refs: name one image at least", field="refs")
        wanted = platforms.parse(platform)
        with self._catalogue.leases.lease() as lease:
            images: dict[str, tuple[Packaged, list[str]]] = {}
            for ref in self._catalogue.index.all_tags(refs):
                record, name = self._catalogue.index.find(ref)
                if platform and platforms.fitness(record.platform, wanted) is None:
                    raise NotFound(f"{ref} is here for {record.platform}, not for {wanted}", field="platform")
                if record.id not in images:
                    images[record.id] = (await self._giver.package(record, lease, lambda _: None), [])
                # By its name it is saved with that name, by its id without one, as Docker does it.
                if name in record.names and name not in images[record.id][1]:
                    images[record.id][1].append(name)
            saved, blobs = self._saved(images)

            def write(out: int, flag: _core.CancelFlag) -> None:
                write_archive(saved, blobs, out, flag)

            async with outflow(write) as chunks:
                yield chunks

    def _saved(self, images: dict[str, tuple[Packaged, list[str]]]) -> tuple[list[Saved], list[Blob]]:
        saved = []
        blobs: dict[str, Blob] = {}
        for image_id, (packaged, names) in images.items():
            layers = tuple([layer.digest for layer in packaged.layers])
            saved.append(Saved(packaged.manifest, image_id, layers, tuple(names)))
            for digest in (packaged.manifest.digest, image_id, *layers):
                blobs[digest] = Blob(digest, self._blobs.path(digest))
        return saved, list(blobs.values())

    async def import_tree(
        self, path: str | Path, name: str, *, changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> ImageInfo:
        """See `ardock.interface.Images.import_tree`.

        Of a directory, what is mounted within is left out, and so are the engine's own folder and sockets.
        """
        names, config = _naming(name), instructions.apply(ImageConfig(), changes)
        async with self._settling():
            made = await self._maker.from_path(Path(path), Origin(names, config, message, platforms.parse(platform)))
        return made.info

    async def import_tar(
        self,
        chunks: AsyncIterator[bytes],
        name: str,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
    ) -> ImageInfo:
        """See `ardock.interface.Images.import_tar`."""
        names, config = _naming(name), instructions.apply(ImageConfig(), changes)
        async with self._settling():
            made = await self._maker.from_chunks(chunks, Origin(names, config, message, platforms.parse(platform)))
        return made.info

    async def commit(
        self,
        image_ref: str,
        found: Callable[[], AbstractAsyncContextManager[Directories]],
        name: str,
        *,
        config: Callable[[ImageConfig], ImageConfig],
        changes: Sequence[str],
        author: str,
        message: str,
        command: str,
    ) -> ImageInfo:
        """An image of what a container has written on top of its own; see `ardock.interface.Containers.commit`.

        Args:
            image_ref: The container's image.
            found: What it has written, to be looked at as long as that is open.
            name: Of the new image; may be empty.
            config: What the container's own settings make of its image's configuration.
            changes: Instructions on top of that.
            author: Who.
            message: The user's words.
            command: What the container ran.
        """
        names = _naming(name)
        record, _ = self._catalogue.index.find(image_ref)
        image = self._catalogue.config_of(record.id)
        image = msgspec.structs.replace(image, config=instructions.apply(config(image.config), changes))
        # Held before anything is waited for: the image may be removed meanwhile.
        with self._catalogue.leases.lease() as lease:
            lease.hold(*record.things)
            async with self._settling(), found() as directories:
                made = await self._maker.commit(
                    record, image, directories, names, author=author, message=message, command=command
                )
        return made.info

    # Looking and removing

    async def tag(self, ref: str, name: str) -> None:
        """See `ardock.interface.Images.tag`."""
        await self._catalogue.tag(ref, _naming(name or " ")[0])

    async def list(self) -> Sequence[ImageInfo]:
        """All of them, newest first."""
        await trio.lowlevel.checkpoint()
        infos = [record.info for record in self._catalogue.index]
        return sorted(infos, key=lambda info: info.created_at or info.added_at, reverse=True)

    async def inspect(self, ref: str) -> ImageDetails:
        """See `ardock.interface.Images.inspect`."""
        await trio.lowlevel.checkpoint()
        record, _ = self._catalogue.index.find(ref)
        image = self._catalogue.config_of(record.id)
        return ImageDetails(
            info=record.info,
            config=image.config,
            diff_ids=image.diff_ids,
            layers=self.layers_of(record.id),
            manifest=record.manifest,
            author=image.author,
            comment=image.comment or (image.history[-1].comment if image.history else ""),
            docker_version=image.docker_version,
        )

    async def history(self, ref: str) -> Sequence[HistoryEntry]:
        """See `ardock.interface.Images.history`."""
        await trio.lowlevel.checkpoint()
        record, _ = self._catalogue.index.find(ref)
        image = self._catalogue.config_of(record.id)
        sizes = {layer.diff_id: layer.content for layer in record.layers}
        steps = [msgspec.structs.replace(step, size=sizes.get(step.layer, 0)) for step in image.history]
        told_of = {step.layer for step in steps}
        # Layers that the history does not tell of, as some tools make them.
        steps += [
            HistoryEntry(created_by=_CREATED, layer=layer.diff_id, size=layer.content)
            for layer in record.layers
            if layer.diff_id not in told_of
        ]
        return steps[::-1]

    async def remove(self, ref: str, *, force: bool = False) -> Sequence[str]:
        """See `ardock.interface.Images.remove`."""
        return await self._catalogue.remove(ref, force=force)

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:  # noqa: A002 - Docker's name
        """See `ardock.interface.Images.prune`."""
        wanted = image_filters.for_prune(filters or {})
        done, space = await self._catalogue.prune(wanted, every=all)
        return Pruned(done=tuple(done), space=space)

    async def check(self, *, progress: OnProgress | None = None) -> StoreCheck:
        """See `ardock.interface.Images.check`."""
        with telling(progress) as tell:
            return await self._checker.check(tell)

    async def usage(self) -> tuple[Sequence[UsageLine], int, int]:
        """Each image's room; bytes of all unpacked layers, and of all blobs."""
        await trio.lowlevel.checkpoint()
        records = list(self._catalogue.index)
        shares: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for record in records:
            for chain, layer in zip(record.chains, record.layers, strict=True):
                shares[chain] = shares.get(chain, 0) + 1
                sizes[chain] = layer.content
        lines = [
            UsageLine(
                id=record.id,
                size=record.info.size,
                shared=sum([sizes[chain] for chain in record.chains if shares[chain] > 1]),
                users=len(self._in_use(record.id)),
            )
            for record in records
        ]

        return lines, sum(sizes.values()), await in_thread(self._blobs.total)


def _naming(name: str) -> tuple[str, ...]:
    """The normalized name that an image gets; none where it is empty.

    Raises:
        InvalidArgument: It is no name, or has a digest, which cannot be given away.
    """
    if not name:
        return ()
    reference = parse_reference(name)
    if reference.digest:
        raise InvalidArgument(
            f"name: {name!r} names a content by its digest, which cannot be given away: leave @{reference.digest[:12]}... out",
            field="name",
        )
    return (reference.tagged().familiar,)


def _named(ref: str) -> Reference:
    reference = parse_reference(ref)
    if reference.digest:
        raise InvalidArgument(f"name: {ref!r} has a digest: what is pushed gets a tag; give NAME[:TAG]", field="name")
    return reference.tagged()
