"""The documents that images are described by: reading and writing them, without I/O.

Sources: OCI image specification 1.1 (image-index.md, manifest.md, config.md, descriptor.md), and the formats before it:
Docker Image Manifest Version 2, Schema 2 and moby's image/spec/v1.2. Fields that are not known are passed over: the document
itself is kept as it came.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec

from ardock.model.errors import InvalidArgument, Unsupported
from ardock.model.image import HealthCheck, HistoryEntry, ImageConfig, Platform
from ardock.model.reference import parse_digest

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_SCHEMA_1: Final = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
INDEXES: Final = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS: Final = (OCI_MANIFEST, DOCKER_MANIFEST)

MOST_BYTES: Final = 8 << 20
"""Of an index, manifest or configuration: registries take 4 MiB, configurations with much history are longer."""

MOST_LAYERS: Final = 500
"""What an overlay can be made of (OVL_MAX_STACK)."""

_T = TypeVar("_T")
# What can be written down: ns of a signed number, until the year 2262.
_LATEST: Final = (1 << 63) - 1
_Number = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=_LATEST)]
_FOREIGN: Final = re.compile(r"\.(?:foreign|nondistributable)\.|\.nondistributable\b")


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What another document names: a content by its digest.

    Attributes:
        media_type: What it is.
        digest: Its digest.
        size: Its bytes.
        annotations: Of the one who names it.
        platform: Of an image in an index.
    """

    media_type: str
    digest: str
    size: _Number
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Several images under one name."""

    schema_version: int = 0
    media_type: str = ""
    manifests: list[Descriptor] | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One image: its configuration and its layers, the lowest first."""

    schema_version: int = 0
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor] | None = None


class _Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    test: list[str] | None = None
    interval: _Number = 0
    timeout: _Number = 0
    start_period: _Number = 0
    start_interval: _Number = 0
    retries: _Number = 0


class _Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    user: str | None = None
    exposed_ports: dict[str, object] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | str | None = None
    cmd: list[str] | str | None = None
    volumes: dict[str, object] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: _Health | None = None
    shell: list[str] | None = None
    on_build: list[str] | None = None


class _Rootfs(msgspec.Struct, frozen=True, kw_only=True):
    # Without omit_defaults: it is a required field.
    type: str = "layers"
    diff_ids: list[str] | None = None


class _Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class _Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    created: str | None = None
    author: str = ""
    architecture: str = ""
    os: str = ""
    variant: str = ""
    comment: str = ""
    docker_version: str = ""
    config: _Config | None = None
    rootfs: _Rootfs | None = None
    history: list[_Step] | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration document, read.

    Attributes:
        config: What containers get.
        platform: What it runs on.
        diff_ids: Of its layers, the lowest first.
        history: Its steps, the first first; the sizes are not known here.
        created_at: ns since 1970; 0 where not told.
        author: Who.
        comment: In Docker's own documents.
        docker_version: Idem.
    """

    config: ImageConfig
    platform: Platform
    diff_ids: tuple[str, ...]
    history: tuple[HistoryEntry, ...] = ()
    created_at: int = 0
    author: str = ""
    comment: str = ""
    docker_version: str = ""


def chain_ids(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Of each layer the digest (without its algorithm) that names it with all below it, the lowest first (config.md, "Layer ChainID")."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(
            hashlib.sha256(f"sha256:{chains[-1]} {diff_id}".encode()).hexdigest()
            if chains
            else diff_id.partition(":")[2]
        )
    return tuple(chains)


def read_any(data: bytes, media_type: str, what: str) -> Index | Manifest:
    """An index or a manifest, by its media type; where none was told, by what it says of itself and has in it.

    Raises:
        InvalidArgument: It is neither.
        Unsupported: It is of schema 1, or no image.
    """
    try:
        about = msgspec.json.decode(data, type=_About)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is no image manifest: {error}") from None
    if media_type in DOCKER_SCHEMA_1 or about.schema_version == 1:
        raise Unsupported(
            f"{what} is a manifest of Docker's schema 1, which is obsolete and not taken: have it pushed again by a present tool, "
            "or copy it with skopeo copy --format oci"
        )
    for told in (about.media_type, media_type):
        if told in INDEXES:
            return read_index(data, what)
        if told in MANIFESTS:
            return read_manifest(data, what)
    if about.manifests is not None:
        return read_index(data, what)
    if about.config is not None and about.layers is not None:
        return read_manifest(data, what)
    raise InvalidArgument(
        f"{what} is neither an image manifest nor an index: its media type is {about.media_type or media_type!r}"
    )


class _About(msgspec.Struct, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: object = None
    config: object = None
    layers: object = None


def read_index(data: bytes, what: str) -> Index:
    """An index.

    Raises:
        InvalidArgument: It is none.
    """
    index = _decode(data, Index, what, "index")
    for descriptor in index.manifests or ():
        _check(descriptor, what)
    return index


def read_manifest(data: bytes, what: str) -> Manifest:
    """A manifest of an image that can be run.

    Raises:
        InvalidArgument: It is none, or has more layers than can be mounted.
        Unsupported: It is of something else (an artifact), or has layers that are only elsewhere.
    """
    manifest = _decode(data, Manifest, what, "manifest")
    _check(manifest.config, what)
    if manifest.config.media_type not in {OCI_CONFIG, DOCKER_CONFIG}:
        kind = manifest.artifact_type or manifest.config.media_type
        raise Unsupported(f"{what} is no container image but an artifact of type {kind!r}")
    layers = manifest.layers or []
    if len(layers) > MOST_LAYERS:
        raise InvalidArgument(f"{what} has {len(layers)} layers, and {MOST_LAYERS} can be mounted at most")
    for layer in layers:
        _check(layer, what)
        if _FOREIGN.search(layer.media_type):
            raise Unsupported(
                f"{what} has a layer that may not be distributed ({layer.media_type}): such are not fetched"
            )
    return manifest


def read_config(data: bytes, what: str) -> Image:
    """A configuration.

    Raises:
        InvalidArgument: It is none.
        Unsupported: Its root file system is not made of layers.
    """
    document = _decode(data, _Document, what, "configuration")
    rootfs = document.rootfs or _Rootfs()
    if rootfs.type != "layers":
        raise Unsupported(f"{what} has a root file system of type {rootfs.type!r}, and only layers are known")
    diff_ids = tuple(rootfs.diff_ids or ())
    for diff_id in diff_ids:
        if parse_digest(diff_id, field=f"{what}, diff_ids").algorithm != "sha256":
            raise Unsupported(
                f"{what} has a layer whose diff id is not sha256 ({diff_id[:24]}...), and no other is taken"
            )
    if len(diff_ids) > MOST_LAYERS:
        raise InvalidArgument(f"{what} has {len(diff_ids)} layers, and {MOST_LAYERS} can be mounted at most")
    made = iter(diff_ids)
    history = [
        HistoryEntry(
            created_at=_time(step.created),
            created_by=step.created_by,
            author=step.author,
            comment=step.comment,
            empty_layer=step.empty_layer,
            layer="" if step.empty_layer else next(made, ""),
        )
        for step in document.history or ()
    ]
    return Image(
        config=_config(document.config or _Config()),
        platform=Platform(os=document.os or "linux", architecture=document.architecture, variant=document.variant),
        diff_ids=diff_ids,
        history=tuple(history),
        created_at=_time(document.created),
        author=document.author,
        comment=document.comment,
        docker_version=document.docker_version,
    )


def write_config(image: Image) -> bytes:
    """A configuration document in OCI's form; the same image is always the same bytes."""
    config = image.config
    health = config.healthcheck
    document = _Document(
        created=format_time(image.created_at) if image.created_at else None,
        author=image.author,
        architecture=image.platform.architecture,
        os=image.platform.os,
        variant=image.platform.variant,
        config=_Config(
            user=config.user or None,
            exposed_ports={port: {} for port in config.exposed_ports} or None,
            env=list(config.env) or None,
            entrypoint=list(config.entrypoint) or None,
            cmd=list(config.cmd) or None,
            volumes={path: {} for path in config.volumes} or None,
            working_dir=config.working_dir or None,
            labels=config.labels or None,
            stop_signal=config.stop_signal or None,
            healthcheck=None
            if health is None
            else _Health(
                test=list(health.test),
                interval=health.interval,
                timeout=health.timeout,
                start_period=health.start_period,
                start_interval=health.start_interval,
                retries=health.retries,
            ),
            shell=list(config.shell) or None,
            on_build=list(config.on_build) or None,
        ),
        rootfs=_Rootfs(diff_ids=list(image.diff_ids)),
        history=[
            _Step(
                created=format_time(step.created_at) if step.created_at else None,
                created_by=step.created_by,
                author=step.author,
                comment=step.comment,
                empty_layer=step.empty_layer,
            )
            for step in image.history
        ],
    )
    return msgspec.json.encode(document, order="deterministic")


