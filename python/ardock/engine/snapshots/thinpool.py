"""A pool of thin devices of the kernel's device mapper, by dmsetup(8) (Documentation/admin-guide/device-mapper/thin-provisioning.rst).

The kernel keeps which blocks belong to which device number; which numbers are ours is written down by the driver. A number is
on the disk before its device is made, and the pool's transaction id is counted up with each that is made: so a crash leaves no
device that nobody knows, and a pool that is not the one that was left (an older copy of its file, another's) is found out.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ardock.engine.failpoints import reach
from ardock.engine.snapshots.errors import failed
from ardock.engine.snapshots.options import DeviceMapperOptions
from ardock.model.errors import DiskFull, FolderUnusable, Unsupported

SECTOR: Final = 512
# Below this share of free blocks nothing new is begun: what has been begun needs them, and a pool without room for its own
# metadata has to be repaired by hand.
_LEAST_FREE: Final = 0.02
# Seconds for a device that was just let go of: udev looks at it once more.
_PATIENCE: Final = 5.0


class _State(msgspec.Struct):
    """What is written down of the pool.

    Attributes:
        name: Of its devices: ``<name>-pool`` and ``<name>-<number>``.
        next: The first number that was never given away.
        transaction: The pool's, once all that was begun is done.
    """

    name: str
    next: int = 0
    transaction: int = 0


class PoolStatus(NamedTuple):
    """The pool's status line.

    Attributes:
        transaction: Its transaction id.
        metadata: Used and all blocks (of 4 KiB) of its metadata.
        data: Used and all blocks of its data.
        mode: ``rw``, ``ro``, ``out_of_data_space`` or ``Fail``.
    """

    transaction: int
    metadata: tuple[int, int]
    data: tuple[int, int]
    mode: str


class ThinPool:
    """The pool of one driver's folder.

    Attributes:
        name: As in `_State`.
        device: Path of the pool.
    """

    def __init__(self, folder: Path, options: DeviceMapperOptions) -> None:
        """Open the pool whose files and state are in `folder`; made where there is none.

        Raises:
            Unsupported: The kernel or a program is missing.
            FolderUnusable: It cannot be opened, or is not the one that was left.
        """
        self._folder = folder
        self._options = options
        self._lock = threading.RLock()
        _check_support()
        folder.mkdir(mode=0o700, exist_ok=True)
        self._state = self._read_state()
        self.name = self._state.name
        if options.thinpooldev:
            self._pool = options.thinpooldev.removeprefix("/dev/mapper/")
            if "thin-pool" not in _run("dmsetup", "status", self._pool).stdout.split():
                raise FolderUnusable(f"storage: dm.thinpooldev={options.thinpooldev} is no thin pool")
            # Whoever made it may have done so where nobody makes nodes in /dev/mapper.
            dmsetup("mknodes", self._pool)
        else:
            self._pool = f"{self.name}-pool"
            if not _is_there(self._pool):
                self._activate()
        self.device = f"/dev/mapper/{self._pool}"
        self._check_transaction()

    def status(self) -> PoolStatus:
        """How full it is.

        Raises:
            FolderUnusable: It cannot be told.
        """
        words = dmsetup("status", self._pool).split()
        if len(words) < 8 or words[2] != "thin-pool":
            raise FolderUnusable(f"storage: the pool {self._pool} has failed: {' '.join(words)}")
        metadata, data = (_pair(word) for word in words[4:6])
        return PoolStatus(int(words[3]), metadata, data, words[7])

    def check_room(self) -> None:
        """Refuse to begin something in a pool that is full.

        Raises:
            DiskFull: It is.
        """
        status = self.status()
        for what, (used, whole) in (("data", status.data), ("metadata", status.metadata)):
            if whole - used < whole * _LEAST_FREE or status.mode == "out_of_data_space":
                raise DiskFull(
                    f"storage: the thin pool {self._pool} is full: {used} of {whole} blocks of its {what} are used: remove "
                    "containers or images, or enlarge it"
                )
        if status.mode != "rw":
            raise FolderUnusable(
                f"storage: the thin pool {self._pool} is in the mode {status.mode}: see thin_check(8) and thin_repair(8)"
            )

    def number(self) -> int:
        """A number for a device that is to be made; on the disk with the state, so that it is given away once only."""
        with self._lock:
            number = self._state.next
            self._state.next += 1
            self._write_state()
            return number

    def make(self, number: int, origin: int | None) -> None:
        """Make a device: an empty one, or a snapshot of `origin`.

        Raises:
            DiskFull: The pool has no room for it.
            FolderUnusable: It refuses otherwise.
        """
        with self._lock:
            self._state.transaction += 1
            self._write_state()
            reach("devicemapper.make.before")
            active = origin is not None and _is_there(self.thin_name(origin))
            if origin is None:
                self._message(f"create_thin {number}")
            else:
                # An origin that is written to meanwhile has to stand still, or the snapshot has halves of it.
                if active:
                    dmsetup("suspend", self.thin_name(origin))
                try:
                    self._message(f"create_snap {number} {origin}")
                finally:
                    if active:
                        dmsetup("resume", self.thin_name(origin))
            reach("devicemapper.make.made")
            self._message(f"set_transaction_id {self._state.transaction - 1} {self._state.transaction}")

    def delete(self, number: int) -> bool:
        """Delete a device, whether or not it was made; False where somebody still has it open: to be tried again."""
        with self._lock:
            if not self.deactivate(number):
                return False
            done = _run("dmsetup", "message", self._pool, "0", f"delete {number}")
            # ENODATA: there is none of this number.
            if done.returncode == 0 or "No data available" in done.stderr:
                return True
            if "busy" in done.stderr:
                return False
            raise _refused(done)

    def thin_name(self, number: int) -> str:
        """The name of a device."""
        return f"{self.name}-{number}"

    def activate(self, number: int, size: int) -> str:
        """Have the kernel show a device; its path. `size` is in bytes, at least what it was made with."""
        name = self.thin_name(number)
        with self._lock:
            if not _is_there(name):
                dmsetup("create", name, "--table", f"0 {size // SECTOR} thin {self.device} {number}")
        return f"/dev/mapper/{name}"

    def deactivate(self, number: int) -> bool:
        """The contrary; False where somebody still has it open: it goes with that one, as soon as the kernel can."""
        name = self.thin_name(number)
        with self._lock:
            if not _is_there(name):
                return True
            deadline = time.monotonic() + _PATIENCE
            while True:
                done = _run("dmsetup", "remove", name)
                if done.returncode == 0 or not _is_there(name):
                    return True
                opened = dmsetup("info", "--columns", "--noheadings", "-o", "open", name).strip()
                if opened not in ("", "0"):
                    # Some container's mount namespace has a file system on it; that may take long.
                    _run("dmsetup", "remove", "--deferred", name)
                    return False
                if time.monotonic() > deadline:
                    raise _refused(done)
                time.sleep(0.05)

    def active(self) -> list[str]:
        """Names of the devices that the kernel shows, without the pool."""
        listed = dmsetup("ls").splitlines()
        names = [line.split()[0] for line in listed if line.startswith(f"{self.name}-")]
        return [name for name in names if name != self._pool]

    def close(self) -> None:
        """Take the pool out of the kernel, where no device of it is in use and it is ours."""
        with self._lock:
            if not self._options.thinpooldev and not self.active():
                _run("dmsetup", "remove", self._pool)

    # --- the inside ---

    def _message(self, text: str) -> None:
        dmsetup("message", self._pool, "0", text)

    def _activate(self) -> None:
        data = self._loop("data", self._options.loopdatasize)
        metadata = self._loop("metadata", self._options.loopmetadatasize)
        sectors = _size_of(data) // SECTOR
        block = self._options.blocksize // SECTOR
        # Without room a write fails at once: by default it would wait for somebody to enlarge the pool.
        table = f"0 {sectors} thin-pool {metadata} {data} {block} 0 2 skip_block_zeroing error_if_no_space"
        try:
            dmsetup("create", self._pool, "--table", table)
        finally:
            # They go with the pool, or now where there is none.
            for loop in (data, metadata):
                _run("losetup", "--detach", loop)

    def _loop(self, name: str, size: int) -> str:
        """The loop device of a file, which is made where missing. Sparse: it takes room as it is filled."""
        path = self._folder / name
        if not path.exists():
            with path.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.truncate(size)
        # One that a crash has left before the pool was made.
        for line in _checked("losetup", "--associated", str(path), "--noheadings", "--output", "NAME").split():
            return line
        return _checked("losetup", "--find", "--show", "--nooverlap", str(path)).strip()

    def _check_transaction(self) -> None:
        """The pool is as it was left, but for the last thing that was begun.

        Raises:
            FolderUnusable: It is not.
        """
        pool, ours = self.status().transaction, self._state.transaction
        if pool == ours - 1:
            # The device that was being made is in no record but one that is removed at the opening.
            self._message(f"set_transaction_id {pool} {ours}")
        elif pool != ours:
            raise FolderUnusable(
                f"storage: the thin pool {self._pool} is not the one that this folder was left with: its transaction id is {pool} "
                f"and not {ours}. Was one of them restored without the other?"
            )

    def _read_state(self) -> _State:
        path = self._folder / "state"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_State)
        except FileNotFoundError:
            self._state = _State(name=f"ardock-thin-{os.urandom(4).hex()}")
            self._write_state()
            return self._state
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise FolderUnusable(f"storage: {path}: damaged: {error}") from error

    def _write_state(self) -> None:
        """Whole or not at all."""
        write_durably(self._folder / "state", msgspec.json.encode(self._state))


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file that a crash leaves as it was or as it is to be."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def dmsetup(*words: str) -> str:
    """Run dmsetup; its output.

    Raises:
        DiskFull: The pool has no room.
        FolderUnusable: It refuses otherwise.
    """
    return _checked("dmsetup", *words)


def _checked(*words: str) -> str:
    done = _run(*words)
    if done.returncode != 0:
        raise _refused(done)
    return done.stdout


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C"}
    if not Path("/run/udev/control").exists():
        # Nobody else makes the nodes in /dev/mapper.
        env["DM_DISABLE_UDEV"] = "1"
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    except FileNotFoundError as error:
        raise Unsupported(
            f"storage_driver: devicemapper needs the program {words[0]} (apt install dmsetup util-linux)",
            option="storage_driver",
        ) from error


def _refused(done: subprocess.CompletedProcess[str]) -> Exception:
    full = "No space left on device" in done.stderr
    return failed(f"{' '.join(done.args[:3])}: {done.stderr.strip()}", 28 if full else 0)


def run_program(*words: str) -> str:
    """The output of a program that works on a device.

    Raises:
        Unsupported: It is not installed.
        DiskFull: No room.
        FolderUnusable: It fails.
    """
    return _checked(*words)


def _is_there(name: str) -> bool:
    return _run("dmsetup", "info", name).returncode == 0


def _check_support() -> None:
    # The control device is there once the module is; the target's own module comes with its first table, or with this.
    _run("modprobe", "--quiet", "dm_thin_pool")
    targets = _run("dmsetup", "targets").stdout
    if not any(line.split()[0] == "thin-pool" for line in targets.splitlines() if line):
        raise Unsupported(
            "storage_driver: devicemapper needs the kernel's thin provisioning (CONFIG_DM_THIN_PROVISIONING; modprobe dm_thin_pool)",
            option="storage_driver",
        )


def _size_of(device: str) -> int:
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def _pair(word: str) -> tuple[int, int]:
    used, _, whole = word.partition("/")
    return int(used), int(whole)
