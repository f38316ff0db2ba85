"""Time as the registry client sees it, in one place so that tests need not wait."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable

import msgspec
import trio


class Pace(msgspec.Struct, frozen=True):
    """Waiting and clocks.

    Attributes:
        sleep: Waits that many seconds.
        clock: Seconds of a clock that never steps: what the life of tokens is measured by.
        wall: Seconds since 1970: what dates in headers are held against.
        jitter: A random number of 0 to 1.
    """

    sleep: Callable[[float], Awaitable[None]] = trio.sleep
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    # Not for secrets: it keeps clients from coming back all at once.
    jitter: Callable[[], float] = random.random
