#!/usr/bin/env python3
"""Measures how fast an image comes from an archive onto the disk, beside pigz and tar, docker, containerd, skopeo and umoci.

The same archives for all (`bench/archives.py`): a Debian root, 40,000 small files and three big ones, in one layer and in six.
In turns within one run, each into new folders of a journalled ext4 in a file on the disk (without a journal, ext4 looks for each
new inode past all that were removed within the last minutes, and whoever comes behind the removal of a large tree pays for that).
What is removed afterwards, and what is still to be written when one has ended, is not counted, but for ardock and one row of tar,
which end with all of it on the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import archives
from bench.journal import journalled
from bench.systems import BrokenError, UnusableError

if TYPE_CHECKING:
    from bench.archives import Image

WORKER = Path(__file__).with_name("unpack_worker.py")
ROUNDS = 3
SIZE = "16G"
"""Of the file system: room for the largest at work."""


class Way:
    """One line of the table."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self) -> None:
        """Get ready, uncounted. Raises UnusableError where it cannot run here."""
        self._start()

    def run(self, image: Image) -> None:
        """Unpack it: this is counted."""
        self._run(image)

    def clean(self) -> None:
        """Remove what that has made, uncounted."""
        self._clean()

    def stop(self) -> None:
        """End what was started."""
        self._stop()

    def _start(self) -> None:
        pass

    def _run(self, image: Image) -> None:
        raise NotImplementedError

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _stop(self) -> None:
        pass


def call(*words: str | Path) -> str:
    """Run a program; what it printed."""
    try:
        done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UnusableError(f"not installed: {words[0]}") from error
    if done.returncode:
        raise BrokenError(f"{words[0]}: {done.stderr.strip()[-400:]}")
    return done.stdout


class Tar(Way):
    """`pigz -d | tar x`, a layer after the other, each into a folder of its own."""

    def __init__(self, folder: Path, *, synced: bool) -> None:
        self.name = "pigz -d into tar x" + (", sync" if synced else "")
        super().__init__(folder / f"tar-{synced:d}")
        self._synced = synced

    def _start(self) -> None:
        call("pigz", "--version")

    def _run(self, image: Image) -> None:
        for layer in image.layers:
            target = self._folder / layer.name
            target.mkdir(parents=True)
            command = 'set -o pipefail; pigz -dc "$0" | tar --numeric-owner -C "$1" -xf -'
            call("bash", "-c", command, layer, target)
        if self._synced:
            call("sync", "-f", self._folder)


class Daemon:
    """A daemon in a network and mount namespace of its own, all its state in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str], ready: list[str]) -> None:
        """Start it and wait until `ready` succeeds."""
        for program in (command[0], ready[0]):
            if not shutil.which(program):
                raise UnusableError(f"not installed: {program}")
        self.folder.mkdir()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "--mount", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise UnusableError(f"{command[0]} did not start: {(self.folder / 'log').read_text()[-400:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class DockerLoad(Way):
    """`docker load` into a dockerd of the bench's own."""

    name = "docker load"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "docker")
        self._daemon = Daemon(self._folder)
        self._client = ["docker", "-H", f"unix://{self._daemon.folder}/sock"]

    def _start(self) -> None:
        folder = self._daemon.folder
        command = ["dockerd", "-H", f"unix://{folder}/sock", "--data-root", f"{folder}/data"]
        command += ["--exec-root", f"{folder}/exec", "-p", f"{folder}/pid", "--storage-driver", "overlay2"]
        self._daemon.start([*command, "--bridge", "none", "--iptables=false"], [*self._client, "version"])

    def _run(self, image: Image) -> None:
        call(*self._client, "load", "-q", "-i", image.archive)

    def _clean(self) -> None:
        for found in call(*self._client, "images", "-q").split():
            call(*self._client, "rmi", "-f", found)

    def _stop(self) -> None:
        self._daemon.stop()


class CtrImport(Way):
    """`ctr image import` into a containerd of the bench's own."""

    name = "ctr image import"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "containerd")
        self._daemon = Daemon(self._folder)
        self._client = ["ctr", "-a", f"{self._daemon.folder}/sock"]

    def _start(self) -> None:
        folder = self._daemon.folder
        command = ["containerd", "-a", f"{folder}/sock", "--root", f"{folder}/root", "--state", f"{folder}/state"]
        self._daemon.start(command, [*self._client, "version"])

    def _run(self, image: Image) -> None:
        call(*self._client, "image", "import", "--snapshotter", "overlayfs", image.archive)

    def _clean(self) -> None:
        names = call(*self._client, "image", "ls", "-q").split()
        call(*self._client, "image", "rm", "--sync", *names)

    def _stop(self) -> None:
        self._daemon.stop()


class Umoci(Way):
    """`skopeo copy` into a layout of OCI, and `umoci unpack` of that."""

    name = "skopeo copy, umoci unpack"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "umoci")

    def _start(self) -> None:
        call("skopeo", "--version")
        call("umoci", "--version")

    def _run(self, image: Image) -> None:
        self._folder.mkdir()
        layout = f"{self._folder}/layout:latest"
        call("skopeo", "copy", "--insecure-policy", f"docker-archive:{image.archive}", f"oci:{layout}")
        call("umoci", "unpack", "--image", layout, self._folder / "bundle")


