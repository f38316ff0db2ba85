"""Signals of `ardock run`: passed on, and three Ctrl-C for a program that ignores them."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.cli.driver import Ardock

pytestmark = pytest.mark.root

# A shell as PID 1 that handles a signal; the read makes it wake at once.
TRAP = "trap 'echo got {name}; exit {code}' {name}; echo ready; while :; do sleep 0.1; done"
# A program without any handler: `sh -c` itself has one for SIGINT.
DEAF = ("sh", "-c", "echo ready; exec sleep 1000")


def ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGINT, "INT"),
        (signal.SIGTERM, "TERM"),
        (signal.SIGHUP, "HUP"),
        (signal.SIGQUIT, "QUIT"),
        (signal.SIGUSR1, "USR1"),
        (signal.SIGUSR2, "USR2"),
    ],
)
def test_a_signal_reaches_the_program(ardock: Ardock, number: signal.Signals, name: str) -> None:
    with ardock.start("sh", "-c", TRAP.format(name=name, code=9)) as process:
        ready(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (9, f"got {name}\n".encode(), b"")


def test_a_program_that_handles_sigint_gets_every_one(ardock: Ardock) -> None:
    program = "n=0; trap 'n=$((n+1)); echo $n; test $n -lt 5 || exit 0' INT; echo ready; while :; do sleep 0.05; done"
    with ardock.start("sh", "-c", program) as process:
        ready(process)
        assert process.stdout is not None
        for count in range(1, 6):
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == f"{count}\n".encode()
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def line_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_where_pid_1_ignores_it_the_second_stops_and_the_third_kills(ardock: Ardock, number: signal.Signals) -> None:
    with ardock.start("--stop-timeout", "60", *DEAF) as process:
        ready(process)
        process.send_signal(number)
        first = line_of(process)
        assert first.startswith(f"ardock: the program ignores {number.name} ")
        assert "to stop it, and a third time to kill it" in first
        assert process.poll() is None
        process.send_signal(number)
        assert line_of(process).startswith("ardock: stopping the container (SIGTERM, then SIGKILL after 60 seconds)")
        time.sleep(0.3)
        assert process.poll() is None, "the grace time is 60 seconds"
        process.send_signal(number)
        assert process.wait(5) == 137


def test_the_grace_time_ends_with_a_kill(ardock: Ardock) -> None:
    with ardock.start("--stop-timeout", "1", *DEAF) as process:
        ready(process)
        process.send_signal(signal.SIGINT)
        line_of(process)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 137
        assert 0.8 < time.monotonic() - begun < 3


def test_the_stop_signal_is_the_one_asked_for(ardock: Ardock) -> None:
    with ardock.start("--stop-signal", "USR1", "sh", "-c", TRAP.format(name="USR1", code=4)) as process:
        ready(process)
        process.send_signal(signal.SIGTERM)
        line_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 4


def test_without_proxy_a_signal_ends_us_and_the_container(ardock: Ardock) -> None:
    with ardock.start("--sig-proxy=false", "sh", "-c", TRAP.format(name="TERM", code=9)) as process:
        ready(process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
        assert (process.returncode, out) == (143, b"")


def test_a_timeout_stops_the_container_and_gives_137(ardock: Ardock) -> None:
    begun = time.monotonic()
    done = ardock.run("--timeout", "0.5", "sh", "-c", TRAP.format(name="TERM", code=0))
    assert time.monotonic() - begun < 5
    assert done.returncode == 137
    assert done.stdout == b"ready\ngot TERM\n", "it was stopped by its stop signal, and could tidy up"
    assert done.stderr.startswith(b"ardock: the container ran into its --timeout of 0.5 seconds")


def test_a_timeout_kills_what_ignores_the_stop_signal(ardock: Ardock) -> None:
    begun = time.monotonic()
    done = ardock.run("--timeout", "0.5", "--stop-timeout", "1", *DEAF)
    assert done.returncode == 137
    assert time.monotonic() - begun < 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_leaves_no_traceback(ardock: Ardock, number: signal.Signals) -> None:
    """From the interpreter's start to the container's: the delays walk through all of it."""
    for delay in range(12):
        process = subprocess.Popen(
            ardock.run_words("--stop-timeout", "1", *DEAF), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(delay * 0.02)
        # Three are enough, but on a busy machine one that comes before the last is taken is lost in it.
        deadline = time.monotonic() + 15
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(number)
            time.sleep(0.1)
        _, err = process.communicate(timeout=15)
        # Before our first line runs, the interpreter itself reports SIGINT.
        if b"Traceback" in err and b"ardock/cli" not in err and number == signal.SIGINT:
            continue
        assert b"Traceback" not in err, err.decode()
        assert process.returncode in {-number, 128 + number, 137}


def test_a_writer_that_nobody_reads_can_be_ended(ardock: Ardock) -> None:
    """The container has ended, its output has not: the next signal ends us."""
    out, into = os.pipe()
    try:
        with open(into, "wb", buffering=0) as stdout:
            with ardock.start("sh", "-c", "head -c 300000 /dev/zero & sleep 0.3; kill -9 $$", stdout=stdout) as process:
                time.sleep(1.5)
                process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
                process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
                process.send_signal(signal.SIGTERM)
                assert process.wait(5) in {137, 143}
    finally:
        os.close(out)
