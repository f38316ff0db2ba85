"""What a service manager and its service say to each other: sockets handed over, readiness. Without one, nothing is said."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

from ardock.model.errors import InvalidArgument

# sd_listen_fds(3): the first descriptor that is handed over.
_FIRST: Final = 3


def inherited_sockets(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that we were started with (``LISTEN_FDS``), owned from now on.

    The variables are removed: they are meant for this process alone, and so are the sockets, which are no longer inherited.

    Raises:
        InvalidArgument: What was handed over is no listening unix socket.
    """
    process = environment.pop("LISTEN_PID", "")
    number = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()):
        return []  # for somebody else, who left it to us by mistake
    if not number.isdecimal():
        raise InvalidArgument(f"LISTEN_FDS: a number is expected, not {number!r}")
    found: list[socket.socket] = []
    try:
        for descriptor in range(_FIRST, _FIRST + int(number)):
            os.set_inheritable(descriptor, False)
            found.append(_listening(descriptor))
    except OSError as error:
        _close(found)
        raise InvalidArgument(f"LISTEN_FDS={number}: descriptor {_FIRST + len(found)}: {error.strerror}") from error
    except InvalidArgument:
        _close(found)
        raise
    return found


def _listening(descriptor: int) -> socket.socket:
    found = socket.socket(fileno=descriptor)
    wanted = (socket.AF_UNIX, socket.SOCK_STREAM)
    if (found.family, found.type) != wanted or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.detach()
        raise InvalidArgument(f"LISTEN_FDS: descriptor {descriptor} is no listening unix socket")
    return found


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


class Notifier:
    """Tells the service manager how we are; sd_notify(3) without the library."""

    def __init__(self, address: str = "") -> None:
        """`address` of its socket, an ``@`` first for an abstract one; empty where there is no manager."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """By ``NOTIFY_SOCKET``, which is removed: what we start is not to speak for us."""
        return cls(environment.pop("NOTIFY_SOCKET", ""))

    def tell(self, *states: str) -> None:
        """Send states such as ``READY=1``. A manager that does not listen is no reason to fail."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(states).encode(), self._address)