class Ours(Way):
    """`ardock._core.LayerIngest` in a process of its own, layers in parallel."""

    name = "ardock, in process"

    def __init__(self, folder: Path, *, keeps: bool) -> None:
        super().__init__(folder / f"ours-{keeps:d}")
        self.name += ", blobs kept" if keeps else ""
        self._keeps = "keep" if keeps else "drop"
        self.peak_kb = 0

    def _run(self, image: Image) -> None:
        self._folder.mkdir()
        told = json.loads(call(sys.executable, WORKER, self._keeps, self._folder, *image.layers))
        if told["bytes"] != image.size:
            raise BrokenError(f"ardock: {told['bytes']} bytes came out, and not {image.size}")
        self.peak_kb = max(self.peak_kb, told["peak_kb"])


class Load(Way):
    """`ardock image load` without a daemon, into a root folder of its own."""

    name = "ardock image load"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "load")
        self._ardock = str(Path(sys.executable).with_name("ardock"))

    def _start(self) -> None:
        if subprocess.run([self._ardock, "image", "load", "--help"], capture_output=True, check=False).returncode:
            raise UnusableError("this ardock has no `image load`")

    def _run(self, image: Image) -> None:
        where: list[str | Path] = ["--root", self._folder / "root", "--run-dir", self._folder / "run"]
        call(self._ardock, *where, "image", "load", "-i", image.archive)
        if not any(self._folder.glob("root/snapshots/*/*")):
            raise BrokenError(f"{self.name}: there is no layer in its root folder")


def settle(folder: Path) -> None:
    """Nothing that one has left to be written, or to be freed, is another's burden."""
    call("sync", "-f", folder)
    time.sleep(0.5)


def measure(ways: list[Way], images: dict[str, Image], rounds: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Seconds by image and way, a round each."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in images}
    for number in range(rounds):
        for name, image in images.items():
            # Turned round each time, so that no way always comes behind the same one.
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                settle(folder)
                for file in (image.archive, *image.layers):
                    warm(file)
                began = time.perf_counter()
                way.run(image)
                taken = time.perf_counter() - began
                way.clean()
                found[name].setdefault(way.name, []).append(taken)
                print(f"round {number + 1}: {name}: {way.name}: {taken:.2f} s", file=sys.stderr, flush=True)
    return found


def warm(file: Path) -> None:
    """Read it once, so that all find it in memory."""
    with file.open("rb", buffering=0) as opened:
        while opened.read(1 << 20):
            pass


def table(found: dict[str, dict[str, list[float]]], images: dict[str, Image]) -> str:
    """Medians, and how many times as long as ardock's own each takes."""
    lines = []
    for name, ways in found.items():
        ours = median(ways[Ours.name])
        megabytes = images[name].size / 1e6
        lines += [f"\n{name}: {megabytes:.0f} MB uncompressed, {len(images[name].layers)} layers\n"]
        lines += ["| way | s | MB/s | x ardock |", "|---|---:|---:|---:|"]
        for way, taken in ways.items():
            middle = median(taken)
            lines.append(f"| {way} | {middle:.2f} | {megabytes / middle:.0f} | {middle / ours:.2f} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 where something gave a wrong result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--images", default="all-1,all-6", help="TREE-LAYERS, ...: trees are debian, small, big, all")
    parser.add_argument("--only", default="", help="the rows whose names have one of these words, separated by commas")
    parser.add_argument("--disk", type=Path, default=archives.FOLDER, help="a folder on the disk to measure")
    arguments = parser.parse_args()
    try:
        images = {name: archives.image(*_split(name)) for name in arguments.images.split(",")}
    except UnusableError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(journalled(arguments.disk, SIZE))
        except UnusableError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        ours = Ours(folder, keeps=False)
        makers: list[Way] = [
            ours, Ours(folder, keeps=True), Load(folder), Tar(folder, synced=False), Tar(folder, synced=True), DockerLoad(folder),
            CtrImport(folder), Umoci(folder),
        ]  # fmt: skip
        ways: list[Way] = []
        for way in makers:
            words = [word for word in arguments.only.split(",") if word]
            if words and way is not ours and not any(word in way.name for word in words):
                continue
            try:
                way.start()
            except UnusableError as error:
                print(f"left out: {way.name}: {error}", file=sys.stderr)
                continue
            stack.callback(way.stop)
            ways.append(way)
        try:
            print(table(measure(ways, images, arguments.rounds, folder), images))
        except BrokenError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        print(f"\npeak memory of ardock's process: {ours.peak_kb * 1024 / 1e6:.0f} MB")
    return 0


def _split(name: str) -> tuple[str, int]:
    tree, _, layers = name.partition("-")
    return tree, int(layers or 1)


if __name__ == "__main__":
    sys.exit(main())
