"""Both ends without I/O: what one sends the other gets, and garbage is one error and nothing else."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.model.errors import ArdockError, InvalidArgument, MalformedRequest, ProtocolViolation
from ardock.protocol import frames
from ardock.protocol.methods import ErrorInfo
from ardock.protocol.session import (
    CHUNK,
    MAX_FRAME,
    WINDOW,
    Bytes,
    Cancel,
    ClientSession,
    Credit,
    End,
    Failed,
    Items,
    ItemsEnd,
    Message,
    Reply,
    Request,
    ServerSession,
)
from tests.protocol.strategies import encode, errors, messages, pieces, values

decode = msgspec.msgpack.decode


FAULTS = (MalformedRequest, ProtocolViolation)


def ends() -> tuple[ClientSession, ServerSession]:
    return ClientSession(), ServerSession()


def opened() -> tuple[ClientSession, ServerSession, int]:
    """Both ends with a call under way."""
    client, server = ends()
    number = client.request("containers.spawn", encode({}))
    server.feed(client.outgoing())
    return client, server, number


# --- there and back ---


@given(st.text(max_size=64), values, values, errors, st.lists(st.integers(0, 10_000), max_size=6))
def test_a_call_and_its_answer_arrive_however_they_are_cut(
    method: str, params: object, result: object, error: ErrorInfo, cuts: list[int]
) -> None:
    client, server = ends()
    first = client.request(method, encode(params))
    second = client.request(method, encode(params))
    got = [message for piece in pieces(client.outgoing(), cuts) for message in server.feed(piece)]
    assert [(m.id, m.method) for m in got if isinstance(m, Request)] == [(first, method), (second, method)]
    assert all(decode(m.params) == params for m in got if isinstance(m, Request))
    server.reply(first, encode(result))
    server.fail(second, error)
    answers = [message for piece in pieces(server.outgoing(), cuts) for message in client.feed(piece)]
    assert len(answers) == 2
    good, bad = answers
    assert isinstance(good, Reply)
    assert (good.id, good.error, decode(good.result)) == (first, None, result)
    assert isinstance(bad, Reply)
    assert (bad.id, bad.error) == (second, error)
    assert (client.calls, server.calls, client.pending, server.pending) == (0, 0, 0, 0)


@given(st.binary(max_size=1000), st.lists(values, max_size=5))
def test_streams_go_both_ways(data: bytes, records: list[object]) -> None:
    client, server, number = opened()
    for sender, receiver in ((client, server), (server, client)):
        sender.send_bytes(number, 1, data)
        sender.send_end(number, 1)
        sender.send_items(number, [encode(record) for record in records])
        sender.send_items_end(number)
        got = receiver.feed(sender.outgoing())
        assert b"".join(m.data for m in got if isinstance(m, Bytes)) == data
        assert [decode(raw) for m in got if isinstance(m, Items) for raw in m.items] == records
        assert End(number, 1) in got
        assert ItemsEnd(number) in got


def test_an_empty_batch_says_that_the_call_was_accepted() -> None:
    client, server, number = opened()
    server.send_items(number, ())
    assert client.feed(server.outgoing()) == [Items(number, [])]


def test_cancel_and_the_connections_own_error() -> None:
    client, server, number = opened()
    client.cancel(number)
    assert server.feed(client.outgoing()) == [Cancel(number)]
    server.close(ErrorInfo(code="not_permitted", message="no"))
    assert client.feed(server.outgoing()) == [Failed(ErrorInfo(code="not_permitted", message="no"))]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 255, 65_535, 65_536])
def test_batches_of_every_length_have_the_right_head(count: int) -> None:
    client, server, number = opened()
    server.send_encoded(number, count, b"\x01" * count)
    (batch,) = client.feed(server.outgoing())
    assert isinstance(batch, Items)
    assert len(batch.items) == count


def test_long_output_is_cut() -> None:
    client, server, number = opened()
    server.send_bytes(number, 1, bytes(WINDOW))
    assert [len(m.data) for m in client.feed(server.outgoing()) if isinstance(m, Bytes)] == [CHUNK] * (WINDOW // CHUNK)


def test_a_request_that_is_too_long_is_refused_here() -> None:
    client, server = ends()
    with pytest.raises(InvalidArgument, match="the most"):
        client.request("containers.run", encode(bytes(MAX_FRAME)))
    assert client.outgoing() == b""
    number = client.request("x", encode(bytes(MAX_FRAME - 100)))
    assert [m.id for m in server.feed(client.outgoing()) if isinstance(m, Request)] == [number]


# --- credit ---


def test_the_window_is_what_may_be_under_way() -> None:
    client, server, number = opened()
    assert server.room(number) == WINDOW
    server.send_bytes(number, 1, bytes(WINDOW - 10))
    assert server.room(number) == 10
    client.feed(server.outgoing())
    assert not client.consumed(number, 100)
    assert client.consumed(number, WINDOW // 2)
    assert server.feed(client.outgoing()) == [Credit(number, WINDOW // 2 + 100)]
    assert server.room(number) == WINDOW // 2 + 110


@given(st.lists(st.integers(1, 100_000), max_size=60))
def test_a_sender_that_waits_for_room_is_never_stuck_nor_too_early(sizes: list[int]) -> None:
    """Whatever the sizes: the receiver never finds too much, and all arrives while the receiver consumes."""
    client, server, number = opened()
    waiting = list(sizes)
    got = 0
    while waiting:
        sent = False
        while waiting and server.room(number) > 0:
            server.send_items(number, [b"\xc6" + waiting[0].to_bytes(4, "big") + bytes(waiting[0])])
            waiting.pop(0)
            sent = True
        assert sent, "stuck"
        for message in client.feed(server.outgoing()):
            assert isinstance(message, Items)
            for raw in message.items:
                got += len(raw) - 5
                client.consumed(number, len(raw))
        server.feed(client.outgoing())
    assert got == sum(sizes)


def test_who_sends_without_credit_breaks_the_rules() -> None:
    client, server, number = opened()
    client.send_bytes(number, 0, bytes(WINDOW))
    server.feed(client.outgoing())
    client.send_bytes(number, 0, b"x")
    with pytest.raises(MalformedRequest, match="without credit"):
        server.feed(client.outgoing())
    client, server, number = opened()
    server.send_bytes(number, 1, b"123")
    with pytest.raises(MalformedRequest, match="credit for 5 bytes, and 3 are under way"):
        server.feed(frames.notification("credit", number, 5))


# --- late and wrong ---


def test_what_is_late_is_left_out() -> None:
    client, server, number = opened()
    client.send_bytes(number, 0, b"x")
    client.send_items(number, [encode(1)])
    client.send_end(number, 0)
    client.send_items_end(number)
    client.cancel(number)
    server.reply(number, encode({}))
    late = client.outgoing()
    assert server.feed(late) == []
    server.send_bytes(number, 1, b"x")
    server.send_items(number, [encode(1)])
    server.send_end(number, 1)
    assert not server.consumed(number, 100)
    assert server.room(number) == 0
    assert [type(message) for message in client.feed(server.outgoing())] == [Reply]
    server.reply(number, encode({}))  # a second answer
    assert server.outgoing() == b""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (frames.answer(0, b"\xc0"), "a reply goes the other way"),
        (frames.call(7, "x", b"\xc0") * 2, "call 7 is under way already"),
        (b"\x94\x03\x00\x00\x00", "a message begins with 0 (a call), 1 (an answer) or 2 (a notification), not with 3"),
        (b"\x94\x00\xcf" + b"\xff" * 8 + b"\xa1x\xc0", "expected int <= 4294967295"),
        (b"\x94\x00\xff\xa1x\xc0", "expected int >= 0"),
        (b"\x94\x00\x00\x05\xc0", "expected str, got int"),
        (frames.call(1, "x" * 65, b"\xc0"), "expected str of length <= 64"),
        (b"\x94\x00\x00\xa1\xff\xc0", "utf-8"),
        (frames.notification("bytes", 1, 3, b""), "expected int <= 2"),
        (frames.notification("bytes", 1, 0), "expected array of length 3"),
        (frames.notification("no such"), "there is no notification 'no such'"),
        (b"\x93\x00\x00\xa1x", "expected array of length 4"),
        (b"\x94\xa1x\x00\x00\x00", "expected int, got str"),
    ],
)
def test_each_fault_has_its_sentence(data: bytes, text: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        ServerSession().feed(data)
    assert caught.value.message.startswith("no message of the protocol: ")
    assert text in caught.value.message
    assert not caught.value.message.endswith(".")


def test_an_answer_that_nobody_asked_for_is_the_engines_fault() -> None:
    with pytest.raises(ProtocolViolation, match="which is not under way"):
        ClientSession().feed(frames.answer(5, b"\xc0"))
    with pytest.raises(ProtocolViolation, match="goes the other way"):
        ClientSession().feed(frames.call(5, "x", b"\xc0"))


def test_numbers_that_are_encoded_longer_than_need_be_are_read() -> None:
    (request,) = ServerSession().feed(b"\x94\xcc\x00\xcd\x00\x07\xd9\x01x\x80")
    assert isinstance(request, Request)
    assert (request.id, request.method, bytes(request.params)) == (7, "x", b"\x80")


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
def test_random_bytes_are_an_error_or_nothing(data: bytes, cuts: list[int]) -> None:
    for session in ends():
        with suppress(*FAULTS):
            for piece in pieces(data, cuts):
                session.feed(piece)


@given(st.lists(messages, max_size=6), st.lists(st.integers(0, 3000), max_size=4), st.integers(0, 3))
def test_well_formed_messages_in_any_order_are_taken_or_refused(
    parts: list[bytes], cuts: list[int], calls: int
) -> None:
    client, server = ends()
    for _ in range(calls):
        client.request("containers.spawn", encode({}))
    server.feed(client.outgoing())
    for session in (client, server):
        got: list[Message] = []
        with suppress(*FAULTS):
            for piece in pieces(b"".join(parts), cuts):
                got += session.feed(piece)
        # A call among them is under way from then on.
        known = {*range(calls), *(m.id for m in got if isinstance(m, Request))}
        assert all(m.id in known for m in got if isinstance(m, Bytes | Items | End | ItemsEnd | Cancel))


@given(messages, st.integers(0, 5000))
def test_a_truncated_message_is_none_yet(data: bytes, cut: int) -> None:
    session = ServerSession()
    try:
        whole = len(ServerSession().feed(data))
    except ArdockError:
        return
    cut %= len(data)
    assert session.feed(data[:cut]) == []
    assert session.pending == cut
    assert len(session.feed(data[cut:])) == whole


def test_too_deep_and_too_long_are_refused_before_they_are_stored() -> None:
    with pytest.raises(MalformedRequest, match="64"):
        ServerSession().feed(b"\x94\x00\x00\xa1x" + b"\x91" * 100)
    session = ServerSession()
    with pytest.raises(MalformedRequest, match=str(MAX_FRAME)):
        session.feed(b"\x94\x00\x00\xa1x\xc6" + (MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(MalformedRequest):  # and for good
        session.feed(frames.call(1, "x", b"\x80"))
