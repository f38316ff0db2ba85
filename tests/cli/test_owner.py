"""Commands without a daemon: the first is the owner, the others its clients; the owner ends, and they go on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.driver import Ardock, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

# Writes a line ten times a second and ends by SIGTERM with 7.
TICKER = "trap 'echo bye; exit 7' TERM; n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.1; done"


@contextmanager
def started(ardock: Ardock, *words: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(ardock.words(*words), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def run(ardock: Ardock, *words: str) -> str:
    """A command that has to succeed; its output."""
    done = subprocess.run(ardock.words(*words), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def owner_of(ardock: Ardock) -> int:
    """The process id in the root folder's lock."""
    text = (ardock.folder / "root" / "lock").read_text().strip()
    return int(text) if text else 0


def ended(ardock: Ardock, process: subprocess.Popen[bytes]) -> None:
    """End a process, and see that it was the owner."""
    assert owner_of(ardock) == process.pid
    process.kill()
    process.wait()


def test_a_detached_container_goes_on_without_any_command(ardock: Ardock) -> None:
    container = run(ardock, "run", "-d", "--rootfs", str(ardock.rootfs), "--name", "web", "sh", "-c", TICKER).strip()
    assert len(container) == 64
    assert run(ardock, "ps", "-q", "--no-trunc").split() == [container]
    until(lambda: "tick 5\n" in run(ardock, "logs", "web"), "it writes")
    assert run(ardock, "exec", "web", "cat", "/proc/1/comm").strip() == "sh"
    run(ardock, "stop", "web")
    assert json.loads(run(ardock, "inspect", "web"))[0]["State"]["ExitCode"] == 7
    log = run(ardock, "logs", "web").splitlines()
    assert log[-1] == "bye"
    assert log[:-1] == [f"tick {number}" for number in range(1, len(log))]
    run(ardock, "start", "web")
    assert run(ardock, "ps", "-q", "--no-trunc").split() == [container]


def test_commands_beside_a_foreground_run_that_is_the_owner(ardock: Ardock) -> None:
    with ardock.start("--name", "first", "sh", "-c", TICKER) as owner:
        assert line(owner) == b"tick 1\n"
        assert owner_of(ardock) == owner.pid
        assert "first" in run(ardock, "ps")
        assert run(ardock, "exec", "first", "echo", "hello") == "hello\n"
        with started(ardock, "logs", "-f", "first") as logs:
            assert line(logs) == b"tick 1\n"
            run(ardock, "stop", "first")
            assert owner.wait(10) == 7
            assert logs.wait(10) == 0
            assert logs.stdout is not None
            assert logs.stdout.read().endswith(b"bye\n")


def test_the_owner_is_killed_under_those_who_follow(ardock: Ardock) -> None:
    """The container, `logs -f`, `events`, `wait` and a second `run` go on; one of them is the next owner."""
    with ardock.start("--name", "first", "sh", "-c", TICKER) as owner:
        assert line(owner) == b"tick 1\n"
        with (
            started(ardock, "logs", "-f", "first") as logs,
            started(ardock, "events", "--since", "1", "--format", "json") as events,
            started(ardock, "wait", "first") as wait,
            ardock.start("--name", "second", "sh", "-c", TICKER) as second,
        ):
            assert line(logs) == b"tick 1\n"
            assert line(second) == b"tick 1\n"
            first_event = json.loads(line(events))
            ended(ardock, owner)
            seen = 1
            for _ in range(30):
                seen += 1
                assert line(logs) == f"tick {seen}\n".encode()
            for number in range(2, 31):
                assert line(second) == f"tick {number}\n".encode()
            assert owner_of(ardock) in {logs.pid, events.pid, wait.pid, second.pid}
            run(ardock, "stop", "first")
            assert wait.wait(15) == 0
            assert line(wait) == b"7\n"
            assert logs.wait(15) == 0
            run(ardock, "stop", "second")
            assert second.wait(15) == 7
            numbers = [first_event["seq"]]
            while True:
                event = json.loads(line(events))
                numbers.append(event["seq"])
                if event["Action"] == "die" and event["Actor"]["Attributes"]["name"] == "second":
                    break
            assert numbers == sorted(set(numbers)), "none twice, none out of order"


