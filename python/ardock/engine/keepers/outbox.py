"""Messages to packets, without I/O.

A packet is one MessagePack array of messages, 64 KiB and 64 descriptors at most. Messages wait here until the scheduler's
tick is over, so that all that was decided in one tick goes in as few packets as can be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from ardock.model.errors import InvalidArgument
from ardock.model.messages import MAX_FDS, MAX_PACKET, MAX_SEALED

# array16's header; a packet holds 4,096 messages at most, so a longer one is never needed.
_HEADER: Final = 3
_MOST_MESSAGES: Final = 4096


class Packet(NamedTuple):
    """What one send takes.

    Attributes:
        data: The array; a single message can be longer than a packet, and then travels in a sealed memfd.
        fds: The descriptors that go with it.
        owned: Those of them that are closed once it is sent (or dropped).
    """

    data: bytes
    fds: list[int]
    owned: list[int]


class Outbox:
    """Messages that wait to be sent, in order."""

    __slots__ = ("_bodies", "_fds", "_owned", "_ready", "_size")

    def __init__(self) -> None:
        """Start empty."""
        self._bodies: list[bytes] = []
        self._size = _HEADER
        self._fds: list[int] = []
        self._owned: list[int] = []
        self._ready: deque[Packet] = deque()

    def __bool__(self) -> bool:
        """Something waits."""
        return bool(self._bodies or self._ready)

    def add(self, message: bytes) -> None:
        """Queue a whole message that has no descriptors."""
        self._make_room(len(message), 0)
        self._bodies.append(message)
        self._size += len(message)

    def add_with_fds(self, message: bytes, fds: Sequence[int], *, owned: bool = True) -> None:
        """Queue a message whose last field is ``fds``.

        Args:
            message: It, without its last two bytes: the index of its first descriptor in the packet and their number
                (both below 128, so one byte each).
            fds: Its descriptors.
            owned: They are closed once it is sent.

        Raises:
            InvalidArgument: It is longer than a sealed memfd may be, or has too many descriptors. They are not closed.
        """
        length = len(message) + 2
        if len(fds) >= MAX_FDS:
            raise InvalidArgument(
                f"mounts: more than {MAX_FDS - 1} descriptors are needed: use fewer mounts", field="mounts"
            )
        if length + _HEADER > MAX_SEALED:
            raise InvalidArgument(f"argv: arguments and environment are longer than {MAX_SEALED} bytes", field="argv")
        self._make_room(length, len(fds))
        first = len(self._fds) if fds else 0
        self._bodies.append(message + bytes((first, len(fds))))
        self._size += length
        if fds:
            self._fds.extend(fds)
            if owned:
                self._owned.extend(fds)

    def next_packet(self) -> Packet | None:
        """The first packet that waits; it stays until `sent`."""
        if not self._ready:
            self._close_packet()
        return self._ready[0] if self._ready else None

    def sent(self) -> Packet:
        """Take the first packet out."""
        return self._ready.popleft()

    def take_all(self) -> list[Packet]:
        """Take everything out: the connection is gone."""
        self._close_packet()
        packets = list(self._ready)
        self._ready.clear()
        return packets

    def _make_room(self, length: int, fds: int) -> None:
        if self._bodies and (
            self._size + length > MAX_PACKET or len(self._fds) + fds > MAX_FDS or len(self._bodies) >= _MOST_MESSAGES
        ):
            self._close_packet()

    def _close_packet(self) -> None:
        if not self._bodies:
            return
        count = len(self._bodies)
        header = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
        data = header + b"".join(self._bodies)
        self._ready.append(Packet(data, self._fds, self._owned))
        self._bodies = []
        self._size = _HEADER
        self._fds = []
        self._owned = []
