"""Docker's question before something is removed."""

from __future__ import annotations

import os

from ardock.cli.several import write


def agreed(warning: str) -> bool:
    """Ask; no answer is a no."""
    write([warning])
    os.write(1, b"Are you sure you want to continue? [y/N] ")
    answer = b""
    while not answer.endswith(b"\n") and (data := os.read(0, 1)):
        answer += data
    return answer.strip().lower() in {b"y", b"yes"}
