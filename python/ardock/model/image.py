"""Images: what a user sees of them. The formats behind them (OCI, Docker schema 2) are `ardock.engine.images.formats`'s."""

from __future__ import annotations

from typing import Literal

import msgspec

from ardock.model.health import HealthCheck as HealthCheck  # noqa: PLC0414 - part of an image's configuration


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an image's programs run on, in Go's names (OCI image index, ``platform``).

    Attributes:
        os: Such as ``linux``.
        architecture: Such as ``amd64``, ``arm64``.
        variant: Of the architecture, such as ``v8``; empty where there is none.
    """

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        """``os/architecture[/variant]``, as ``--platform`` takes it."""
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a container of the image gets unless it is told otherwise (OCI image configuration, ``config``).

    Attributes:
        user: ``"name|uid[:group|gid]"``.
        exposed_ports: ``"80/tcp"`` each; told, no more.
        env: ``"NAME=value"`` each.
        entrypoint: Program and first arguments, before `cmd` or what the user gives.
        cmd: Default arguments, or the program where there is no entrypoint.
        volumes: Paths that get an anonymous volume.
        working_dir: Made where missing.
        labels: Key-value pairs.
        stop_signal: Empty is SIGTERM.
        healthcheck: None where there is none.
        shell: What the shell form of build instructions used.
        on_build: Build instructions for images that build on this one.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    healthcheck: HealthCheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of an image's making.

    Attributes:
        created_at: ns since 1970; 0 where not told.
        created_by: The command.
        author: Who.
        comment: The user's words.
        empty_layer: It made no layer.
        size: Bytes of the regular files of its layer.
        layer: Its layer's diff id; empty where it made none.
    """

    created_at: int = 0
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    size: int = 0
    layer: str = ""


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image in the engine's store, under its names.

    Attributes:
        id: Digest of its configuration: ``sha256:`` and 64 hexadecimal digits, as Docker's image ids.
        names: ``name:tag`` each, in the form that Docker shows; empty where all were moved to other images.
        digests: ``name@sha256:...`` each: by which name it came from (or went to) a registry with which manifest.
        created_at: Of its making, as its configuration says it, ns since 1970; 0 where it does not.
        added_at: Wall clock of its first coming here, ns since 1970.
        size: Bytes of the regular files of its layers, which it may share with other images.
        files: Number of the entries of its layers.
        platform: What it runs on.
        labels: Of its configuration.
    """

    id: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    created_at: int = 0
    added_at: int = 0
    size: int = 0
    files: int = 0
    platform: Platform = Platform(os="linux", architecture="amd64")
    labels: dict[str, str] = {}


class ImageDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All about an image.

    Attributes:
        info: As in a list.
        config: What its containers get.
        diff_ids: Digest of each layer's uncompressed archive, the lowest first.
        layers: Directories that its containers stand on, the topmost first.
        manifest: Digest of the manifest that it came with; empty where it was made here.
        author: Who made it.
        comment: Of its last step.
        docker_version: What made it, where that says so.
    """

    info: ImageInfo
    config: ImageConfig
    diff_ids: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    manifest: str = ""
    author: str = ""
    comment: str = ""
    docker_version: str = ""


TransferStatus = Literal[
    "resolving",
    "waiting",
    "downloading",
    "unpacking",
    "exists",
    "pulled",
    "packing",
    "uploading",
    "mounted",
    "pushed",
    "loading",
]


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a pull, push or load is with one of its parts; of each part the newest counts.

    Attributes:
        part: What it is about: a layer's digest, or the reference as a whole.
        status: What is being done with it. ``exists``: it is there already; ``waiting``: for its turn; ``mounted``: the
            registry had it in another repository.
        done: Bytes done of it.
        total: Bytes in all; 0 where not known.
    """

    part: str
    status: TransferStatus
    done: int = 0
    total: int = 0


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What was pushed.

    Attributes:
        reference: Under which name.
        digest: Of the manifest there.
        size: Bytes of the manifest.
    """

    reference: str
    digest: str
    size: int


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """One image of an archive that was loaded.

    Attributes:
        id: Its id.
        names: The names that the archive gave it.
    """

    id: str
    names: tuple[str, ...] = ()


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed.

    Attributes:
        done: As `Images.remove` tells it, or the names of volumes.
        space: Bytes that were freed.
    """

    done: tuple[str, ...] = ()
    space: int = 0


class Change(msgspec.Struct, frozen=True):
    """How a container's root differs from its image's at one path.

    Attributes:
        kind: ``A`` added, ``C`` changed, ``D`` deleted.
        path: Absolute.
    """

    kind: Literal["A", "C", "D"]
    path: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that `Images.check` found.

    Attributes:
        subject: A digest, a layer, or an image's id or name.
        what: What is wrong with it, as a sentence.
        remedy: What was done about it, or what is to be done.
    """

    subject: str
    what: str
    remedy: str


class StoreCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What `Images.check` has looked at.

    Attributes:
        blobs: Number of blobs whose digest was taken.
        layers: Number of unpacked layers whose tree was compared with its digest.
        bytes: Read in all.
        images: Number of images of the index afterwards.
        problems: What was wrong.
    """

    blobs: int = 0
    layers: int = 0
    bytes: int = 0
    images: int = 0
    problems: tuple[Problem, ...] = ()


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One object of `DiskUsage`.

    Attributes:
        id: Image id, container id or volume's name.
        size: Bytes: of an image all of it, of a container what it wrote, of a volume its content.
        shared: Of an image's: bytes of layers that other images have too.
        users: Containers that use it; of a container, 1 while it runs.
    """

    id: str
    size: int = 0
    shared: int = 0
    users: int = 0


class DiskUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the disk's room went.

    Attributes:
        layers_size: Bytes of all unpacked layers, each counted once.
        blobs_size: Bytes of the content store.
        images: Each image.
        containers: Each container.
        volumes: Each volume.
    """

    layers_size: int = 0
    blobs_size: int = 0
    images: tuple[UsageLine, ...] = ()
    containers: tuple[UsageLine, ...] = ()
    volumes: tuple[UsageLine, ...] = ()