def write_manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """A manifest in OCI's form; always the same bytes for the same image."""
    manifest = Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=layers)
    return msgspec.json.encode(manifest, order="deterministic")


def parse_time(text: str) -> int | None:
    """A time of RFC 3339 with up to nine digits of a second, in ns since 1970; None: it is none."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(
            f"{found['second'].upper()}{(found['zone'] or 'Z').upper().replace('Z', '+00:00')}"
        )
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000_000_000 + int((found["part"] or "").ljust(9, "0")[:9])


def format_time(time: int) -> str:
    """Ns since 1970 as RFC 3339 with nine digits, as Docker's images have it."""
    seconds, part = divmod(time, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC).strftime('%Y-%m-%dT%H:%M:%S')}.{part:09d}Z"


_TIME: Final = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(?P<part>\d+))?(?P<zone>[Zz]|[+-]\d\d:\d\d)?", re.ASCII
)


def _time(text: str | None) -> int:
    """Of a document's field. What is no time, or that of a clock that was never set (the year 1), is not known."""
    time = parse_time(text) if text else None
    return min(max(0, time or 0), _LATEST)


def _config(config: _Config) -> ImageConfig:
    health = config.healthcheck
    return ImageConfig(
        user=config.user or "",
        exposed_ports=tuple(config.exposed_ports or ()),
        env=tuple(config.env or ()),
        entrypoint=_words(config.entrypoint),
        cmd=_words(config.cmd),
        volumes=tuple(config.volumes or ()),
        working_dir=config.working_dir or "",
        labels=config.labels or {},
        stop_signal=config.stop_signal or "",
        healthcheck=None
        if health is None or not health.test
        else HealthCheck(
            test=tuple(health.test),
            interval=health.interval,
            timeout=health.timeout,
            start_period=health.start_period,
            start_interval=health.start_interval,
            retries=health.retries,
        ),
        shell=tuple(config.shell or ()),
        on_build=tuple(config.on_build or ()),
    )


def _words(words: list[str] | str | None) -> tuple[str, ...]:
    """Docker's strslice: a string is one word."""
    if not words:
        return ()
    return (words,) if isinstance(words, str) else tuple(words)


def _check(descriptor: Descriptor, what: str) -> None:
    parse_digest(descriptor.digest, field=what)
    if descriptor.size < 0:
        raise InvalidArgument(f"{what} names a content of {descriptor.size} bytes")


def _decode(data: bytes, kind: type[_T], what: str, name: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is no valid image {name}: {error}") from None
