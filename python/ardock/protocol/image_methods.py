"""The methods of images, and those that make something of a container's root; `ardock.interface` says what each does."""

from __future__ import annotations

from typing import Final

import msgspec

from ardock.model.container import Filters
from ardock.model.image import (
    Change,
    DiskUsage,
    HistoryEntry,
    ImageDetails,
    ImageInfo,
    Loaded,
    Progress,
    Pruned,
    Pushed,
    StoreCheck,
)
from ardock.model.registry import Credentials
from ardock.protocol.method import Method, NoParams, Nothing, Params


class ImageRef(Params, frozen=True, kw_only=True):
    """An image: a name, or (a prefix of) an id."""

    ref: str


class Pull(ImageRef, frozen=True, kw_only=True):
    """Parameters of `images.pull`. `platform` is ``os[/architecture[/variant]]``; empty is the engine's machine's."""

    platform: str = ""
    credentials: Credentials | None = None


class Push(ImageRef, frozen=True, kw_only=True):
    """Parameters of `images.push`."""

    credentials: Credentials | None = None


class Tag(ImageRef, frozen=True, kw_only=True):
    """Parameters of `images.tag`: the image, and its further name."""

    name: str


class Load(Params, frozen=True, kw_only=True):
    """Parameters of `images.load`: a path on the engine's machine, or none and the archive comes as bytes of channel 0."""

    path: str | None = None
    platform: str = ""


class Save(Params, frozen=True, kw_only=True):
    """Parameters of `images.save`: the images."""

    refs: list[str]
    platform: str = ""


class ImportImage(Params, frozen=True, kw_only=True):
    """Parameters of `images.import`: a path on the engine's machine, or none and the tar comes as bytes of channel 0."""

    name: str
    path: str | None = None
    changes: tuple[str, ...] = ()
    message: str = ""
    platform: str = ""


class RemoveImage(ImageRef, frozen=True, kw_only=True):
    """Parameters of `images.remove`."""

    force: bool = False


class PruneImages(Params, frozen=True, kw_only=True):
    """Parameters of `images.prune`; `all`: not those without a name alone."""

    all: bool = False
    filters: Filters = msgspec.field(default_factory=dict)


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `images.list`."""

    images: list[ImageInfo]


class LoadedImages(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `images.load`."""

    images: list[Loaded]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `images.history`: the steps, the last one first."""

    entries: list[HistoryEntry]


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `images.remove`: what was done, as Docker tells it (``Untagged: x``, ``Deleted: sha256:...``)."""

    done: list[str]


class ContainerRef(Params, frozen=True, kw_only=True):
    """A container: its id, a prefix of it that fits no other, or its name."""

    ref: str


class Commit(Params, frozen=True, kw_only=True):
    """Parameters of `containers.commit`; see `ardock.interface.Containers.commit`."""

    ref: str
    name: str = ""
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pause: bool = True


PULL: Final = Method(
    name="images.pull",
    params=Pull,
    result=ImageInfo,
    mutates=True,
    receives="records",
    items=(Progress,),
    doc="Fetch an image from its registry. Cancelled, nothing of it is kept; repeated, it fetches what is not there yet.",
)
PUSH: Final = Method(
    name="images.push",
    params=Push,
    result=Pushed,
    mutates=True,
    receives="records",
    items=(Progress,),
    doc="Send an image to its registry. Repeated, it sends what is not there yet.",
)
TAG: Final = Method(name="images.tag", params=Tag, result=Nothing, mutates=True, doc="Give an image another name.")
LOAD: Final = Method(
    name="images.load",
    params=Load,
    result=LoadedImages,
    mutates=True,
    sends="bytes",
    receives="records",
    items=(Progress,),
    doc="Take over the images of an archive (OCI layout or Docker's). Cancelled, nothing of it is kept.",
)
SAVE: Final = Method(
    name="images.save",
    params=Save,
    result=Nothing,
    receives="bytes",
    doc="Images as one tar, on channel 1, that is both an OCI layout and what `docker load` takes.",
)
IMPORT: Final = Method(
    name="images.import",
    params=ImportImage,
    result=ImageInfo,
    mutates=True,
    sends="bytes",
    doc="Make an image of a directory or a tar, plain or compressed with gzip or zstd. Cancelled, nothing of it is kept.",
)
IMAGES: Final = Method(name="images.list", params=NoParams, result=Images, doc="All images, newest first.")
IMAGE: Final = Method(name="images.inspect", params=ImageRef, result=ImageDetails, doc="All about one image.")
HISTORY: Final = Method(
    name="images.history", params=ImageRef, result=History, doc="How an image was made, the last step first."
)
REMOVE_IMAGE: Final = Method(
    name="images.remove",
    params=RemoveImage,
    result=Removed,
    mutates=True,
    doc="Take a name off an image, and remove the image with its last one.",
)
PRUNE: Final = Method(
    name="images.prune",
    params=PruneImages,
    result=Pruned,
    mutates=True,
    doc="Remove the images without a name, or all that no container uses. Cancelled, some are removed.",
)
CHECK: Final = Method(
    name="images.check",
    params=NoParams,
    result=StoreCheck,
    mutates=True,
    receives="records",
    items=(Progress,),
    doc="Take the digest of everything that is stored, and build the index anew from it.",
)

COMMIT: Final = Method(
    name="containers.commit",
    params=Commit,
    result=ImageInfo,
    mutates=True,
    doc="Make an image of what a container has written, on top of its own.",
)
DIFF: Final = Method(
    name="containers.diff",
    params=ContainerRef,
    result=Nothing,
    receives="records",
    items=(Change,),
    doc="How a container's root differs from what it stands on, in the order of the paths.",
)
EXPORT: Final = Method(
    name="containers.export",
    params=ContainerRef,
    result=Nothing,
    receives="bytes",
    doc="A container's root file system as a tar, on channel 1.",
)
DISK_USAGE: Final = Method(
    name="engine.disk_usage", params=NoParams, result=DiskUsage, doc="Where the disk's room went."
)
