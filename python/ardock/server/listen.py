"""Unix sockets at paths: made whole, replaced and removed only where they are ours."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ardock.model.errors import ArdockError, Conflict, FolderUnusable, InvalidArgument, NotPermitted

# Connections that wait to be taken: a thousand clients may come at once.
_BACKLOG: Final = 1024
# unix(7): sun_path is 108 bytes with the NUL at its end.
_MOST_SUN_PATH: Final = 107


class Listener:
    """A listening socket and its file.

    Attributes:
        path: The file.
        socket: It.
    """

    def __init__(self, path: Path, listener: socket.socket) -> None:
        """Made by `listen_at` alone."""
        self.path = path
        self.socket = listener
        found = path.lstat()
        self._file: tuple[int, int] | None = (found.st_dev, found.st_ino)

    def __repr__(self) -> str:
        """Where."""
        return f"<Listener at {self.path}>"

    def remove(self) -> None:
        """Remove the file if it is still this socket's; nobody new comes."""
        if self._file is None:
            return
        # Another owner may have come after us.
        with suppress(FileNotFoundError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._file:
                self.path.unlink()
        self._file = None

    def close(self) -> None:
        """Remove the file and close the socket."""
        self.remove()
        self.socket.close()


def listen_at(path: Path, group: int | None, *, replace: bool = False) -> Listener:
    """A listening socket at `path`: mode 0660 and of `group`, or 0600 without one.

    Args:
        path: Absolute. Its folder is made where missing.
        group: Members of this group may connect.
        replace: Whatever is there is left over, and replaced. Else a socket that somebody listens on is not.

    Raises:
        InvalidArgument: The path is not absolute.
        Conflict: Somebody listens there, or something else than a socket is there.
        NotPermitted: We may not.
        FolderUnusable: It cannot be made for another reason.
    """
    if not path.is_absolute() or "\0" in str(path):
        raise InvalidArgument(f"socket: an absolute path is expected, not {str(path)!r}", field="host")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    # Made aside, given its owner and mode, and put in place at once: nobody sees it half made, and one that is left over is
    # replaced without a moment in which there is none.
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not replace:
            _refuse_taken(path)
        aside.unlink(missing_ok=True)
        with _address(aside) as name:
            listener.bind(name)
        aside.chmod(0o600)
        if group is not None:
            os.chown(aside, -1, group)
            aside.chmod(0o660)
        listener.listen(_BACKLOG)
        aside.rename(path)
        return Listener(path, listener)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        listener.close()
        raise _unusable(path, error) from error
    except ArdockError:
        listener.close()
        raise


def _refuse_taken(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path}: something that is no socket is there")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    with probe:
        try:
            with _address(path) as name:
                probe.connect(name)
        except BlockingIOError:
            pass  # its queue is full
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                return  # left over
            raise
    raise Conflict(f"{path}: another process listens there")


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """What to bind or connect to: the path, or where that is too long for a socket's name, one through /proc."""
    if len(os.fsencode(path)) <= _MOST_SUN_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _unusable(path: Path, error: OSError) -> ArdockError:
    text = f"{path}: {error.strerror or error}"
    return NotPermitted(text) if isinstance(error, PermissionError) else FolderUnusable(text)
