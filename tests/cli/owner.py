"""An owner of a root folder that serves its socket, in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.driver import Ardock, until


@contextmanager
def owner(ardock: Ardock) -> Iterator[subprocess.Popen[bytes]]:
    """`ardock daemon` on the root folder; ended in good order, unless the caller has ended it."""
    process = subprocess.Popen(
        ardock.words("daemon"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        until(lambda: process.poll() is not None or _answers(ardock), "the daemon serves its socket")
        assert process.poll() is None, process.stderr.read() if process.stderr else b""
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def _answers(ardock: Ardock) -> bool:
    words = ardock.words("version", "--format", "{{.Server.Pid}}")
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0