def test_a_run_whose_owner_is_killed_shows_every_byte_once_and_its_exit_code(ardock: Ardock) -> None:
    script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo out $i; echo err $i >&2; sleep 0.05; done; exit 9"
    with ardock.start("sleep", "1000") as owner:
        until(lambda: "sleep" in run(ardock, "ps"), "it runs")
        assert owner_of(ardock) == owner.pid
        with ardock.start("--name", "box", "sh", "-c", script) as process:
            assert line(process) == b"out 1\n"
            ended(ardock, owner)
            out, err = process.communicate(timeout=30)
            assert process.returncode == 9, err.decode()
            assert out.decode().splitlines() == [f"out {number}" for number in range(2, 41)]
            assert err.decode().splitlines() == [f"err {number}" for number in range(1, 41)]


def test_an_owner_that_ends_in_good_order_leaves_what_others_run(ardock: Ardock) -> None:
    with ardock.start("--rm", "sh", "-c", "echo ready; sleep 2; exit 3") as owner:
        assert line(owner) == b"ready\n"
        with ardock.start("--rm", "sh", "-c", "echo ready; sleep 4; echo done; exit 4") as second:
            assert line(second) == b"ready\n"
            assert owner_of(ardock) == owner.pid
            assert owner.wait(15) == 3
            assert line(second) == b"done\n"
            assert second.wait(15) == 4


def test_an_exec_whose_owner_ends_says_that_it_is_lost(ardock: Ardock) -> None:
    with ardock.start("--name", "box", "sh", "-c", TICKER) as owner:
        assert line(owner) == b"tick 1\n"
        with started(ardock, "exec", "box", "sh", "-c", "echo in; sleep 1000") as joined:
            assert line(joined) == b"in\n"
            ended(ardock, owner)
            _, err = joined.communicate(timeout=15)
            assert joined.returncode == 125
            assert err.startswith(b"ardock: the engine's owner ended in the middle of the exec")


def test_attach_shows_all_from_the_start_and_passes_signals_on(ardock: Ardock) -> None:
    run(ardock, "run", "-d", "--rootfs", str(ardock.rootfs), "--name", "box", "sh", "-c", TICKER)
    time.sleep(0.5)
    with started(ardock, "attach", "box") as process:
        for number in range(1, 10):
            assert line(process) == f"tick {number}\n".encode()
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.read().endswith(b"bye\n")
        assert process.wait(10) == 7


def test_a_stopped_container_is_started_attached(ardock: Ardock) -> None:
    run(
        ardock,
        "create",
        "-i",
        "--rootfs",
        str(ardock.rootfs),
        "--name",
        "box",
        "sh",
        "-c",
        "read a; echo got $a; exit 5",
    )
    for _ in range(2):
        process = subprocess.run(
            ardock.words("start", "-ai", "box"), input=b"word\n", capture_output=True, timeout=30, check=False
        )
        assert (process.returncode, process.stdout, process.stderr) == (5, b"got word\n", b"")


def test_rm_leaves_nothing_and_its_absence_everything(ardock: Ardock) -> None:
    kept = ardock.run("--name", "kept", "sh", "-c", "echo hello; exit 3")
    gone = ardock.run("--rm", "--name", "gone", "sh", "-c", "echo hello; exit 3")
    assert (kept.returncode, gone.returncode) == (3, 3)
    assert run(ardock, "ps", "-a", "--format", "{{.Names}}").split() == ["kept"]
    assert run(ardock, "logs", "kept") == "hello\n"


def test_a_killed_owner_leaves_its_container_running_and_the_next_command_has_it(ardock: Ardock) -> None:
    with ardock.start("--name", "box", "sh", "-c", TICKER) as owner:
        assert line(owner) == b"tick 1\n"
        ended(ardock, owner)
    assert run(ardock, "ps", "--format", "{{.Names}}").split() == ["box"]
    run(ardock, "stop", "box")
    assert "bye" in run(ardock, "logs", "box")
