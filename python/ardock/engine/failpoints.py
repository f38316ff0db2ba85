"""Named places at which a test lets the process die, as by ``kill -9``.

``ARDOCK_FAILPOINT=name:n`` in the environment makes the n-th passage (from 1) of the place `name` kill the process. Without it
a place costs one comparison.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

VARIABLE: Final = "ARDOCK_FAILPOINT"


class _Armed:
    """One place, and how often it is still passed unharmed."""

    __slots__ = ("_left", "_lock", "name")

    def __init__(self, name: str, passage: int) -> None:
        self.name = name
        self._left = passage
        self._lock = threading.Lock()  # commits pass in worker threads

    def passed(self) -> None:
        """Count, and die where it is time."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def parse(text: str) -> tuple[str, int]:
    """Name and passage that a value of the variable tells.

    Raises:
        ValueError: It is malformed; with a sentence that says so.
    """
    name, colon, passage = text.partition(":")
    if not name or (colon and not (passage.isdecimal() and int(passage) > 0)):
        raise ValueError(f"{VARIABLE}: {text!r} is not NAME:N with N from 1")
    return name, int(passage) if colon else 1


def _read() -> _Armed | None:
    text = os.environ.get(VARIABLE, "")
    return _Armed(*parse(text)) if text else None


_armed: Final = _read()


def reach(name: str) -> None:
    """Pass the place `name`; the process may die here."""
    if _armed is None:
        return
    if _armed.name == name:
        _armed.passed()
