"""When to try again, and after how long. Decisions alone: who waits is somewhere else.

Sources: RFC 9110, section 10.2.3 (``Retry-After``), and the custom of exponential backoff with jitter, without which clients
that were refused together come back together.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

# Too early, too many requests, and what a server or something before it answers while it starts, ends or is overloaded.
TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 20.0
# A server that wants to be left alone for longer is told to the user at once, who may have something better to do.
LONGEST_RETRY_AFTER: Final = 120.0
# Bytes beyond which a connection that breaks has been of use, so that the count of failures begins anew.
PROGRESS: Final = 256 << 10
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class Pause(msgspec.Struct, frozen=True):
    """Try again, after this many seconds."""

    seconds: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not try again.

    Attributes:
        reason: Why not, as the end of a sentence; empty where it was simply tried often enough.
    """

    reason: str = ""


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a ``Retry-After`` asks to wait: a number of them, or a date; None where it is missing or malformed.

    Args:
        value: The header.
        now: Wall clock, seconds since 1970.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    # With its package it takes longer to import than all of this client's modules, and dates are rare.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def decide(failures: int, attempts: int, asked: float | None, jitter: float) -> Pause | GiveUp:
    """What to do after a failure that may pass by itself.

    Args:
        failures: How many there were without progress in between, this one included: at least 1.
        attempts: How many there may be.
        asked: Seconds that the server asked to wait; None: it did not.
        jitter: A random number of 0 to 1.
    """
    if failures >= attempts:
        return GiveUp()
    if asked is not None and asked > LONGEST_RETRY_AFTER:
        return GiveUp(f"it asks to come back in {round(asked)} seconds")
    backoff = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1))
    if asked is not None:
        # Never earlier than asked, and not all at the same instant.
        return Pause(asked + jitter * min(1.0, backoff))
    return Pause(backoff * (0.5 + 0.5 * jitter))
