"""Where an engine's socket is, and how one connects to it."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ardock.model.errors import ArdockError, DaemonUnavailable, InvalidArgument, NotPermitted, Unsupported

DEFAULT_ROOT: Final = "/var/lib/ardock"
DEFAULT_RUN_DIR: Final = "/run/ardock"
# Where `ardock daemon` listens besides its engine's own folder.
WELL_KNOWN: Final = "/run/ardock/ardock.sock"
SOCKET_NAME: Final = "ardock.sock"
HOST_VARIABLE: Final = "ARDOCK_HOST"

_ENGINE_ID: Final = re.compile(r"^[0-9a-f]{8}$")
# unix(7): sun_path is 108 bytes with the NUL at its end.
_MOST_SUN_PATH: Final = 107


def find_socket(
    url: str | None = None,
    *,
    root: str | None = None,
    run_dir: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The path of the socket that is meant; whether anybody listens there is another matter.

    Args:
        url: ``unix://PATH`` or an absolute path: that one. None (or empty): what `environment` names in ``ARDOCK_HOST``, unless
            `root` or `run_dir` is given, which is closer to the caller than the environment.
        root: The root folder of the engine that is meant; None is the default one.
        run_dir: Its run folder; None is the default one.
        environment: None is the process's own.

    The socket of the engine that owns (or owned) `root` comes before the well-known one, which is the answer where `root` has
    no engine (or may not be looked into: only root may) and neither folder was given.

    Raises:
        Unsupported: A scheme other than ``unix``.
        InvalidArgument: A path that is not absolute.
    """
    if not url and root is None and run_dir is None:
        url = (os.environ if environment is None else environment).get(HOST_VARIABLE)
    if url:
        return socket_path(url)
    run = run_dir or DEFAULT_RUN_DIR
    engine_id = _engine_id(root or DEFAULT_ROOT)
    if engine_id:
        path = os.path.join(run, engine_id, SOCKET_NAME)  # noqa: PTH118 - pathlib takes a tenth of a small command's time
        if root is not None or run_dir is not None or os.path.exists(path):  # noqa: PTH110 - idem
            return path
    if root is not None or run_dir is not None:
        # A folder that no engine has had yet: a path at which nobody listens, and which says which folder was meant.
        return os.path.join(run, engine_id or "no-engine", SOCKET_NAME)  # noqa: PTH118 - idem
    return WELL_KNOWN


def socket_path(url: str) -> str:
    """The path that ``unix://PATH``, or a path, names.

    Raises:
        Unsupported: Another scheme.
        InvalidArgument: A path that is not absolute.
    """
    scheme, colon, rest = url.partition("://")
    if colon and scheme != "unix":
        raise Unsupported(f"host: {url!r}: only unix:// sockets are supported", option="host")
    path = rest if colon else url
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"host: {url!r} is not the absolute path of a socket", field="host")
    return path


def _engine_id(root: str) -> str | None:
    """The id in the root folder; None where there is none, or none that we may read."""
    try:
        with open(os.path.join(root, "engine-id"), encoding="ascii", errors="replace") as file:  # noqa: PTH118, PTH123 - as above
            text = file.read(64).strip()
    except OSError:
        return None
    return text if _ENGINE_ID.match(text) else None


@contextmanager
def address(path: str) -> Iterator[str]:
    """What to give to connect(2) for `path`: itself, or where that is too long for a socket's name, one through /proc.

    Raises:
        OSError: The folder of a long path cannot be opened.
    """
    if len(os.fsencode(path)) <= _MOST_SUN_PATH:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120 - as above
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"  # noqa: PTH119 - as above
    finally:
        os.close(folder)


def try_connect(path: str) -> socket.socket | None:
    """A connected, non-blocking socket; None where the listener's queue is full just now: try again in a moment.

    Raises:
        DaemonUnavailable: Nobody listens there.
        NotPermitted: We may not.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with address(path) as name:
            connection.connect(name)
    except BlockingIOError:
        # unix(7): EAGAIN is a full queue; there is no such thing as a connection in progress.
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise unreachable(path, error) from error
    return connection


def unreachable(path: str, error: OSError) -> ArdockError:
    """The error for a failed connect."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermitted(f"{path}: {error.strerror}: only root and members of the group ardock may use it")
    reason = "no such socket" if error.errno == errno.ENOENT else (error.strerror or str(error))
    return DaemonUnavailable(f"no engine answers at {path}: {reason}")
