"""Images as one archive: an OCI layout that ``docker load`` takes, too.

``index.json`` is for OCI's tools, ``manifest.json`` for Docker's before 25; both name the same blobs, so each layer is in it
once. Entries come in an order and with headers that depend on the images alone: the same images are the same archive.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

import msgspec

from ardock import _core
from ardock.engine.content.disk import unusable
from ardock.engine.images.formats import OCI_INDEX, Descriptor, Index
from ardock.model.errors import Cancelled
from ardock.model.reference import parse_reference

_PIECE: Final = 1 << 20
_RECORD: Final = 1 << 20
# What containerd and Docker look for, and what the specification has (annotations.md).
_CONTAINERD_NAME: Final = "io.containerd.image.name"
_REF_NAME: Final = "org.opencontainers.image.ref.name"


class Saved(NamedTuple):
    """An image that goes into the archive.

    Attributes:
        manifest: Its manifest.
        config: Digest of its configuration.
        layers: Digests of its layers' archives, the lowest first.
        names: ``name:tag`` each, as it was asked for.
    """

    manifest: Descriptor
    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


class Blob(NamedTuple):
    """A blob and where it is."""

    digest: str
    path: Path


def write_archive(images: Sequence[Saved], blobs: Sequence[Blob], out: int, flag: _core.CancelFlag) -> None:
    """Write the archive; blocks.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        Cancelled: `flag` was set.
        FolderUnusable: A blob cannot be read.
    """
    index = Index(schema_version=2, media_type=OCI_INDEX, manifests=_described(images))
    with (
        open(out, "wb", buffering=0, closefd=False) as raw,
        io.BufferedWriter(raw, _RECORD) as file,
        tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_RECORD) as tar,
    ):
        _folder(tar, "blobs")
        for algorithm in sorted({blob.digest.partition(":")[0] for blob in blobs}):
            _folder(tar, f"blobs/{algorithm}")
        for blob in sorted(blobs):
            _blob(tar, blob, flag)
        _document(tar, "index.json", msgspec.json.encode(index, order="deterministic"))
        _document(tar, "manifest.json", _for_docker(images))
        _document(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def _described(images: Sequence[Saved]) -> list[Descriptor]:
    described = []
    for image in images:
        if not image.names:
            described.append(image.manifest)
        for name in image.names:
            reference = parse_reference(name)
            annotations = {_CONTAINERD_NAME: str(reference), _REF_NAME: reference.tag}
            described.append(msgspec.structs.replace(image.manifest, annotations=annotations))
    return described


def _for_docker(images: Sequence[Saved]) -> bytes:
    return msgspec.json.encode(
        [
            {
                "Config": path_of(image.config),
                "RepoTags": list(image.names) or None,
                "Layers": [path_of(layer) for layer in image.layers],
            }
            for image in images
        ]
    )


def path_of(digest: str) -> str:
    """Where a blob is in a layout."""
    algorithm, _, digits = digest.partition(":")
    return f"blobs/{algorithm}/{digits}"


def _folder(tar: tarfile.TarFile, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    member.mode = 0o755
    tar.addfile(member)


def _document(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _blob(tar: tarfile.TarFile, blob: Blob, flag: _core.CancelFlag) -> None:
    member = tarfile.TarInfo(path_of(blob.digest))
    try:
        with blob.path.open("rb", buffering=0) as file:
            member.size = blob.path.stat().st_size
            tar.addfile(member, cast("IO[bytes]", _Watched(file, flag)))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unusable(error) from error


class _Watched(io.RawIOBase):
    """A file that ends with an error when the flag is set."""

    def __init__(self, file: io.FileIO | IO[bytes], flag: _core.CancelFlag) -> None:
        self._file = file
        self._flag = flag

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._flag.is_set:
            raise Cancelled("the archive was not read to its end")
        return self._file.read(size)
