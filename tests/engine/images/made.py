"""Images of a test's own making: layers as archives, documents, layouts on the disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ardock.engine.images import formats

Content = bytes | str | None


def tar(entries: Mapping[str, Content], *, mtime: int = 1_600_000_000) -> bytes:
    """An archive: bytes are a file, a string is a link's target, None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.mtime = mtime
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size, member.mode = len(content), 0o755
                archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def path_of(key: str) -> str:
    """Where a blob is in a layout."""
    algorithm, _, digits = key.partition(":")
    return f"blobs/{algorithm}/{digits}"


class Made(NamedTuple):
    """An image.

    Attributes:
        config: Its configuration.
        manifest: Its manifest.
        layers: Its layers' archives, compressed.
        diff_ids: Digests of the uncompressed ones.
    """

    config: bytes
    manifest: bytes
    layers: tuple[bytes, ...]
    diff_ids: tuple[str, ...]

    @property
    def id(self) -> str:
        return digest(self.config)

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def blobs(self) -> dict[str, bytes]:
        return {digest(data): data for data in (self.config, self.manifest, *self.layers)}


def image(
    *trees: Mapping[str, Content],
    config: Mapping[str, Any] | None = None,
    architecture: str = "amd64",
    docker: bool = False,
    compress: bool = True,
) -> Made:
    """An image with a layer for each tree."""
    plain = [tar(tree) for tree in trees]
    layers = tuple(gzip.compress(layer, mtime=0) if compress else layer for layer in plain)
    diff_ids = tuple(digest(layer) for layer in plain)
    document = {
        "architecture": architecture, "os": "linux", "config": dict(config or {}), "created": "2024-05-06T07:08:09Z",
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created_by": f"step {number}"} for number in range(len(trees))],
    }  # fmt: skip
    data = json.dumps(document).encode()
    kinds = (
        (formats.DOCKER_MANIFEST, formats.DOCKER_CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip")
        if docker
        else (formats.OCI_MANIFEST, formats.OCI_CONFIG, f"{formats.OCI_LAYER}{'+gzip' if compress else ''}")
    )
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": {"mediaType": kinds[1], "digest": digest(data), "size": len(data)},
            "layers": [{"mediaType": kinds[2], "digest": digest(layer), "size": len(layer)} for layer in layers],
        }
    ).encode()
    return Made(data, manifest, layers, diff_ids)


def index(images: Sequence[tuple[Made, str]], kind: str = formats.OCI_INDEX) -> bytes:
    """An index of images with their platforms, ``os/architecture[/variant]``."""
    manifests = []
    for made, platform in images:
        parts = platform.split("/")
        where = dict(zip(("os", "architecture", "variant"), parts, strict=False))
        manifests.append(
            {"mediaType": formats.OCI_MANIFEST, "digest": made.digest, "size": len(made.manifest), "platform": where}
        )
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()


def layout(folder: Path, images: Mapping[str, Made], *, annotation: str = "org.opencontainers.image.ref.name") -> Path:
    """An OCI layout, with each image under its name."""
    manifests = []
    for name, made in images.items():
        for key, data in made.blobs.items():
            algorithm, _, digits = key.partition(":")
            path = folder / "blobs" / algorithm / digits
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        entry: dict[str, Any] = {"mediaType": formats.OCI_MANIFEST, "digest": made.digest, "size": len(made.manifest)}
        if name:
            entry["annotations"] = {annotation: name}
        manifests.append(entry)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def packed(folder: Path) -> bytes:
    """A folder as a tar, as `tar -C folder -c .` makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(folder, ".")
    return out.getvalue()


def docker_archive(images: Mapping[str, Made]) -> bytes:
    """As `docker save` before 25 makes it: layers uncompressed in folders, one that two images share as a link."""
    out = io.BytesIO()
    manifest = []
    places: dict[str, str] = {}
    with tarfile.open(fileobj=out, mode="w") as archive:

        def put(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        for number, (name, made) in enumerate(images.items()):
            layers = []
            for diff_id, layer in zip(made.diff_ids, made.layers, strict=True):
                place = f"{number}-{diff_id[7:19]}/layer.tar"
                layers.append(place)
                if diff_id in places:
                    member = tarfile.TarInfo(place)
                    member.type, member.linkname = tarfile.SYMTYPE, f"../{places[diff_id]}"
                    archive.addfile(member)
                else:
                    places[diff_id] = place
                    put(place, gzip.decompress(layer))
                put(place.replace("layer.tar", "VERSION"), b"1.0")
            put(f"{made.id[7:]}.json", made.config)
            manifest.append({"Config": f"{made.id[7:]}.json", "RepoTags": [name] if name else None, "Layers": layers})
        put("manifest.json", json.dumps(manifest).encode())
        put("repositories", b"{}")
    return out.getvalue()


def shown(*directories: str) -> dict[str, bytes | None]:
    """What layers show, merged as an overlay does it (the topmost first): files' contents, None for a directory."""
    found: dict[str, bytes | None] = {}
    for directory in reversed(directories):
        for folder, folders, names in os.walk(directory):
            relative = os.path.relpath(folder, directory)
            prefix = "" if relative == "." else f"{relative}/"
            for name in (*folders, *names):
                path = f"{folder}/{name}"
                status = os.lstat(path)
                if status.st_rdev == 0 and (status.st_mode & 0o170000) == 0o020000:
                    found = {
                        key: value
                        for key, value in found.items()
                        if key != prefix + name and not key.startswith(f"{prefix}{name}/")
                    }
                elif os.path.isdir(path) and not os.path.islink(path):
                    if "trusted.overlay.opaque" in os.listxattr(path):
                        found = {key: value for key, value in found.items() if not key.startswith(f"{prefix}{name}/")}
                    found[prefix + name] = None
                else:
                    found[prefix + name] = (
                        os.readlink(path).encode() if os.path.islink(path) else Path(path).read_bytes()
                    )
    return found
