"""Messages to packets: bounded, in order, descriptors numbered through the packet."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.engine.keepers.outbox import Outbox, Packet
from ardock.model.errors import InvalidArgument
from ardock.model.messages import MAX_FDS, MAX_PACKET

OPEN = msgspec.msgpack.encode({"t": "x", "fds": (0, 0)})[:-2]


def drain(outbox: Outbox) -> list[Packet]:
    packets = []
    while outbox.next_packet() is not None:
        packets.append(outbox.sent())
    return packets


def test_one_tick_is_one_packet() -> None:
    outbox = Outbox()
    assert not outbox
    for number in range(20):
        outbox.add(msgspec.msgpack.encode(number))
    assert outbox
    (packet,) = drain(outbox)
    assert msgspec.msgpack.decode(packet.data) == list(range(20))
    assert not outbox


def test_descriptors_are_numbered_through_the_packet() -> None:
    outbox = Outbox()
    outbox.add_with_fds(OPEN, (10, 11))
    outbox.add_with_fds(OPEN, ())
    outbox.add_with_fds(OPEN, (12,), owned=False)
    (packet,) = drain(outbox)
    assert [message["fds"] for message in msgspec.msgpack.decode(packet.data)] == [[0, 2], [0, 0], [2, 1]]
    assert packet.fds == [10, 11, 12]
    assert packet.owned == [10, 11]


def test_a_message_too_long_for_a_packet_travels_alone() -> None:
    outbox = Outbox()
    outbox.add(msgspec.msgpack.encode(1))
    outbox.add_with_fds(msgspec.msgpack.encode({"t": b"x" * 100_000, "fds": (0, 0)})[:-2], (5,))
    outbox.add(msgspec.msgpack.encode(2))
    first, second, third = drain(outbox)
    assert msgspec.msgpack.decode(first.data) == [1]
    assert len(second.data) > MAX_PACKET
    assert second.fds == [5]
    assert msgspec.msgpack.decode(third.data) == [2]


def test_too_many_descriptors_or_too_long_a_message_is_refused_by_name() -> None:
    outbox = Outbox()
    with pytest.raises(InvalidArgument, match="fewer mounts"):
        outbox.add_with_fds(OPEN, range(MAX_FDS))
    with pytest.raises(InvalidArgument, match="arguments and environment"):
        outbox.add_with_fds(b"x" * (16 << 20), ())
    assert not outbox


@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 40)), max_size=60))
def test_whatever_is_queued_comes_out_whole_in_order_and_within_bounds(sizes: list[tuple[int, int]]) -> None:
    outbox = Outbox()
    for number, (size, fds) in enumerate(sizes):
        message = msgspec.msgpack.encode({"n": number, "x": b"x" * size, "fds": (0, 0)})[:-2]
        outbox.add_with_fds(message, [number] * fds)
    numbers = []
    for packet in drain(outbox):
        assert len(packet.data) <= MAX_PACKET
        assert len(packet.fds) <= MAX_FDS
        for message in msgspec.msgpack.decode(packet.data):
            first, count = message["fds"]
            assert packet.fds[first : first + count] == [message["n"]] * sizes[message["n"]][1]
            numbers.append(message["n"])
    assert numbers == list(range(len(sizes)))
