"""What a command can fail with, and the exit codes it fails with.

The codes are Docker's: 125 for the engine and the command line, 126 and 127 for
a program that cannot be run or found, 128 + n for a signal, and else whatever
the program itself returned.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ardock.model.errors import ArdockError

FAILED = 1  # What docker's other commands than run give for what the engine refuses.
ENGINE_FAILED = 125
CANNOT_RUN = 126
NOT_FOUND = 127
TIMED_OUT = 137


class CliError(Exception):
    """Something that the person at the command line has to know: one sentence.

    `exit_code` is what the command exits with.
    """

    def __init__(self, message: str, exit_code: int = ENGINE_FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class UsageError(CliError):
    """The command line itself is wrong: an unknown flag, a bad value."""


class Interrupted(BaseException):
    """A signal asked us to end while nothing was there that it could have been passed on to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = 128 + number


def printable(text: str) -> str:
    """The text with everything escaped that is no character to be seen.

    What a person typed, or what a file system holds, is shown back on a terminal,
    where it must not be able to move the cursor or forge a line.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def quoted(value: str) -> str:
    """The value between double quotes, as `printable` shows it."""
    return f'"{printable(value)}"'


def engine_error(error: Exception) -> ArdockError | None:
    """The error as one of the engine's, if it is one; nothing is imported for that."""
    module = sys.modules.get("ardock.model.errors")
    base = getattr(module, "ArdockError", None)
    return error if base is not None and isinstance(error, base) else None
