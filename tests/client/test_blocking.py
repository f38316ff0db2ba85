"""The blocking client, against a peer that is this test itself: the other end of a socket pair."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from ardock.client.blocking import Client, Item
from ardock.model import errors
from ardock.model.logs import LogRecord
from ardock.model.records import ExitRecord
from ardock.model.spec import ContainerSpec
from ardock.protocol import image_methods, methods
from ardock.protocol.methods import Started
from ardock.protocol.session import Bytes, End

WINDOW = 256 << 10
EXIT = {"id": "c", "exit_code": 3}


class Peer:
    """The engine's end."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._unpacker = msgpack.Unpacker()

    def receive(self) -> list[Any]:
        while True:
            try:
                message: list[Any] = next(self._unpacker)
            except StopIteration:
                data = self.socket.recv(1 << 16)
                assert data, "the client has closed the connection"
                self._unpacker.feed(data)
            else:
                return message

    def send(self, *messages: list[object]) -> None:
        self.socket.sendall(b"".join(msgpack.packb(message) for message in messages))

    def reply(self, number: int, result: object) -> None:
        self.send([1, number, None, result])

    def fail(self, number: int, code: str, message: str = "no") -> None:
        self.send([1, number, {"code": code, "message": message}, None])


@pytest.fixture
def both() -> Iterator[tuple[Client, Peer]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    with Client(ours) as client, theirs:
        yield client, Peer(theirs)


Both = tuple[Client, Peer]


def test_a_call_and_its_answer(both: Both) -> None:
    client, peer = both
    call = client.begin(methods.WAIT, methods.Wait(ref="x", deadline=1.0))
    kind, number, method, params = peer.receive()
    assert (kind, method) == (0, "containers.wait")
    assert (params["ref"], params["deadline"]) == ("x", 1.0)
    assert not call.done
    peer.reply(number, EXIT)
    assert client.wait_for(call) == ExitRecord(id="c", exit_code=3)
    assert repr(client) == "<Client 0 calls>"


def test_calls_are_pipelined_and_answered_in_any_order(both: Both) -> None:
    client, peer = both
    calls = [client.begin(methods.INSPECT, methods.Ref(ref=str(index))) for index in range(10)]
    numbers = [peer.receive()[1] for _ in calls]
    for index in reversed(range(10)):
        peer.fail(numbers[index], "not_found", f"no such container: {index}")
    for index, call in enumerate(calls):
        with pytest.raises(errors.NotFound, match=f": {index}$"):
            client.wait_for(call)


def test_nothing_blocks_unless_asked_to(both: Both) -> None:
    """A peer that does not read: what the socket does not take is kept, and goes when it does."""
    client, peer = both
    client.feed()  # nothing is there
    sent = [client.begin(image_methods.IMAGE, image_methods.ImageRef(ref="x" * 100_000)) for _ in range(20)]
    too_much = client.unsent
    assert too_much
    got: list[int] = []
    reading = threading.Thread(target=lambda: got.extend(len(peer.receive()[3]["ref"]) for _ in sent))
    reading.start()
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    while client.unsent:
        assert poll.poll(10_000)
        client.flush()
    reading.join()
    assert got == [100_000] * 20


def test_streams_in_both_directions(both: Both) -> None:
    client, peer = both
    spec = ContainerSpec(argv=("cat",), rootfs="/", stdin_open=True)
    call = client.begin(methods.SPAWN, methods.Spawn(spec=spec))
    number = peer.receive()[1]
    peer.send([2, "items", [number, [{"id": "c", "pid": 5}]]], [2, "bytes", [number, 2, b"oops"]])
    client.feed()
    assert call.accepted
    record, output = call.take()
    assert isinstance(record, Item)
    assert record.record == Started(id="c", pid=5)
    assert output == Bytes(number, 2, b"oops")
    assert call.take() == []
    call.send_bytes(0, b"ping")
    call.end(0)
    assert peer.receive() == [2, "bytes", [number, 0, b"ping"]]
    assert peer.receive() == [2, "end", [number, 0]]
    call.cancel()
    assert peer.receive() == [2, "cancel", [number]]
    peer.send([2, "end", [number, 1]])
    peer.reply(number, EXIT)
    assert list(call.events()) == [End(number, 1)]
    assert call.result().exit_code == 3
    # What crosses the answer is dropped, as by a closed pipe.
    call.send_bytes(0, b"late")
    call.end(0)
    call.cancel()
    assert not client.unsent
    assert call.sendable == 0


def test_input_has_credit(both: Both) -> None:
    client, peer = both
    call = client.begin(methods.SPAWN, methods.Spawn(spec=ContainerSpec(argv=("cat",), rootfs="/")))
    number = peer.receive()[1]
    assert call.sendable == WINDOW
    call.send_bytes(0, b"x" * 200_000)
    assert call.sendable == WINDOW - 200_000
    while client.unsent or call.sendable < WINDOW:
        client.flush()
        peer.send([2, "credit", [number, len(peer.receive()[2][2])]])
        client.feed()


def test_credit_is_given_for_what_was_used_up(both: Both) -> None:
    client, peer = both
    call = client.begin(methods.ATTACH, methods.Attach(ref="x"))
    number = peer.receive()[1]
    chunk = b"x" * (64 << 10)
    for _ in range(4):
        peer.send([2, "bytes", [number, 1, chunk]])
        client.feed()
    assert len(call.take()) == 4
    peer.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.receive()
    call.consumed(100_000)
    assert peer.receive() == [2, "credit", [number, 100_000]]


def test_records_are_decoded(both: Both) -> None:
    client, peer = both
    call = client.begin(methods.LOGS, methods.Logs(ref="x"))
    number = peer.receive()[1]
    peer.send([2, "items", [number, []]])
    record = {"kind": "record", "time": 1, "stream": "stderr", "data": b"hi", "cursor": 2}
    peer.send([2, "items", [number, [record, record]]])
    peer.reply(number, {})
    records = [event.record for event in call.events() if isinstance(event, Item)]
    assert records == [LogRecord(time=1, stream="stderr", data=b"hi", cursor=2)] * 2


def test_the_blocking_call(both: Both) -> None:
    client, peer = both

    def serve() -> None:
        for index in range(3):
            number = peer.receive()[1]
            peer.reply(number, {"id": "c" * index, "name": "n"})

    thread = threading.Thread(target=serve)
    thread.start()
    for index in range(3):
        spec = ContainerSpec(argv=("x",), rootfs="/")
        assert client.call(methods.CREATE, methods.Create(spec=spec)).id == "c" * index
    thread.join()
    assert client.pump(0.01) is False


def test_greet_refuses_another_protocol(both: Both) -> None:
    client, peer = both
    peer.reply(0, {"version": "9", "protocol": methods.PROTOCOL + 1, "engine": "01234567", "pid": 1})
    with pytest.raises(errors.Unsupported, match=f"protocol {methods.PROTOCOL + 1}"):
        client.greet()
    peer.reply(1, {"version": "9", "protocol": methods.PROTOCOL, "engine": "01234567", "pid": 1})
    assert client.greet().engine == "01234567"


# --- what is wrong over there ---


def test_a_lost_connection_fails_what_is_under_way_and_what_comes_later(both: Both) -> None:
    client, peer = both
    done = client.begin(methods.WAIT, methods.Wait(ref="x"))
    under_way = client.begin(methods.WAIT, methods.Wait(ref="x"))
    peer.reply(peer.receive()[1], EXIT)
    half = msgpack.packb([1, peer.receive()[1], None, EXIT])[:-3]
    peer.socket.sendall(half)
    peer.socket.close()
    with pytest.raises(errors.ConnectionLost):
        client.wait_for(under_way)
    assert client.wait_for(done).exit_code == 3, "answered before"
    with pytest.raises(errors.ConnectionLost):
        under_way.result()
    with pytest.raises(errors.ConnectionLost):
        client.begin(methods.WAIT, methods.Wait(ref="x"))
    with pytest.raises(errors.ConnectionLost):
        client.feed()


def test_a_refusal_is_its_error(both: Both) -> None:
    client, peer = both
    call = client.begin(methods.INFO, methods.NoParams())
    peer.send([2, "error", [{"code": "not_permitted", "message": "only root"}]])
    peer.socket.close()
    with pytest.raises(errors.NotPermitted, match="only root"):
        client.wait_for(call)


def test_a_refusal_is_told_also_where_the_request_could_not_be_sent(both: Both) -> None:
    client, peer = both
    peer.send([2, "error", [{"code": "not_permitted", "message": "only root"}]])
    peer.socket.close()
    call = client.begin(methods.INFO, methods.NoParams())
    with pytest.raises(errors.NotPermitted, match="only root"):
        client.wait_for(call)


GARBAGE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    msgpack.packb([1, 77, None, {}]),
    msgpack.packb([0, 1, "x", {}]),
    msgpack.packb([2, "items", [0, [{"nosuch": 1}]]]),
    msgpack.packb([2, "credit", [0, 1 << 40]]),
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_a_clear_error(both: Both, garbage: bytes) -> None:
    client, peer = both
    call = client.begin(methods.SPAWN, methods.Spawn(spec=ContainerSpec(argv=("x",), rootfs="/")))
    call.send_bytes(0, b"x")
    peer.socket.sendall(garbage)
    with pytest.raises(errors.ProtocolViolation) as caught:
        client.wait_for(call)
    assert "\n" not in caught.value.message
    assert call.done


def test_a_result_of_another_shape(both: Both) -> None:
    client, peer = both
    peer.reply(0, {"nonsense": 1})
    with pytest.raises(errors.ProtocolViolation, match=r"containers\.wait"):
        client.call(methods.WAIT, methods.Wait(ref="x"))


def test_closed_it_says_so(both: Both) -> None:
    client, _ = both
    client.close()
    with pytest.raises(errors.EngineClosed):
        client.begin(methods.INFO, methods.NoParams())
    assert repr(client) == "<Client 0 calls, closed>"


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(errors.DaemonUnavailable):
        Client.connect(str(tmp_path / "x"))


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(0)
        with contextlib.ExitStack() as stack:

            def fill() -> None:
                for _ in range(100):
                    stack.enter_context(Client.connect(path, patience=0.05))

            with pytest.raises(errors.DaemonUnavailable, match="too many"):
                fill()


def test_it_loads_no_event_loop_and_no_engine() -> None:
    code = "import sys, ardock.client.blocking; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "ardock.client.blocking" in modules
    unwanted = {"trio", "anyio", "asyncio", "msgpack", "outcome", "attr", "ardock.engine", "ardock.server", "sqlite3",
                "subprocess", "logging", "click", "pathlib", "http", "email"}  # fmt: skip
    assert not unwanted & modules
