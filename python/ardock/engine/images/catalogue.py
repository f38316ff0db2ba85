"""The images that there are, and changing that: one change at a time, in memory, in the journal, on the disk."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import trio

from ardock.engine.content import Blobs, Leases
from ardock.engine.failpoints import reach
from ardock.engine.images.formats import MOST_BYTES, Image, read_config
from ardock.engine.images.index import Index, short, with_name, without_name
from ardock.engine.images.layers import Layers
from ardock.engine.images.mirror import Mirror
from ardock.engine.images.record import Record, encode
from ardock.engine.state import Changes, NewEvent, State
from ardock.model.errors import ArdockError, Conflict
from ardock.protocol.image_methods import Removed

# Configurations that are kept read: an engine runs few images at a time, and each launch needs its image's.
_MOST_CONFIGS: Final = 256


class New(NamedTuple):
    """An image that is to be written down.

    Attributes:
        record: What it is.
        names: ``name:tag`` each, that it gets.
        digest: ``name@sha256:...`` that it has from now on; empty: none.
    """

    record: Record
    names: tuple[str, ...] = ()
    digest: str = ""


class Catalogue:
    """The images of one engine.

    An image's blobs and trees are on the disk before its row is written, and its row is gone before they are: whatever stops
    the engine in between leaves what no row names, and the next one removes that.

    Attributes:
        index: All of them.
        leases: What they and whoever makes one hold.
    """

    def __init__(
        self,
        state: State,
        blobs: Blobs,
        mirror: Mirror,
        *,
        in_use: Callable[[str], Sequence[str]],
        take: Callable[[bytes], tuple[str, bytes] | None],
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """See `Images`."""
        self.index: Index = Index()
        self.leases: Leases = Leases(self._drop)
        self._state = state
        self._blobs = blobs
        self._mirror = mirror
        self._in_use = in_use
        self._take = take
        self._now = now
        self._layers: Layers | None = None
        self._configs: OrderedDict[str, Image] = OrderedDict()
        self._changing = trio.Lock()

    @property
    def now(self) -> int:
        """Wall clock, ns since 1970."""
        return self._now()

    def open(self, layers: Layers, records: Iterable[Record]) -> None:
        """The images that were written down."""
        self._layers = layers
        for record in records:
            self._put(record)

    async def write_anew(self, records: Sequence[Record]) -> None:
        """Write down what was found on the disk, where the state was lost.

        Raises:
            DiskFull: There is no room.
        """
        events = [self._event("recover", record.id, record.names[0] if record.names else "") for record in records]
        await self._state.commit_and_wait(
            Changes(events=tuple(events), put_images=tuple(map(encode, records)), fsync=True, may_fail=True)
        )

    def config_of(self, image_id: str) -> Image:
        """An image's configuration, from memory; the first time from the disk: some kilobytes, most often in the page cache.

        Raises:
            NotFound: It is missing.
            ContentDamaged: It is damaged.
        """
        image = self._configs.get(image_id)
        if image is None:
            image = read_config(self._blobs.read(image_id, most=MOST_BYTES), f"image {short(image_id)}")
            self._configs[image_id] = image
            if len(self._configs) > _MOST_CONFIGS:
                self._configs.popitem(last=False)
        else:
            self._configs.move_to_end(image_id)
        return image

    # Changes

    async def keep(self, record: Record, *, names: Sequence[str] = (), digest: str = "", action: str) -> Record:
        """As `keep_all`, of one image, whose `ImageInfo` is the call's result."""

        def result(kept: Sequence[Record]) -> bytes:
            return msgspec.msgpack.encode(kept[0].info)

        return (await self.keep_all([New(record, tuple(names), digest)], action=action, result=result))[0]

    async def keep_all(
        self, new: Sequence[New], *, action: str, result: Callable[[Sequence[Record]], bytes]
    ) -> list[Record]:
        """Write images down whose parts are all there and held by the caller: all of them or none.

        Args:
            new: They, with their names, which move from whoever has them.
            action: What is told of them: ``pull``, ``load``, ``import``, ``commit``.
            result: The encoded result of the call, for a caller who repeats it.

        Returns:
            Their records as they are now.

        Raises:
            DiskFull: They cannot be written down; the names are where they were.
        """
        async with self._changing:
            with trio.CancelScope(shield=True):
                changed: dict[str, Record] = {}
                events: list[NewEvent] = []
                for record, names, digest in new:
                    known = changed.get(record.id) or self.index.by_id.get(record.id)
                    merged = self._merged(record, known, names, digest)
                    told = names or ((digest,) if digest else ("",))
                    events += [self._event(action, merged.id, name) for name in told]
                    for name in names:
                        events += self._take_away(name, merged.id, changed)
                    changed[merged.id] = merged
                kept = [changed[record.id] for record, _, _ in new]
                await self._write(list(changed.values()), events, self._take(result(kept)))
        return kept

    async def tag(self, ref: str, name: str) -> None:
        """Give an image one more name, which moves.

        Raises:
            NotFound: There is no image `ref`.
            Ambiguous: The prefix fits several.
            DiskFull: It cannot be written down.
        """
        async with self._changing:
            record, _ = self.index.find(ref)
            with trio.CancelScope(shield=True):
                changed: dict[str, Record] = {}
                events = [self._event("tag", record.id, name), *self._take_away(name, record.id, changed)]
                changed[record.id] = with_name(record, name, self._now())
                await self._write(list(changed.values()), events, self._take(msgspec.msgpack.encode({})))

    async def change(
        self, image_id: str, change: Callable[[Record], Record], *, action: str = "", name: str = ""
    ) -> None:
        """Add to what is known of an image, such as where it was pushed to; told as `action`. One that is gone by now is left.

        Raises:
            DiskFull: It cannot be written down.
        """
        async with self._changing:
            record = self.index.by_id.get(image_id)
            if record is not None:
                with trio.CancelScope(shield=True):
                    await self._write([change(record)], [self._event(action, image_id, name)] if action else [], None)

    async def remove(self, ref: str, *, force: bool = False) -> Sequence[str]:
        """See `ardock.interface.Images.remove`."""
        async with self._changing:
            record, name = self.index.find(ref)
            by_digest = name in record.digests
            if by_digest:
                # One that came by its digest has that name alone; with others it loses the digest only.
                gone: tuple[str, ...] = (name,)
            else:
                gone = (name,) if name else (*record.names, *record.digests)
            left = tuple([each for each in record.names if each not in gone])
            if name and not by_digest:
                gone = (*gone, *_digests_of_repository(record, name, left))
            digests = tuple([each for each in record.digests if each not in gone])
            if not left and not by_digest:
                gone = (*gone, *(each for each in record.digests if each not in gone))
                digests = ()
            ends = not left and not digests
            users = self._in_use(record.id) if ends else ()
            self._check_removal(record, name, users, force=force)
            deleted = ends and not users
            done = [f"Untagged: {each}" for each in gone]
            done += self._deleted(record) if deleted else []
            request = self._take(msgspec.msgpack.encode(Removed(done=done)))
            with trio.CancelScope(shield=True):
                kept = msgspec.structs.replace(record, names=left, digests=digests)
                await self._remove([record] if deleted else [], [] if deleted else [kept], [(record, gone)], request)
        await self._until_removed()
        return done

    async def prune(self, wanted: Callable[[Record], bool], *, every: bool) -> tuple[list[str], int]:
        """Remove images that nobody uses; what was done, and the bytes that were freed.

        Args:
            wanted: Whether one fits the filters.
            every: Not only those without a name.
        """
        async with self._changing:
            going = [
                record
                for record in self.index
                if (every or not record.names) and wanted(record) and not self._in_use(record.id)
            ]
            done: list[str] = []
            for record in going:
                done += [f"Untagged: {each}" for each in (*record.names, *record.digests)]
                done += self._deleted(record)
            space = self._freed(going)
            with trio.CancelScope(shield=True):
                told = [(record, (*record.names, *record.digests)) for record in going]
                await self._remove(going, [], told, None)
        await self._until_removed()
        return done, space

    async def _until_removed(self) -> None:
        """The disk has their room back. Not with the lock: others' changes need not wait for that."""
        if self._layers is not None:
            await self._layers.until_removed()

    # The inside

    def _merged(self, record: Record, known: Record | None, names: Sequence[str], digest: str) -> Record:
        """A new record, with what is known of the image already."""
        now = self._now()
        if known is None:
            record = msgspec.structs.replace(record, added_at=now)
        else:
            layers = [new if new.blob else old for old, new in zip(known.layers, record.layers, strict=True)]
            record = msgspec.structs.replace(
                record,
                names=known.names,
                digests=known.digests,
                added_at=known.added_at,
                tagged_at=known.tagged_at,
                layers=tuple(layers),
                manifest=record.manifest or known.manifest,
                config_type=record.config_type or known.config_type,
            )
        for name in names:
            record = with_name(record, name, now)
        if digest and digest not in record.digests:
            record = msgspec.structs.replace(record, digests=tuple(sorted({*record.digests, digest})))
        return record

    def _take_away(self, name: str, image_id: str, changed: dict[str, Record]) -> list[NewEvent]:
        """Take a name from the image that has it, if that is another one; what is told of it."""
        holder = next((record for record in changed.values() if name in record.names), None) or self.index.named(name)
        if holder is None or holder.id == image_id:
            return []
        changed[holder.id] = without_name(changed.get(holder.id, holder), name)
        return [self._event("untag", holder.id, name)]

    async def _write(
        self, records: Sequence[Record], events: Sequence[NewEvent], request: tuple[str, bytes] | None
    ) -> None:
        """Rows first, then memory: what could not be written did not happen."""
        reach("image.keep.before")
        try:
            await self._mirror.put(records)
            await self._state.commit_and_wait(
                Changes(
                    events=tuple(events),
                    put_images=tuple(map(encode, records)),
                    request=request,
                    fsync=True,
                    may_fail=True,
                )
            )
        except BaseException:
            await self._mirror.restore(records, self.index)
            raise
        for record in records:
            self._put(record)
        reach("image.keep.after")

    async def _remove(
        self,
        going: Sequence[Record],
        staying: Sequence[Record],
        told: Sequence[tuple[Record, Sequence[str]]],
        request: tuple[str, bytes] | None,
    ) -> None:
        """Memory first: no container is made of them from now on. What can be written is; on a full disk as soon as there is room."""
        with contextlib.ExitStack() as held:
            # Their rows are gone before their parts are.
            for record in going:
                lease = held.enter_context(self.leases.lease())
                lease.hold(*record.things)
                self.index.drop(record.id)
                self._configs.pop(record.id, None)
                self.leases.release(record.things)
            for record in staying:
                self._put(record)
            events = [self._event("untag", record.id, name) for record, names in told for name in names]
            events += [self._event("delete", record.id, record.names[0] if record.names else "") for record in going]
            await self._state.commit_and_wait(
                Changes(
                    events=tuple(events),
                    put_images=tuple(map(encode, staying)),
                    drop_images=tuple([record.id for record in going]),
                    request=request,
                    fsync=True,
                )
            )
            await self._mirror.drop(going)
            # It is done; on a full disk the copy is written by the next opening.
            with contextlib.suppress(ArdockError):
                await self._mirror.put(staying)
            reach("image.remove.rows")

    def _put(self, record: Record) -> None:
        former = self.index.by_id.get(record.id)
        self.leases.hold(record.things)
        self.index.put(record)
        if self._layers is not None:
            self._layers.learn(record)
        if former is not None:
            self.leases.release(former.things)

    def _drop(self, things: list[str]) -> None:
        if self._layers is not None:
            self._layers.drop(things)

    def _deleted(self, record: Record) -> list[str]:
        """As Docker tells it: the image, and its layers from the top, as far as no other image has them."""
        others = {chain for other in self.index if other.id != record.id for chain in other.chains}
        lines = [f"Deleted: {record.id}"]
        lines += [f"Deleted: sha256:{chain}" for chain in reversed(record.chains) if chain not in others]
        return lines

    def _freed(self, going: Sequence[Record]) -> int:
        gone = {record.id for record in going}
        kept = {thing for record in self.index if record.id not in gone for thing in record.things}
        sizes: dict[str, int] = {}
        for record in going:
            for chain, layer in zip(record.chains, record.layers, strict=True):
                sizes[f"chain:{chain}"] = layer.content
                if layer.blob:
                    sizes[layer.blob] = layer.size
        return sum(size for thing, size in sizes.items() if thing not in kept)

    def _check_removal(self, record: Record, name: str, users: Sequence[str], *, force: bool) -> None:
        if force:
            if users and not record.names and not record.digests:
                raise Conflict(
                    f"image {short(record.id)} has no name to take off, and cannot be removed: container {users[0]} uses it"
                )
            return
        if not name and len(record.names) > 1:
            raise Conflict(
                f"image {short(record.id)} has several names ({', '.join(record.names)}): give a name, or force it"
            )
        if users:
            raise Conflict(
                f"image {name or short(record.id)} cannot be removed: container {users[0]} uses it "
                "(remove the container first, or force it to lose its name only)"
            )

    def _event(self, action: str, image_id: str, name: str) -> NewEvent:
        return NewEvent(
            time=self._now(),
            type="image",
            action=action,
            id=image_id,
            name=name,
            attributes={"name": name} if name else {},
        )


def _digests_of_repository(record: Record, name: str, left: Sequence[str]) -> tuple[str, ...]:
    """The digests by which an image is known in a repository: they go with its last tag there."""
    repository = name.rpartition(":")[0]
    if any(each.rpartition(":")[0] == repository for each in left):
        return ()
    return tuple([each for each in record.digests if each.partition("@")[0] == repository])
