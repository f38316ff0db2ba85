"""`Images`: what can be done with images."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from ardock.engine.images.record import decode, encode
from ardock.engine.images.reference import normalize
from ardock.engine.images.store import Store, Tree
from ardock.engine.state import Changes, NewEvent, State
from ardock.model.errors import Ambiguous, Conflict, InvalidArgument, NotFound
from ardock.model.image import ImageInfo
from ardock.protocol.methods import Removed

_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")
_ALGORITHM: Final = "sha256:"


class Images:
    """Named root file systems of one engine; implements `ardock.interface.Images`.

    An image's tree is on the disk before its record is written, and its record is gone before its tree is: whatever stops the
    engine in between leaves a folder that nothing names, which the next `tidy` removes.
    """

    def __init__(
        self,
        root: Path,
        state: State,
        rows: Iterable[tuple[str, bytes]],
        *,
        in_use: Callable[[str], Sequence[str]],
        take: Callable[[bytes], tuple[str, bytes] | None] = lambda _: None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Of the rows that the state had.

        Args:
            root: The engine's root folder.
            state: Where images are written down.
            rows: What it had of them.
            in_use: Tells which containers (short ids) were made from an image (its id).
            take: Of the encoded result of a call, what its commit must have for the request it answers (`Requests.take`).
            now: Wall clock, ns since 1970.

        Raises:
            FolderUnusable: A row is damaged.
        """
        self._store = Store(root)
        self._state = state
        self._in_use = in_use
        self._take = take
        self._now = now
        self._by_id: dict[str, ImageInfo] = {}
        self._by_name: dict[str, str] = {}
        # One change at a time: each reads what the one before it wrote.
        self._changing = trio.Lock()
        for image_id, row in rows:
            self._put(decode(image_id, row))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def __repr__(self) -> str:
        """How many, under how many names."""
        return f"<Images: {len(self._by_id)} under {len(self._by_name)} names in {self._store.folder}>"

    async def tidy(self) -> None:
        """Remove what a former engine left half made or half removed. To be called once, before anything else.

        Raises:
            FolderUnusable: The folder cannot be made, read or cleared.
        """
        await self._store.tidy(image_id.removeprefix(_ALGORITHM) for image_id in self._by_id)

    # What launching needs

    def id_of(self, ref: str) -> str:
        """An image's id, by name or by (a prefix of) its id.

        Raises:
            NotFound: There is none.
            Ambiguous: The prefix fits several.
        """
        return self._find(ref)[0].id

    def layers_of(self, ref: str) -> tuple[str, ...]:
        """Its directories, absolute, topmost first. Errors as `id_of`."""
        image, _ = self._find(ref)
        return (str(self._store.path(image.id.removeprefix(_ALGORITHM))),)

    # The interface

    async def import_tree(self, path: str | Path, name: str) -> ImageInfo:
        """Copy a directory of this machine, or unpack an uncompressed tar there, as the image `name`.

        Of a directory, what is mounted within is left out, and so are the engine's own folder and sockets. A name that another
        image has moves. Cancelled, nothing of it is kept.

        Raises:
            InvalidArgument: The name is malformed; it is neither a directory nor a whole, uncompressed tar; a name in it leads
                out of it.
            NotFound: There is nothing at `path`.
            NotPermitted: It may not be read.
            Unsupported: There is something in it that cannot be kept as it is; it is named.
            DiskFull: The disk is full; nothing of it is left.
            FolderUnusable: The disk fails otherwise.
        """
        source = Path(path)
        return await self._import(name, lambda target: self._store.copy(source, target))

    async def import_tar(self, chunks: AsyncIterator[bytes], name: str) -> ImageInfo:
        """Unpack an uncompressed tar that comes in pieces; errors as `import_tree`."""
        return await self._import(name, lambda target: self._store.unpack(chunks, target))

    async def list(self) -> Sequence[ImageInfo]:
        """All of them, newest first."""
        await trio.lowlevel.checkpoint()
        return sorted(self._by_id.values(), key=lambda image: image.created_at, reverse=True)

    async def inspect(self, ref: str) -> ImageInfo:
        """One, by name or by (a prefix of) its id; errors as `id_of`."""
        await trio.lowlevel.checkpoint()
        return self._find(ref)[0]

    async def remove(self, ref: str, *, force: bool = False) -> Sequence[str]:
        """Take a name off an image, and remove the image with its last one; what was done, as Docker tells it.

        Named by its id, an image loses all its names; more than one only with `force`. An image that containers were made from
        stays, with `force` without its name, until it is removed when they are gone.

        Returns:
            ``Untagged: name:tag`` and ``Deleted: sha256:...``, in order.

        Raises:
            Conflict: A container uses it, or it has several names, and `force` is not given.
            NotFound: There is none.
            Ambiguous: The prefix fits several.
        """
        async with self._changing:
            image, name = self._find(ref)
            gone = (name,) if name else image.names
            left = tuple(each for each in image.names if each not in gone)
            users = () if left else self._in_use(image.id)
            self._check_removal(image, name, users, force=force)
            deleted = not left and not users
            # In memory first: no container is made from it from now on.
            if deleted:
                self._drop(image)
            else:
                self._put(msgspec.structs.replace(image, names=left))
            events = [self._event("untag", image.id, each) for each in gone]
            if deleted:
                events.append(self._event("delete", image.id, gone[0] if gone else ""))
            done = [f"Untagged: {each}" for each in gone] + ([f"Deleted: {image.id}"] if deleted else [])
            # What can be written is; on a full disk it is as soon as there is room.
            with trio.CancelScope(shield=True):
                await self._state.commit_and_wait(
                    Changes(
                        events=tuple(events),
                        put_images=() if deleted else (encode(self._by_id[image.id]),),
                        drop_images=(image.id,) if deleted else (),
                        request=self._take(msgspec.msgpack.encode(Removed(done=done))),
                        fsync=True,
                    )
                )
                if deleted:
                    await self._store.remove(self._store.path(image.id.removeprefix(_ALGORITHM)))
        return done

    # The inside

    async def _import(self, name: str, make: Callable[[Path], Awaitable[Tree]]) -> ImageInfo:
        name = normalize(name)
        async with self._store.aside() as folder:
            tree = await make(folder)
            # What waits for its turn may still be cancelled; from then on it is done whole.
            async with self._changing:
                with trio.CancelScope(shield=True):
                    image = await self._keep(folder, tree, name)
        return image

    async def _keep(self, folder: Path, tree: Tree, name: str) -> ImageInfo:
        image_id = _ALGORITHM + tree.digest
        is_new = await self._store.keep(folder, tree.digest)
        image = self._by_id.get(image_id) or ImageInfo(
            id=image_id, created_at=self._now(), size=tree.size, files=tree.files
        )
        image = msgspec.structs.replace(image, names=tuple(sorted({*image.names, name})))
        changed = [image]
        events = [self._event("import", image_id, name)]
        former = self._by_id.get(self._by_name.get(name, ""))
        if former is not None and former.id != image_id:
            left = tuple(each for each in former.names if each != name)
            changed.append(msgspec.structs.replace(former, names=left))
            events.append(self._event("untag", former.id, name))
        try:
            await self._state.commit_and_wait(
                Changes(
                    events=tuple(events),
                    put_images=tuple(map(encode, changed)),
                    request=self._take(msgspec.msgpack.encode(image)),
                    fsync=True,
                    may_fail=True,
                )
            )
        except BaseException:
            if is_new and image_id not in self._by_id:
                await self._store.remove(self._store.path(tree.digest))
            raise
        for each in reversed(changed):
            self._put(each)
        return image

    def _check_removal(self, image: ImageInfo, name: str, users: Sequence[str], *, force: bool) -> None:
        if force:
            if users and not image.names:
                raise Conflict(
                    f"image {_short(image.id)} has no name to take off, and cannot be removed: container {users[0]} uses it"
                )
            return
        if not name and len(image.names) > 1:
            raise Conflict(
                f"image {_short(image.id)} has several names ({', '.join(image.names)}): give a name, or force it"
            )
        if users:
            raise Conflict(
                f"image {name or _short(image.id)} cannot be removed: container {users[0]} uses it "
                "(remove the container first, or force it to lose its name only)"
            )

    def _find(self, ref: str) -> tuple[ImageInfo, str]:
        """An image, and the name by which it was found (empty: by its id). A name goes before the prefix of an id."""
        try:
            name = normalize(ref)
        except InvalidArgument:
            name = ""
        if name in self._by_name:
            return self._by_id[self._by_name[name]], name
        found = _ID.fullmatch(ref)
        if found is not None:
            prefix = _ALGORITHM + found[1]
            if prefix in self._by_id:
                return self._by_id[prefix], ""
            fitting = [image for image_id, image in self._by_id.items() if image_id.startswith(prefix)]
            if len(fitting) > 1:
                raise Ambiguous(
                    f"image: {len(fitting)} images have an id that begins with {found[1]!r}: give more digits"
                )
            if fitting:
                return fitting[0], ""
        raise NotFound(f"image: there is no image {ref!r}", field="image")

    def _put(self, image: ImageInfo) -> None:
        former = self._by_id.get(image.id)
        for name in () if former is None else former.names:
            if self._by_name.get(name) == image.id:
                del self._by_name[name]
        self._by_id[image.id] = image
        for name in image.names:
            self._by_name[name] = image.id

    def _drop(self, image: ImageInfo) -> None:
        self._put(msgspec.structs.replace(image, names=()))
        del self._by_id[image.id]

    def _event(self, action: str, image_id: str, name: str) -> NewEvent:
        return NewEvent(
            time=self._now(),
            type="image",
            action=action,
            id=image_id,
            name=name,
            attributes={"name": name} if name else {},
        )


def _short(image_id: str) -> str:
    return image_id.removeprefix(_ALGORITHM)[:12]
