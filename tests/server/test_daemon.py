"""`ardock daemon` as a process: sockets, readiness, logs, and what becomes of containers when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ardock.client.blocking import Client
from ardock.daemon import logs
from ardock.daemon.systemd import Notifier, inherited_sockets
from ardock.model.errors import InvalidArgument
from ardock.model.spec import ContainerSpec
from ardock.protocol import methods as m
from tests.engine import leftovers

ARDOCK = str(Path(sys.executable).with_name("ardock"))

pytestmark = pytest.mark.root


# What a service manager does: the socket is descriptor 3 of the process that LISTEN_PID names.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def daemon_of(folder: Path) -> list[str]:
    return [ARDOCK, "--root", str(folder / "root"), "--run-dir", str(folder / "run"), "daemon"]


class Daemon:
    """A daemon of this test's own folder, and a client of it."""

    def __init__(
        self,
        folder: Path,
        *words: str,
        environment: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        before: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self.log = folder / "log"
        command = [*daemon_of(folder), "--log-format", "json", *words]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                pass_fds=pass_fds,
                preexec_fn=before,  # noqa: PLW1509 - this process has one thread
            )
        self.socket = self.until_serving()

    def until_serving(self) -> Path:
        """Wait until it says where it serves."""
        while True:
            for line in reversed(self.lines()):
                if line["msg"] == "serving" and line["pid"] == self.process.pid:
                    return Path(str(line["socket"]))
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]

    @property
    def engine_id(self) -> str:
        return self.socket.parent.name

    def client(self, path: Path | None = None) -> Client:
        return Client.connect(os.fspath(path or self.socket))

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path; whatever runs in the end is removed with the folder's engine."""
    with tempfile.TemporaryDirectory(prefix="ardock-d-") as name:
        path = Path(name)
        yield path
        if (path / "root/engine-id").exists():
            daemon = Daemon(path)
            client = daemon.client()
            for each in client.call(m.LIST, m.ListContainers(all=True)).containers:
                client.call(m.REMOVE, m.Remove(ref=each.id, force=True))
            client.close()
            assert daemon.end() == 0
            assert leftovers.container_groups(daemon.engine_id) == []


@pytest.fixture
def spec(busybox_root: Path) -> Callable[..., ContainerSpec]:
    def make(*argv: str, name: str | None = None) -> ContainerSpec:
        return ContainerSpec(argv=argv, rootfs=str(busybox_root), name=name)

    return make


def test_containers_go_on_when_the_daemon_ends(folder: Path, spec: Callable[..., ContainerSpec]) -> None:
    """By SIGTERM and by SIGINT in good order, by SIGKILL at once: the next one has the same containers."""
    daemon = Daemon(folder)
    client = daemon.client()
    client.call(m.CREATE, m.Create(spec=spec("sleep", "1000", name="steady")))
    client.call(m.START, m.Ref(ref="steady"))
    pid = client.call(m.INSPECT, m.Ref(ref="steady")).pid
    cursor = client.call(m.CURSOR, m.NoParams())
    client.close()
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)):
        assert daemon.end(number) == code
        assert daemon.socket.exists() == (number == signal.SIGKILL)
        daemon = Daemon(folder)
        client = daemon.client()
        found = client.call(m.INSPECT, m.Ref(ref="steady"))
        assert (found.status, found.pid) == ("running", pid)
        assert client.call(m.CURSOR, m.NoParams()).epoch == cursor.epoch
        client.close()
    client = daemon.client()
    client.call(m.KILL, m.Kill(ref="steady"))
    assert client.call(m.WAIT, m.Wait(ref="steady")).exit_code == 137
    client.close()
    assert daemon.end() == 0


