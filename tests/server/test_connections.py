"""Connections that misbehave: each bounded, told why, and nobody else's trouble."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ardock.model.errors import Conflict, InvalidArgument, NotPermitted
from ardock.protocol import frames
from ardock.protocol.session import MAX_FRAME
from ardock.server import connection as connections
from ardock.server import peers, serve, serving
from ardock.server import server as server_module
from ardock.server.connection import MOST_WAITING
from tests.server.client import Client, connected, encode
from tests.server.fake import FakeEngine, as_any

# --- garbage ---


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP is not spoken on this socket"),
        (b"\x93\x02\xa5bogus\x90", "there is no notification 'bogus'"),
        (b"\x94\x01\x00\xc0\xc0", "a reply goes the other way"),
        (frames.notification("error", {"code": "x", "message": "y"}), "a failed goes the other way"),
        (frames.call(1, "containers.wait", encode({"ref": "a"})) * 2, "call 1 is under way already"),
        (b"\x94\x00\x01\xa1x\xc6" + (MAX_FRAME + 1).to_bytes(4, "big"), str(MAX_FRAME)),
    ],
)
async def test_garbage_ends_its_own_connection_with_a_clear_error(
    path: Path, client: Client, data: bytes, text: str
) -> None:
    async with connected(path) as bad:
        await bad.send(data)
        failed = await bad.until_end()
    assert failed is not None
    assert failed.code == "malformed_request"
    assert text in failed.message
    assert (await client.call("engine.version"))["protocol"] == 1


async def test_answers_that_were_ready_come_before_the_reason(path: Path) -> None:
    async with connected(path) as bad:
        number = await bad.begin("engine.version")
        await bad.result(number)
        number = await bad.begin("containers.wait", ref="x")
        await bad.send(b"\x00")
        assert (await bad.until_end()) is not None
        assert number not in bad.got


async def test_random_bytes_never_harm_the_server(path: Path, client: Client) -> None:
    # hypothesis runs synchronous functions: the sockets are blocking ones in another thread.
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
    def attack(pieces: list[bytes], well_begun: bool) -> None:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(os.fspath(path))
            raw.settimeout(10)
            try:
                if well_begun:
                    raw.sendall(frames.call(1, "containers.list", b"\x80"))
                for piece in pieces:
                    raw.sendall(piece)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass  # closed by the server in the middle

    await trio.to_thread.run_sync(attack)
    assert (await client.call("engine.version"))["protocol"] == 1


async def test_a_call_that_is_cut_off_is_no_call(path: Path, engine: FakeEngine, client: Client) -> None:
    whole = frames.call(0, "containers.start", encode({"ref": "x"}))
    for length in range(len(whole)):
        async with connected(path) as cut:
            await cut.send(whole[:length])
    await client.call("engine.version")
    assert engine.told == []


# --- slow and still clients ---


async def test_a_message_must_be_whole_in_time(path: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FRAME_TIME", 0.2)
    async with connected(path) as loris:
        whole = frames.call(0, "containers.start", encode({"ref": "x" * 200}))
        failed = None
        for byte in whole:
            try:
                await loris.send(bytes((byte,)))
            except trio.BrokenResourceError:
                break
            await trio.sleep(0.01)
        failed = await loris.until_end()
    assert failed is not None
    assert "is not whole" in failed.message
    # One that sends nothing may stay as long as it likes, and so may one whose messages come in two pieces.
    await trio.sleep(0.3)
    version = frames.call(client.session.request("engine.version", b"\x80"), "engine.version", b"\x80")
    client.session.outgoing()
    for byte in version:
        await client.send(bytes((byte,)))
    assert (await client.result(0))["protocol"] == 1


async def test_a_client_that_never_reads_is_no_longer_read(path: Path, client: Client) -> None:
    async with connected(path) as still:
        request = b"".join(frames.call(n, "no." + "x" * 60, b"\x80") for n in range(1000))
        sent = 0
        with trio.move_on_after(5) as scope:
            while True:
                with trio.move_on_after(0.5) as blocked:
                    await still.send(request)
                if blocked.cancelled_caught:
                    break
                sent += len(request)
        assert not scope.cancelled_caught, "it was read for ever"
        # Some 120 bytes of answer for each of 80; the sockets' own buffers come on top.
        assert sent < 2 * MOST_WAITING
        assert (await client.call("engine.version"))["protocol"] == 1


async def test_streams_to_a_client_that_never_reads_are_bounded(path: Path, engine: FakeEngine, client: Client) -> None:
    engine.events.add(400, size=1000)
    async with connected(path) as still:
        for _ in range(200):
            await still.begin("events.subscribe", since=["00000000", 0])
        await client.call("engine.version")
        await trio.testing.wait_all_tasks_blocked(0.05)
        taken = sum(subscription.taken for subscription in engine.events.subscriptions) * 1000
        # 200 windows would be 50 MiB.
        assert taken < 1.5 * MOST_WAITING
    assert (await client.call("engine.version"))["protocol"] == 1


async def test_a_client_that_closes_one_direction_is_gone(path: Path, engine: FakeEngine) -> None:
    async with connected(path) as half:
        await half.begin("containers.wait", ref="x")
        await half.call("engine.version")
        await half.stream.send_eof()
        await engine.until_told("no longer waits for x")
    async with connected(path) as half:
        half.stream.socket.shutdown(socket.SHUT_RD)
        await half.begin("containers.wait", ref="y")
        await half.begin("engine.version")
        await engine.until_told("no longer waits for y")


async def test_calls_of_one_connection_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CALLS", 3)
    for n in range(3):
        await client.begin("containers.wait", ref=str(n))
    assert (await client.error("engine.version")).code == "capacity_exceeded"
    client.session.cancel(0)
    await client.flush()
    await client.reply(0)
    assert (await client.call("engine.version"))["protocol"] == 1


async def test_connections_are_bounded(path: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 2)
    await client.call("engine.version")
    async with connected(path) as second:
        await second.call("engine.version")
        async with connected(path) as third:
            failed = await third.until_end()
        assert failed is not None
        assert failed.code == "capacity_exceeded"
    await trio.testing.wait_all_tasks_blocked()
    async with connected(path) as again:
        assert (await again.call("engine.version"))["protocol"] == 1


async def test_disconnects_in_the_middle_leave_nothing(path: Path, engine: FakeEngine, client: Client) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        async with connected(path) as brief:
            await brief.begin("containers.wait", ref="x")
            await brief.begin("containers.spawn", spec={"argv": ["cat"], "stdin_open": True})
            await brief.begin("containers.logs", ref="one", query={"follow": True})
            await brief.begin("events.subscribe")
            await brief.begin("containers.run", spec={"argv": ["hang", "h"]})
            await brief.call("engine.version")
    await client.call("engine.version")
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert engine.told.count("no longer waits for x") == 50
    assert engine.told.count("kill spawned") == 50
    assert engine.told.count("log closed") == 50
    assert engine.told.count("abandon h may_return=False") == 50


# --- who may ---

STRANGER = """
import os, socket, sys
path, uid, gid, groups = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [int(n) for n in sys.argv[4].split(",") if n]
os.setgroups(groups); os.setgid(gid); os.setuid(uid)
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(path)
except PermissionError:
    print("not by the file's mode")
    sys.exit()
