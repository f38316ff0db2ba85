"""The engine's folders: making them, the lock that makes one engine their owner, its id."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from pathlib import Path
from typing import Final, NamedTuple

from ardock.model.errors import ArdockError, EngineLocked, FolderUnusable, InvalidArgument, NotPermitted

# Seconds for a dead owner's last descriptors to go.
_PATIENCE: Final = 2.0
_ENGINE_ID: Final = re.compile(r"^[0-9a-f]{8}$")


class Folders(NamedTuple):
    """One engine's folders, all made.

    Attributes:
        root: The root folder, resolved.
        run_dir: This engine's part of the run folder, ``<run folder>/<engine id>``, resolved.
        engine_id: 8 hexadecimal digits.
        hidden: What no container may see: the root folder and the whole run folder.
        lock: The lock's descriptor, held as long as it is open.
    """

    root: Path
    run_dir: Path
    engine_id: str
    hidden: tuple[str, ...]
    lock: int

    @property
    def keepers(self) -> Path:
        """The folder of the keepers' folders."""
        return self.run_dir / "keepers"

    @property
    def logs(self) -> Path:
        """The folder of the containers' logs."""
        return self.root / "logs"

    def scratch(self, number: int) -> Path:
        """The folder of a keeper's scratch directories."""
        return self.root / "scratch" / f"k{number}"

    def close(self) -> None:
        """Give up the lock."""
        os.close(self.lock)


def open_folders(root: Path, run_dir: Path) -> Folders:
    """Make the folders and take the lock.

    Raises:
        EngineLocked: Another process owns `root`.
        NotPermitted: They may not be made or written.
        FolderUnusable: They cannot be made or written for another reason; the engine's id is damaged.
        InvalidArgument: A path is malformed.
    """
    for name, path in (("root", root), ("run_dir", run_dir)):
        if "\0" in str(path) or not str(path):
            raise InvalidArgument(f"{name}: invalid path {str(path)!r}", field=name)
    try:
        # Nobody but root looks into scratch directories, logs and sockets.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = root.resolve(strict=True)
        lock = _lock(root)
    except OSError as error:
        raise _unusable(root, error) from error
    try:
        engine_id = _engine_id(root)
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        run_dir = run_dir.resolve(strict=True)
        own = run_dir / engine_id
        # Members of the group may reach the socket in it; everything else in it is root's.
        own.mkdir(mode=0o711, exist_ok=True)
        own.chmod(0o711)
        for folder in (own / "keepers", root / "logs", root / "scratch", root / "containers"):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        os.close(lock)
        raise _unusable(Path(error.filename or root), error) from error
    except ArdockError:
        os.close(lock)
        raise
    return Folders(root, own, engine_id, (str(root), str(run_dir)), lock)


def _unusable(path: Path, error: OSError) -> ArdockError:
    text = f"{path}: {error.strerror or error}"
    return NotPermitted(text) if isinstance(error, PermissionError) else FolderUnusable(text)


def _lock(root: Path) -> int:
    """Take the lock: flock, which ends with the last process that has the descriptor, however that ends."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        owner = _try_lock(fd)
        # An owner that is dead may have a keeper under way: the descriptor of the lock goes with that one's execve.
        deadline = time.monotonic() + _PATIENCE
        while owner is not None and not Path(f"/proc/{owner}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
            owner = _try_lock(fd)
    except OSError:
        os.close(fd)
        raise
    if owner is not None:
        os.close(fd)
        who = f"process {owner}" if owner else "another process"
        raise EngineLocked(f"{root}: {who} owns this root folder; use another --root beside it", owner=owner)
    # Who owns it, for the error above; the lock itself does not rest on it.
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
    return fd


def _try_lock(fd: int) -> int | None:
    """None where the lock is ours now; else its owner's process id, 0 where that cannot be read."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else 0
    return None


def _engine_id(root: Path) -> str:
    """The id that this root folder has had since it was made."""
    path = root / "engine-id"
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        text = secrets.token_hex(4)
        # Whole or not at all: a crash in between leaves only the temporary file.
        temporary = root / "engine-id.new"
        with temporary.open("w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    if not _ENGINE_ID.match(text):
        raise FolderUnusable(f"{path}: damaged: 8 hexadecimal digits are expected, not {text[:40]!r}")
    return text