def test_the_daemons_whole_control_group_may_be_killed(folder: Path, spec: Callable[..., ContainerSpec]) -> None:
    """As a service manager without KillMode=process would do: neither container nor keeper is in the daemon's group."""
    group = control_group(f"ardock-test-{os.getpid()}")
    try:

        def join() -> None:
            (group / "cgroup.procs").write_text("0")

        daemon = Daemon(folder, before=join)
        client = daemon.client()
        for name in ("one", "two"):
            client.call(m.CREATE, m.Create(spec=spec("sleep", "1000", name=name)))
            client.call(m.START, m.Ref(ref=name))
        client.close()
        members = [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
        assert members == [daemon.process.pid]
        for pid in members:
            os.kill(pid, signal.SIGKILL)
        daemon.process.wait(30)
        daemon = Daemon(folder, before=join)
        client = daemon.client()
        listing = client.call(m.LIST, m.ListContainers())
        assert sorted(each.name for each in listing.containers) == ["one", "two"]
        client.close()
        assert daemon.end() == 0
    finally:
        group.rmdir()


def control_group(name: str) -> Path:
    """A new control group that ardock knows nothing of."""
    for place in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        path = Path(place)
        if (path / "cgroup.procs").exists():
            (path / name).mkdir()
            return path / name
    pytest.skip("no cgroup hierarchy is mounted at /sys/fs/cgroup")


def test_sockets_readiness_and_logs(folder: Path) -> None:
    extra = folder / "x" / "extra.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(folder / "notify"))
        manager.settimeout(30)
        daemon = Daemon(folder, "-H", f"unix://{extra}", environment={"NOTIFY_SOCKET": os.fspath(folder / "notify")})
        assert manager.recv(4096).startswith(b"READY=1\n")
        for path in (daemon.socket, extra):
            client = daemon.client(path)
            assert client.call(m.VERSION, m.NoParams()).pid == daemon.process.pid
            client.close()
        # It takes as many clients as it says, whatever the limit it was started with.
        limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
        soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
        assert soft == hard
        assert daemon.end() == 0
        assert manager.recv(4096) == b"STOPPING=1"
    assert not extra.exists()
    assert [line["msg"] for line in daemon.lines()] == ["ways on this kernel", "serving", "told to end", "ended"]
    assert all({"time", "level", "msg"} <= line.keys() for line in daemon.lines())


def test_a_socket_that_was_handed_over_is_served_and_stays(folder: Path) -> None:
    path = folder / "given.sock"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(os.fspath(path))
        given.listen()
        words = [sys.executable, "-c", HAND_OVER, str(given.fileno()), *daemon_of(folder)]
        process = subprocess.Popen(words, pass_fds=(given.fileno(),), stderr=subprocess.DEVNULL)
        client = Client.connect(os.fspath(path))
        assert client.call(m.VERSION, m.NoParams()).pid == process.pid
        client.close()
        process.terminate()
        assert process.wait(30) == 0
        assert path.exists()


def test_a_second_daemon_says_who_owns_the_folder(folder: Path) -> None:
    daemon = Daemon(folder)
    words = daemon_of(folder)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert f"process {daemon.process.pid} owns this root folder" in done.stderr
    assert daemon.end() == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-H", "tcp://0.0.0.0:1"], "tcp:// is not supported yet"),
        (["-H", "unix://relative"], "give unix:///PATH"),
        (["--log-format", "xml"], "give text or json"),
        (["extra"], "daemon accepts no arguments: extra"),
    ],
)
def test_bad_flags_are_named(words: list[str], text: str) -> None:
    done = subprocess.run([ARDOCK, "daemon", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert text in done.stderr


# --- parts ---


def test_inherited_sockets_are_for_the_process_that_is_named() -> None:
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
    assert inherited_sockets(environment) == []
    assert environment == {}
    assert inherited_sockets({}) == []
    with pytest.raises(InvalidArgument, match="a number is expected"):
        inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"})


def test_a_manager_that_does_not_listen_is_no_error(tmp_path: Path) -> None:
    Notifier("").tell("READY=1")
    Notifier(os.fspath(tmp_path / "nobody")).tell("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"ardock-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        environment = {"NOTIFY_SOCKET": f"@{name}"}
        Notifier.from_environment(environment).tell("READY=1", "STATUS=x")
        assert manager.recv(100) == b"READY=1\nSTATUS=x"
        assert environment == {}


def test_a_line_of_the_log_is_one_line() -> None:
    import logging

    record = logging.LogRecord("ardock", logging.WARNING, "", 0, "an %s", ("event",), None)
    record.fields = {"path": "/a/b", "error": 'two\nlines "quoted"', "n": 5}
    record.created = 0.5
    assert logs.Text().format(record) == (
        'time=1970-01-01T00:00:00.500000Z level=warn msg="an event" path=/a/b error="two\\nlines \\"quoted\\"" n=5'
    )
    assert json.loads(logs.Json().format(record)) == {
        "time": "1970-01-01T00:00:00.500000Z", "level": "warn", "msg": "an event", "path": "/a/b",
        "error": 'two\nlines "quoted"', "n": 5,
    }  # fmt: skip