client.sendall(b"\\x94\\x00\\x00\\xaeengine.version\\x80")
data = b""
while not data.endswith(b"pid") and b"\\xa3pid" not in data:
    piece = client.recv(65536)
    if not piece:
        break
    data += piece
print("answered" if b"0123abcd" in data else data)
"""
UID, GID, GROUP = 54321, 54322, 54323


async def stranger(path: Path, *, gid: int = GID, groups: tuple[int, ...] = ()) -> str:
    """What somebody else than root gets."""
    words = [sys.executable, "-c", STRANGER, os.fspath(path), str(UID), str(gid), ",".join(map(str, groups))]
    done = await trio.run_process(words, capture_stdout=True)
    return done.stdout.decode()


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody may look into, as a test's own is not."""
    monkeypatch.setattr(peers, "group_id", lambda name: GROUP if name == "some" else None)
    with tempfile.TemporaryDirectory(prefix="ardock-test-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.root
async def test_only_root_and_the_group_may(engine: FakeEngine, reachable: Path) -> None:
    engine.run_dir = reachable
    async with serving(as_any(engine), group="some") as path:
        found = path.stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (GROUP, 0o660)
        assert await stranger(path) == "not by the file's mode\n"
        assert await stranger(path, gid=GROUP) == "answered\n"
        assert await stranger(path, groups=(GROUP,)) == "answered\n"
        many = tuple(range(60000, 60400))
        assert await stranger(path, groups=(*many, GROUP)) == "answered\n"
        # Where the file's mode lets them through (somebody changed it), the kernel's word on who they are decides.
        path.chmod(0o666)
        assert "not_permitted" in await stranger(path)
        assert "not_permitted" in await stranger(path, groups=many)
        async with connected(path) as root:
            assert (await root.call("engine.version"))["protocol"] == 1
    async with serving(as_any(engine), group="none such") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o666)
        assert "only root may" in await stranger(path, groups=(GROUP,))


