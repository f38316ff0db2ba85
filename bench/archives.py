"""Makes the images that unpacking is measured with: a Debian root, many small files, a few big ones; the same each time.

Each is an archive that every engine reads: Docker's `manifest.json` and the layout of OCI lie beside one another in it, as in
what `docker save` writes today. Kept in `target/bench/unpack`; some 1.6 GB unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from bench import build
from bench.systems import UnusableError

FOLDER = build.PRODUCTS / "unpack"
NAME = "localhost/ardock-bench:latest"
SMALL_FILES = 40_000
SMALL_BYTES = 17_000
BIG_FILES = 3
BIG_BYTES = 300_000_000
MIRROR = "http://deb.debian.org/debian"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """One image on the disk."""

    archive: Path
    """All of it in one file."""
    layers: tuple[Path, ...]
    """Its layers' blobs, as they are in the archive, the lowest first."""
    size: int
    """Bytes of the layers, uncompressed."""


def image(name: str, layers: int) -> Image:
    """The image of the tree `debian`, `small`, `big` or `all` in so many layers, made where it is not there yet."""
    folder = FOLDER / f"{name}-{layers}"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "blobs").mkdir(parents=True)
        _make(folder, [tree(each) for each in (("debian", "small", "big") if name == "all" else (name,))], layers)
        (folder / "whole").touch()
    told = json.loads((folder / "image.json").read_text())
    return Image(folder / "image.tar", tuple(folder / "blobs" / each for each in told["layers"]), sum(told["sizes"]))


def tree(name: str) -> Path:
    """A tree's archive, uncompressed, made where it is not there yet."""
    file = FOLDER / f"{name}.tar"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".fresh")
        {"debian": _debian, "small": _small, "big": _big}[name](fresh)
        fresh.rename(file)
    return file


def _debian(file: Path) -> None:
    folder = FOLDER / "debian"
    shutil.rmtree(folder, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", "bookworm", str(folder), MIRROR]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UnusableError("not installed: debootstrap") from error
    except subprocess.CalledProcessError as error:
        raise UnusableError(f"debootstrap: {error.stderr.strip() or error.stdout.strip()[-300:]}") from error
    command = ["tar", "-C", str(folder), "--sort=name", "--numeric-owner", "--xattrs", "-cf", str(file), "."]
    subprocess.run(command, check=True)
    shutil.rmtree(folder)


def _small(file: Path) -> None:
    """Half of each file is text of a kind."""
    numbers = random.Random(7)
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(SMALL_FILES):
            if number % 100 == 0:
                tar.addfile(_member(f"small/d{number // 100}", None))
            size = numbers.randrange(SMALL_BYTES)
            words = b"%08d configuration value\n" % number
            content = (numbers.randbytes(size // 2) + words * (size // 2 // len(words) + 1))[:size]
            tar.addfile(_member(f"small/d{number // 100}/f{number}", size), io.BytesIO(content))


def _big(file: Path) -> None:
    """Half of each is random, the other half text of a kind, by the MB."""
    numbers = random.Random(8)
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member("big", None))
        for number in range(BIG_FILES):
            tar.addfile(_member(f"big/f{number}", BIG_BYTES), _Half(numbers, BIG_BYTES))


class _Half(io.RawIOBase):
    """So many bytes."""

    def __init__(self, numbers: random.Random, size: int) -> None:
        self._numbers = numbers
        self._left = size
        self._rest = b""
        self._words = [b"%016x " % numbers.getrandbits(20) for _ in range(1000)]

    def read(self, size: int = -1) -> bytes:
        count = min(size, self._left)
        while len(self._rest) < count:
            words = b"".join(self._numbers.choices(self._words, k=_PIECE // 17))
            self._rest += self._numbers.randbytes(_PIECE) + words
        piece, self._rest = self._rest[:count], self._rest[count:]
        self._left -= count
        return piece


def _member(name: str, size: int | None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = 1_700_000_000
    if size is None:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    else:
        member.size, member.mode = size, 0o644
    return member


def _make(folder: Path, trees: list[Path], count: int) -> None:
    """Cut the trees' entries into so many layers of about the same size, compress them, and write the archive."""
    plain = [folder / f"layer{number}.tar" for number in range(count)]
    share = sum(each.stat().st_size for each in trees) / count
    taken = 0
    outputs = [tarfile.open(each, "w", format=tarfile.PAX_FORMAT) for each in plain]  # noqa: SIM115 - closed below
    # Names that are one file stay in one layer.
    where: dict[str, int] = {}
    for each in trees:
        with tarfile.open(each) as tar:
            for member in tar:
                number = where[member.linkname] if member.islnk() else min(int(taken / share), count - 1)
                where[member.name] = number
                outputs[number].addfile(member, tar.extractfile(member) if member.isreg() else None)
                taken += 512 + member.size
    for output in outputs:
        output.close()
    told: dict[str, list[int] | list[str]] = {
        "sizes": [each.stat().st_size for each in plain],
        "diffs": [_digest(each) for each in plain],
    }
    blobs = []
    for each in plain:
        compressed = each.with_suffix(".gz")
        with compressed.open("wb") as out:
            subprocess.run(["pigz", "-n", "-6", "-c", str(each)], stdout=out, check=True)
        each.unlink()
        blobs.append((_digest(compressed), compressed.stat().st_size))
        compressed.rename(folder / "blobs" / blobs[-1][0])
    told["layers"] = [digest for digest, _ in blobs]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in told["diffs"]]},
        }
    ).encode()
    _archive(folder, config, blobs)
    (folder / "image.json").write_text(json.dumps(told))


def _archive(folder: Path, config: bytes, blobs: list[tuple[str, int]]) -> None:
    oci = "application/vnd.oci.image"

    def part(kind: str, digest: str, size: int) -> dict[str, object]:
        return {"mediaType": f"{oci}.{kind}", "digest": f"sha256:{digest}", "size": size}

    named = hashlib.sha256(config).hexdigest()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": part("config.v1+json", named, len(config)),
            "layers": [part("layer.v1.tar+gzip", digest, size) for digest, size in blobs],
        }
    ).encode()
    found = hashlib.sha256(manifest).hexdigest()
    names = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "latest"}
    index = {"schemaVersion": 2, "manifests": [part("manifest.v1+json", found, len(manifest)) | {"annotations": names}]}
    docker = [
        {"Config": f"blobs/sha256/{named}", "RepoTags": [NAME], "Layers": [f"blobs/sha256/{each}" for each, _ in blobs]}
    ]
    with tarfile.open(folder / "image.tar", "w") as tar:
        for name, content in [
            ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
            ("index.json", json.dumps(index).encode()),
            ("manifest.json", json.dumps(docker).encode()),
            (f"blobs/sha256/{named}", config),
            (f"blobs/sha256/{found}", manifest),
        ]:
            tar.addfile(_member(name, len(content)), io.BytesIO(content))
        for digest, size in blobs:
            with (folder / "blobs" / digest).open("rb") as file:
                tar.addfile(_member(f"blobs/sha256/{digest}", size), file)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
