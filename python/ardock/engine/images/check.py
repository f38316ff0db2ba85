"""``ardock image fsck``: taking the digest of everything that is stored, and the index anew from what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from ardock import _core
from ardock.engine.content import Blobs
from ardock.engine.images.catalogue import Catalogue
from ardock.engine.images.core import in_thread, told
from ardock.engine.images.formats import MOST_BYTES, read_config
from ardock.engine.images.index import short
from ardock.engine.images.jobs import Tell
from ardock.engine.images.layers import Layers
from ardock.engine.images.mirror import Mirror
from ardock.engine.images.record import Layer, Record, chain_thing
from ardock.model.errors import ArdockError, NotFound
from ardock.model.image import Problem, Progress, StoreCheck


class Checker:
    """Checks the stores of one engine."""

    def __init__(
        self, catalogue: Catalogue, blobs: Blobs, layers: Layers, in_use: Callable[[str], Sequence[str]]
    ) -> None:
        """Of these; `in_use` tells the containers of an image."""
        self._in_use = in_use
        self._catalogue = catalogue
        self._blobs = blobs
        self._layers = layers

    async def check(self, tell: Tell) -> StoreCheck:
        """See `ardock.interface.Images.check`. Images may come and go meanwhile; what goes is not looked at."""
        problems: list[Problem] = []
        read = 0
        damaged: set[str] = set()
        digests = self._blobs.digests()
        for number, digest in enumerate(digests):
            flag = _core.CancelFlag()
            whole, count = await in_thread(partial(self._blobs.verify, digest, flag), flag)
            read += count
            tell(Progress(part="blobs", status="loading", done=number + 1, total=len(digests)))
            if not whole and digest in self._blobs:
                damaged.add(digest)
        layers, images = await self._trees(damaged, problems, tell)
        problems += await self._damaged(damaged)
        return StoreCheck(
            blobs=len(digests),
            layers=layers,
            bytes=read + images,
            images=len(self._catalogue.index),
            problems=tuple(problems),
        )

    async def _trees(self, damaged: set[str], problems: list[Problem], tell: Tell) -> tuple[int, int]:
        """Compare each tree with its digest; the number of them, and the bytes of their files."""
        seen: dict[str, tuple[Layer, tuple[str, ...]]] = {}
        for record in self._catalogue.index:
            for number, chain in enumerate(record.chains):
                seen.setdefault(chain, (record.layers[number], record.chains[:number][::-1]))
        content = 0
        for number, (chain, (layer, below)) in enumerate(seen.items()):
            tell(Progress(part="layers", status="loading", done=number + 1, total=len(seen)))
            thing = chain_thing(chain)
            if not self._catalogue.leases.held(thing):
                continue  # Its last image has gone meanwhile.
            with self._catalogue.leases.lease() as lease:
                lease.hold(thing, *map(chain_thing, below), *filter(None, [layer.blob]))
                content += layer.content
                problem = await self._tree(chain, layer, below, damaged)
                if problem is not None:
                    problems.append(problem)
        return len(seen), content

    async def _tree(self, chain: str, layer: Layer, below: tuple[str, ...], damaged: set[str]) -> Problem | None:
        """What is wrong with one; where its archive is whole, it is unpacked anew.

        An archive's digest says nothing of a tree, since there are many archives of one: what it unpacks to is packed, as the
        tree is. A layer that was made here has the digest of just that.
        """
        subject = f"layer {chain[:12]}"
        try:
            found = await self._digest(chain, below)
        except NotFound:
            found = None
        what = "its files are missing"
        if layer.blob and layer.blob in self._blobs and layer.blob not in damaged:
            async with self._layers.making(below) as (key, target):
                path = self._blobs.path(layer.blob)
                summary = await self._layers.unpack_into(target, lambda sink: sink.feed_file(path))
                if summary.diff_id != layer.diff_id:
                    return Problem(
                        subject=layer.blob,
                        what=f"the archive of another layer: of {summary.diff_id}, and not of {layer.diff_id}",
                        remedy="remove the images that have it, and pull or load them again",
                    )
                wanted = await self._digest(key, below)
                if found == wanted:
                    return None
                users = self._users(chain) if found is not None else []
                if users:
                    return Problem(
                        subject=subject,
                        what=f"its files were changed on the disk, and containers run on it ({', '.join(users)})",
                        remedy="remove these containers and check again: it is unpacked anew then",
                    )
                await self._layers.exchange(key, chain)
            if found is not None:
                what = f"its files were changed on the disk: packed, they have the digest {found}, and had {wanted}"
            return Problem(subject=subject, what=what, remedy="unpacked anew from its archive")
        if found is not None and (layer.blob or found == layer.diff_id):
            # With its archive lost, which is told of itself, there is nothing to compare it with.
            return None
        if found is not None:
            what = f"its files were changed on the disk: packed, they have the digest {found}, and had {layer.diff_id}"
        return Problem(
            subject=subject, what=what, remedy="make the image anew: this layer has no archive to unpack again"
        )

    def _users(self, chain: str) -> list[str]:
        """Containers of the images that have a layer."""
        return [user for record in self._catalogue.index if chain in record.chains for user in self._in_use(record.id)]

    async def _digest(self, name: str, below: tuple[str, ...]) -> str:
        flag = _core.CancelFlag()

        def run() -> str:
            with self._layers.driver.directories(name, below) as found:
                return told(
                    lambda: _core.pack(found.dirs, None, below=found.below, layout=found.layout, cancel=flag)
                ).diff_id

        return await in_thread(run, flag)

    async def _damaged(self, damaged: set[str]) -> list[Problem]:
        problems = []
        for digest in sorted(damaged):
            # It may have come anew since it was looked at. From here to its removal nobody else does anything.
            if (await in_thread(partial(self._blobs.verify, digest, _core.CancelFlag())))[
                0
            ] or digest not in self._blobs:
                continue
            self._layers.drop([digest])
            users = [record for record in self._catalogue.index if digest in record.things]
            names = ", ".join(record.names[0] if record.names else short(record.id) for record in users) or "no image"
            problems.append(
                Problem(
                    subject=digest,
                    what=f"damaged on the disk (of {names})",
                    remedy="removed" if not users else "removed: pull or load the image again",
                )
            )
        return problems


async def recovered(blobs: Blobs, mirror: Mirror, trees: set[str]) -> tuple[list[Record], list[Problem]]:
    """The images of a store whose index was lost: from the copies of the rows, as far as their parts are there."""
    found, damaged = await in_thread(mirror.read)
    problems = [
        Problem(subject=name[:12], what="the copy of its record is damaged", remedy="left out") for name in damaged
    ]
    records = []
    for record in found:
        missing = [chain for chain in record.chains if chain not in trees]
        try:
            data = await in_thread(partial(blobs.read, record.id, most=MOST_BYTES))
            read_config(data, record.id)
        except ArdockError as error:
            problems.append(Problem(subject=short(record.id), what=error.message, remedy="left out"))
            continue
        if missing:
            problems.append(
                Problem(subject=short(record.id), what=f"{len(missing)} of its layers are missing", remedy="left out")
            )
            continue
        records.append(record)
    # Two copies with one name: a crash between two of them. The later one has it.
    taken: dict[str, str] = {}
    for record in sorted(records, key=lambda each: each.tagged_at):
        taken.update(dict.fromkeys(record.names, record.id))
    kept = [
        msgspec.structs.replace(
            record,
            names=tuple([name for name in record.names if taken[name] == record.id]),
            manifest=record.manifest if record.manifest in blobs else "",
            layers=tuple(
                [
                    layer
                    if not layer.blob or layer.blob in blobs
                    else msgspec.structs.replace(layer, blob="", size=0, media_type="")
                    for layer in record.layers
                ]
            ),
        )
        for record in records
    ]
    return kept, problems
