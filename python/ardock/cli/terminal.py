"""Our own terminal during `-it`: raw mode, and the certainty that it ends.

A terminal left in raw mode is a shell that neither echoes nor obeys Ctrl-C. Raw
mode is therefore undone three ways: on every way out of `Raw`, and, where this
process cannot do it any more (SIGKILL, a crash of the interpreter), by a guard:
a shell that waits on a pipe until we are gone. The guard is told when it is not
needed, and it changes nothing where the terminal is no longer in the mode that
we left it in: by then the person's own shell may have set up its line editor.
"""

from __future__ import annotations

import contextlib
import os
import termios
from types import TracebackType
from typing import Self

# Positions in the list that tcgetattr returns.
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _, _, _CC = range(7)

# Read a line: if one comes, all is well. If the pipe ends without one, our
# process is gone; put the terminal back, if it is still as that process left it.
# Descriptor 0 is the pipe, 2 the terminal at first.
_GUARD = """
exec 3<&2 2>/dev/null
trap '' HUP INT QUIT TERM TSTP TTIN TTOU
read -r _ && exit 0
[ "$(stty -g <&3)" = "$2" ] && stty "$1" <&3
"""

Attributes = list[int | list[bytes | int]]


def window_size(descriptor: int) -> tuple[int, int]:
    """Rows and columns of the terminal behind a descriptor; (0, 0) where it is none."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return 0, 0
    return size.lines, size.columns


def is_terminal(descriptor: int) -> bool:
    """Whether a terminal is behind the descriptor."""
    return os.isatty(descriptor)


def our_size() -> tuple[int, int]:
    """Of the terminal that output goes to, or else of the one that keys come from; (0, 0) where there is none."""
    size = window_size(1)
    return size if size != (0, 0) else window_size(0)


def raw_attributes(before: Attributes) -> Attributes:
    """The attributes for passing every byte on as it is: cfmakeraw(3), as Docker's CLI sets it."""
    after: Attributes = [field.copy() if isinstance(field, list) else field for field in before]

    def clear(index: int, bits: int) -> None:
        value = after[index]
        assert isinstance(value, int)
        after[index] = value & ~bits

    clear(
        _IFLAG,
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
        | termios.ICRNL | termios.IXON,
    )  # fmt: skip
    clear(_OFLAG, termios.OPOST)
    clear(_LFLAG, termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    clear(_CFLAG, termios.CSIZE | termios.PARENB)
    control, characters = after[_CFLAG], after[_CC]
    assert isinstance(control, int)
    assert isinstance(characters, list)
    after[_CFLAG] = control | termios.CS8
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return after


class Raw:
    """A terminal in raw mode for as long as the context lasts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before: Attributes = termios.tcgetattr(descriptor)
        self._guard = -1
        self._active = False

    def __enter__(self) -> Self:
        after = raw_attributes(self._before)
        self._guard = _start_guard(self._descriptor, self._before, after)
        self._active = True
        termios.tcsetattr(self._descriptor, termios.TCSANOW, after)
        return self

    def restore(self) -> None:
        """Put the terminal back. Safe to call again."""
        if not self._active:
            return
        self._active = False
        # The terminal may be gone, and with it every reason to complain. Not
        # TCSADRAIN: it waits for a reader that may have pressed Ctrl-S.
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)
        if self._guard >= 0:
            with contextlib.suppress(OSError):
                os.write(self._guard, b"\n")
            os.close(self._guard)
            self._guard = -1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()


def _start_guard(terminal: int, before: Attributes, after: Attributes) -> int:
    """Start the guard; the write end of its pipe, or -1 where this machine has no `sh` or `stty`.

    In a session of its own: signals for the terminal's foreground do not reach
    it, and a process may set a terminal that does not control it without being
    stopped by SIGTTOU.
    """
    if not any(os.access(f"{folder}/stty", os.X_OK) for folder in os.get_exec_path()):
        return -1
    waits, tells = os.pipe()
    try:
        os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _GUARD, "ardock-terminal-guard", _stty_form(before), _stty_form(after)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, terminal, 2),
                (os.POSIX_SPAWN_DUP2, waits, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
        )
    except (OSError, NotImplementedError):
        os.close(tells)
        return -1
    finally:
        os.close(waits)
    return tells


def _stty_form(attributes: Attributes) -> str:
    """Attributes as `stty -g` prints and takes them (GNU's and busybox's form)."""
    *flags, _, _, characters = attributes
    assert isinstance(characters, list)
    numbers = [character[0] if isinstance(character, bytes) else character for character in characters]
    return ":".join(f"{field:x}" for field in (*flags, *numbers) if isinstance(field, int))