def test_a_group_is_looked_up_by_name() -> None:
    assert peers.group_id("root") == 0
    assert peers.group_id("no-such-group-here") is None
    assert peers.group_id(None) is None
    with pytest.raises(NotPermitted, match="user 5 may not"):
        peers.check(peers.Peer(1, 5, frozenset((7,))), 8)
    peers.check(peers.Peer(1, 5, frozenset((7,))), 7)


# --- sockets ---


async def test_a_socket_that_is_left_over_is_replaced_and_a_live_one_is_not(tmp_path: Path, engine: FakeEngine) -> None:
    path = tmp_path / "x" / "y.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(os.fspath(path))
    async with serving(as_any(engine), paths=[path], group=None):
        async with connected(path) as client:
            await client.call("engine.version")
        with pytest.raises(Conflict, match="another process listens there"):
            async with serving(as_any(engine), own=False, paths=[path], group=None):
                pass
        async with connected(path) as client:
            await client.call("engine.version")
    assert list(path.parent.iterdir()) == []


async def test_what_is_no_socket_is_not_replaced(tmp_path: Path, engine: FakeEngine) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(Conflict, match="no socket"):
        async with serving(as_any(engine), paths=[path], group=None):
            pass
    assert path.read_text() == "data"
    with pytest.raises(InvalidArgument):
        async with serving(as_any(engine), paths=["relative"], group=None):
            pass


async def test_a_successors_socket_is_not_removed(engine: FakeEngine) -> None:
    async with serving(as_any(engine), group=None) as path:
        async with serving(as_any(engine), group=None):
            pass
        # The second one took the place of the first, and went.
        assert not path.exists()
        path.write_text("another's")
    assert path.read_text() == "another's"


async def test_a_path_that_is_too_long_for_a_sockets_name(tmp_path: Path, engine: FakeEngine) -> None:
    engine.run_dir = tmp_path / ("d" * 120)
    async with serving(as_any(engine), group=None) as path:
        folder = os.open(path.parent, os.O_PATH)
        try:
            async with connected(Path(f"/proc/self/fd/{folder}/{path.name}")) as client:
                assert (await client.call("engine.version"))["protocol"] == 1
        finally:
            os.close(folder)


async def test_sockets_of_somebody_else_are_served_and_left(tmp_path: Path, engine: FakeEngine) -> None:
    path = tmp_path / "given.sock"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(os.fspath(path))
        given.listen()
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, as_any(engine), [given])
            async with connected(path) as client:
                assert (await client.call("engine.version"))["protocol"] == 1
            nursery.cancel_scope.cancel()
        assert path.exists()
        assert given.fileno() >= 0
