"""Who is at the other end of a socket, and whether they may be: root, and members of one group."""

from __future__ import annotations

import ctypes
import errno
import grp
import os
import socket
import struct
from typing import Final, NamedTuple

from ardock.model.errors import NotPermitted

_CREDENTIALS: Final = struct.Struct("3i")
# <asm-generic/socket.h>; not in Python's socket module.
_SO_PEERGROUPS: Final = 59
# Python's getsockopt takes no larger buffer; a user may be in 65,536 groups (setgroups(2)).
_SMALL: Final = 1024
_MOST_GROUPS: Final = 65536


class Peer(NamedTuple):
    """The process that connected, as the kernel saw it then.

    Attributes:
        pid: Its process id; it may have ended since.
        uid: Its effective user.
        groups: Its effective group and its supplementary ones.
    """

    pid: int
    uid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """The peer of a unix socket.

    Raises:
        OSError: The socket is none.
    """
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return Peer(pid, uid, frozenset((gid, *_groups(connection))))


def check(peer: Peer, group: int | None) -> None:
    """Refuse who may not use the engine: whoever may has root's power on this machine.

    Args:
        peer: Who it is.
        group: Members of this group may, besides root and the engine's own user; None: nobody else.

    Raises:
        NotPermitted: They may not.
    """
    if peer.uid in (0, os.geteuid()) or (group is not None and group in peer.groups):
        return
    who = "root and members of the group that the engine's owner names" if group is not None else "root"
    raise NotPermitted(f"user {peer.uid} may not use this engine: only {who} may")


def group_id(name: str | None) -> int | None:
    """The group's id; None where there is no such group (or none is named)."""
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _SMALL)
    except OSError as error:
        if error.errno != errno.ERANGE:  # there are more
            raise
        data = _many_groups(connection)
    return struct.unpack(f"{len(data) // 4}I", data)


def _many_groups(connection: socket.socket) -> bytes:
    """`getsockopt` with a buffer for as many groups as there can be."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(4 * _MOST_GROUPS)
    size = ctypes.c_uint32(len(buffer))
    if libc.getsockopt(connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, buffer, ctypes.byref(size)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw[: size.value]
