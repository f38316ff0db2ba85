"""Raw mode is undone on every way out, and by the guard where we cannot."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from ardock.cli.terminal import Attributes, Raw, _stty_form, raw_attributes, window_size
from tests.cli.driver import until

RAW = "import os, sys, time; from ardock.cli.terminal import Raw; raw = Raw(0); raw.__enter__(); print('raw', flush=True); "


@pytest.fixture
def terminal() -> Iterator[int]:
    """The inner side of a terminal."""
    outer, inner = pty.openpty()
    yield inner
    os.close(inner)
    os.close(outer)


def attributes(descriptor: int) -> Attributes:
    return termios.tcgetattr(descriptor)


def started(terminal: int, code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", RAW + code], stdin=terminal, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"raw\n"
    process.stdout.close()
    return process


def test_raw_mode_is_cfmakeraw(terminal: int) -> None:
    import tty

    before = attributes(terminal)
    ours = raw_attributes(before)
    tty.setraw(terminal)
    theirs = attributes(terminal)
    # Python's clears less than cfmakeraw(3) does: what it clears, we clear.
    for index in (0, 1, 3):
        mine, reference = ours[index], theirs[index]
        assert isinstance(mine, int)
        assert isinstance(reference, int)
        assert mine & ~reference == 0
    assert ours[3] == before[3] & ~(  # type: ignore[operator]
        termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
    )
    assert attributes(terminal) != before


def test_leaving_restores(terminal: int) -> None:
    before = attributes(terminal)
    with Raw(terminal) as raw:
        assert attributes(terminal) != before
        raw.restore()
        assert attributes(terminal) == before
        raw.restore()
    assert attributes(terminal) == before


def test_an_exception_restores(terminal: int) -> None:
    before = attributes(terminal)
    with pytest.raises(ZeroDivisionError), Raw(terminal):
        _ = 1 // 0
    assert attributes(terminal) == before


needs_stty = pytest.mark.skipif(shutil.which("stty") is None, reason="no stty, so there is no guard")


@needs_stty
def test_the_guard_reads_and_writes_modes_as_stty_does(terminal: int) -> None:
    def stty() -> str:
        return subprocess.run(["stty", "-g"], stdin=terminal, capture_output=True, text=True, check=True).stdout.strip()

    assert _stty_form(attributes(terminal)) == stty()
    termios.tcsetattr(terminal, termios.TCSANOW, raw_attributes(attributes(terminal)))
    assert _stty_form(attributes(terminal)) == stty()


@needs_stty
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_the_guard_restores_where_we_were_killed(terminal: int, number: signal.Signals) -> None:
    before = attributes(terminal)
    process = started(terminal, "time.sleep(60)")
    assert attributes(terminal) != before
    os.kill(process.pid, number)
    process.wait()
    until(lambda: attributes(terminal) == before, "the guard has restored the terminal")


@needs_stty
def test_the_guard_restores_where_the_interpreter_ends_without_a_word(terminal: int) -> None:
    before = attributes(terminal)
    started(terminal, "os._exit(3)").wait()
    until(lambda: attributes(terminal) == before, "the guard has restored the terminal")


@needs_stty
def test_the_guard_leaves_a_terminal_alone_that_somebody_has_set_up_since(terminal: int) -> None:
    """By the time the guard acts, the person's shell may have set up its line editor."""
    process = started(terminal, "time.sleep(60)")
    editor = attributes(terminal)
    lflag = editor[3]
    assert isinstance(lflag, int)
    editor[3] = lflag | termios.ISIG
    termios.tcsetattr(terminal, termios.TCSANOW, editor)
    process.kill()
    process.wait()
    time.sleep(0.5)
    assert attributes(terminal) == editor


@needs_stty
def test_the_guard_ends_with_us_and_holds_nothing_of_ours(terminal: int) -> None:
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", RAW + "raw.restore()"], stdin=terminal, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    assert process.wait(10) == 0
    assert os.read(ours, 100) == b"", "nobody holds the other end of our stderr"
    os.close(ours)


def test_the_size_of_what_is_no_terminal_is_nothing(terminal: int) -> None:
    termios.tcsetwinsize(terminal, (33, 111))
    assert window_size(terminal) == (33, 111)
    with open(os.devnull) as nothing:
        assert window_size(nothing.fileno()) == (0, 0)
