"""The two clocks of the engine, in one place so that tests can step them."""

from __future__ import annotations

import time
from pathlib import Path


def now() -> int:
    """Wall clock, ns since 1970: what users are told. It may step; nothing is ordered or measured by it."""
    return time.time_ns()


def boottime() -> int:
    """CLOCK_BOOTTIME, ns: never steps; what durations are measured by, across processes of one boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
