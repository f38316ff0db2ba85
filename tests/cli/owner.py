"""An owner of a root folder that serves its socket, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.driver import Ardock, until

OWNER = """
import sys, trio, signal
from ardock.engine import own_engine
from ardock.server import serving
async def main():
    async with own_engine(sys.argv[2], sys.argv[4]) as engine, serving(engine):
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
trio.run(main)
"""


@contextmanager
def owner(ardock: Ardock) -> Iterator[subprocess.Popen[bytes]]:
    """`ardock daemon` on the root folder; ended in good order, unless the caller has ended it."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, *ardock.options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
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
