"""Standard streams of `ardock run`: exact bytes, back-pressure, early ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.driver import Ardock, shell_line, until

pytestmark = pytest.mark.root


def shell(line: str, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", line], capture_output=True, timeout=timeout, check=False)


def test_both_outputs_arrive_on_their_own_streams(ardock: Ardock) -> None:
    done = ardock.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_standard_input_is_empty_without_i(ardock: Ardock) -> None:
    done = ardock.run("cat", stdin=b"not for the container")
    assert (done.returncode, done.stdout) == (0, b"")


def test_standard_input_is_passed_on_exactly_with_i(ardock: Ardock) -> None:
    data = bytes(range(256)) * 1000 + b"no newline at the end"
    done = ardock.run("-i", "cat", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")


def test_empty_input_ends_at_once(ardock: Ardock) -> None:
    assert ardock.run("-i", "cat", stdin=b"").stdout == b""


@pytest.mark.timeout(120)
def test_a_hundred_megabytes_go_there_and_back_with_a_slow_reader(ardock: Ardock, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 100
    source = tmp_path / "data"
    source.write_bytes(data)
    digest = hashlib.sha256()
    with source.open("rb") as stdin, ardock.start("-i", "cat", stdin=stdin) as process:
        assert process.stdout is not None
        time.sleep(0.5)  # Nobody reads: all pipes fill, and nothing is lost or held in memory.
        count = 0
        while chunk := process.stdout.read(300_007):
            digest.update(chunk)
            count += 1
            if count % 50 == 0:
                time.sleep(0.05)
        assert process.wait(10) == 0
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()


def test_a_reader_that_stops_for_a_while_bounds_our_memory(ardock: Ardock) -> None:
    with ardock.start("sh", "-c", "head -c 50000000 /dev/zero") as process:
        assert process.stdout is not None
        process.stdout.read(1)
        time.sleep(0.5)
        resident = next(
            int(line.split()[1])
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if "VmHWM" in line
        )
        assert resident < 100_000, "kB"
        assert len(process.stdout.read()) == 50_000_000 - 1


def test_a_container_may_close_its_input_early(ardock: Ardock) -> None:
    done = shell(f"yes | {shell_line(ardock.run_words('-i', 'sh', '-c', 'exec 0<&-; echo closed; exit 7'))}")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"closed\n", b"")


def test_a_container_that_ignores_its_input_ends_all_the_same(ardock: Ardock) -> None:
    """Our own input stays open and silent: nobody waits for it."""
    with ardock.start("-i", "sh", "-c", "exit 3", stdin=subprocess.PIPE) as process:
        assert process.wait(10) == 3


def test_our_reader_may_leave_early(ardock: Ardock) -> None:
    done = shell(f"{shell_line(ardock.run_words('yes'))} | head -n 1; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.splitlines()[0] == b"y"
    assert done.stderr == b""
    assert int(done.stdout.splitlines()[1]) in {1, 141}


def test_output_that_cannot_be_written_is_an_error_and_ends_the_container(ardock: Ardock) -> None:
    with open("/dev/full", "wb", buffering=0) as full, ardock.start("yes", stdout=full) as process:
        _, err = process.communicate(timeout=10)
    assert process.returncode == 125
    assert err == b"ardock: cannot write the container's output to standard output: No space left on device\n"


def test_output_before_the_exit_is_complete_though_a_grandchild_holds_the_pipe(ardock: Ardock) -> None:
    begun = time.monotonic()
    done = ardock.run("--pid", "host", "sh", "-c", "sleep 5 & head -c 1000000 /dev/zero; exit 4")
    assert done.returncode == 4
    assert len(done.stdout) == 1_000_000
    assert time.monotonic() - begun < 4


def test_closed_standard_streams_are_no_trap(ardock: Ardock) -> None:
    line = shell_line(ardock.run_words("-i", "sh", "-c", "echo out; echo err >&2; cat; exit 5"))
    assert shell(f"{line} <&- >&-").returncode == 5
    assert shell(f"{line} <&- >&- 2>&-").returncode == 5


def test_the_flags_of_our_streams_are_left_alone(ardock: Ardock) -> None:
    """They are shared with the shell: non-blocking mode would break its next command."""
    ours, theirs = os.pipe()
    out, into = os.pipe()
    try:
        before = fcntl.fcntl(ours, fcntl.F_GETFL), fcntl.fcntl(into, fcntl.F_GETFL)
        with (
            open(ours, "rb", buffering=0, closefd=False) as stdin,
            open(into, "wb", buffering=0, closefd=False) as stdout,
        ):
            with ardock.start("-i", "cat", stdin=stdin, stdout=stdout) as process:
                os.write(theirs, b"hello")
                assert os.read(out, 100) == b"hello"
                during = fcntl.fcntl(ours, fcntl.F_GETFL), fcntl.fcntl(into, fcntl.F_GETFL)
                os.close(theirs)
                assert process.wait(10) == 0
        after = fcntl.fcntl(ours, fcntl.F_GETFL), fcntl.fcntl(into, fcntl.F_GETFL)
    finally:
        os.close(ours)
        os.close(out)
        os.close(into)
    assert during == before
    assert after == before


def test_streams_that_somebody_made_non_blocking_work_all_the_same(ardock: Ardock) -> None:
    ours, theirs = os.pipe()
    out, into = os.pipe()
    os.set_blocking(ours, False)
    os.set_blocking(into, False)
    data = os.urandom(1_000_000)
    with open(ours, "rb", buffering=0) as stdin, open(into, "wb", buffering=0) as stdout, open(out, "rb") as reader:
        with ardock.start("-i", "cat", stdin=stdin, stdout=stdout) as process:
            stdin.close()
            stdout.close()
            writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=theirs)
            os.close(theirs)
            assert writer.stdin is not None
            time.sleep(0.3)
            # `cat` writes while we read, or both pipes would fill.
            if os.fork() == 0:
                writer.stdin.write(data)
                writer.stdin.close()
                os._exit(0)
            writer.stdin.close()
            assert reader.read() == data
            assert process.wait(10) == 0
            writer.wait(10)
            os.wait()


def test_attach_chooses_the_streams(ardock: Ardock) -> None:
    both = ("sh", "-c", "echo out; echo err >&2")
    assert ardock.run("-a", "stdout", *both).stderr == b""
    assert ardock.run("-a", "stdout", *both).stdout == b"out\n"
    assert ardock.run("-a", "STDERR", *both).stdout == b""
    assert ardock.run("-a", "stderr", *both).stderr == b"err\n"
    # What is not attached is read all the same: the program does not wait for a reader.
    assert ardock.run("-a", "stderr", "sh", "-c", "head -c 1000000 /dev/zero; echo done >&2").stderr == b"done\n"


def test_a_terminal_without_i_is_read_only(ardock: Ardock) -> None:
    done = ardock.run("-t", "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo terminal")
    assert (done.returncode, done.stdout) == (0, b"terminal\r\n")


def test_it_without_a_terminal_is_refused_in_dockers_words(ardock: Ardock) -> None:
    done = ardock.run("-it", "true", stdin=b"")
    assert done.returncode == 125
    assert done.stderr.startswith(b"ardock: the input device is not a TTY")


def test_the_last_words_of_a_terminal_are_not_lost(ardock: Ardock) -> None:
    for _ in range(10):
        done = ardock.run("-t", "sh", "-c", "seq 1 2000")
        assert done.stdout.split() == [str(number).encode() for number in range(1, 2001)]


def test_many_at_a_time_on_one_root_folder(ardock: Ardock) -> None:
    processes = [
        subprocess.Popen(ardock.run_words("sh", "-c", f"sleep 0.5; echo {number}"), stdout=subprocess.PIPE)
        for number in range(6)
    ]
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert outputs == [f"{number}\n".encode() for number in range(6)]
    assert [process.returncode for process in processes] == [0] * 6
    until(lambda: all(process.poll() is not None for process in processes), "all ended")
