"""Times and durations as Docker writes and reads them.

Times are ints of ns since 1970; durations are ints of ns.
"""

from __future__ import annotations

import re
import time
from typing import Final

SECOND: Final = 1_000_000_000
# What Go's zero time.Time prints: Docker's word for "never".
NEVER: Final = "0001-01-01T00:00:00Z"

_UNITS: Final = {
    "ns": 1, "us": 1_000, "\u00b5s": 1_000, "\u03bcs": 1_000, "ms": 1_000_000,  # Go takes both letters
    "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND,
}  # fmt: skip
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
# moby, api/types/time: RFC 3339 with what may be left out at its end; no zone is the local one.
_DATE: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_UNIX: Final = re.compile(r"(-?)(\d{1,11})(?:\.(\d{1,9}))?", re.ASCII)


def parse_time(text: str, now: int) -> int:
    """The moment that ``--since`` or ``--until`` names, in ns since 1970.

    Docker's three forms (moby, ``api/types/time.GetTimestamp``), in its order: a Go duration such as ``10m`` or ``1h30m`` is so
    long before `now`; a date such as ``2026-01-02``, ``2026-01-02T15:04:05`` (local time) or RFC 3339 with a zone; seconds since
    1970, which may have a fraction. Docker cuts a duration's moment to seconds; here it keeps its fraction.

    Raises:
        ValueError: It is none of them.
    """
    duration = parse_duration(text)
    if duration is not None and text != "0":
        return now - duration
    if found := _DATE.fullmatch(text):
        return _from_date(found, text)
    if found := _UNIX.fullmatch(text):
        sign, seconds, fraction = found.groups()
        value = int(seconds) * SECOND + _fraction(fraction)
        return -value if sign else value
    raise ValueError("give a time such as 2026-01-02T15:04:05Z, seconds since 1970, or a duration such as 10m")


def parse_duration(text: str) -> int | None:
    """A duration of Go's, such as ``1h30m``, ``1.5s`` or ``-2m``, in ns; None where it is none."""
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        return None
    total = sum(_scaled(number, _UNITS[unit]) for number, unit in parts)
    return -total if text[0] == "-" else total


def _scaled(number: str, unit: int) -> int:
    """A decimal number of units in whole ns, without a float in between."""
    whole, _, fraction = number.partition(".")
    value = int(whole or "0") * unit
    return value + int(fraction) * unit // 10 ** len(fraction) if fraction else value


def _from_date(found: re.Match[str], text: str) -> int:
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    zone = found[8]
    length = (31, 29 if _is_leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= month <= 12 and 1 <= day <= length[month - 1] and hour < 24 and minute < 60 and second < 60):
        raise ValueError(f"there is no such time as {text}")
    if zone is None:
        try:
            seconds = int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1)))
        except OverflowError:
            raise ValueError(f"{text} is out of range") from None
    else:
        seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
        if zone != "Z":
            offset = int(zone[1:3]) * 3600 + int(zone[4:]) * 60
            seconds += offset if zone[0] == "-" else -offset
    return seconds * SECOND + _fraction(found[7])


def _fraction(digits: str | None) -> int:
    return int(digits.ljust(9, "0")) if digits else 0


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; `datetime` would take longer to import than a command may."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


def rfc3339_nano(moment: int) -> str:
    """Go's RFC3339Nano in UTC: a fraction without zeros at its end; 0 is Docker's `NEVER`."""
    if moment == 0:
        return NEVER
    seconds, fraction = divmod(moment, SECOND)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}{digits}Z"


def local_time(moment: int) -> str:
    """As Go prints a local time, such as ``2026-11-25 13:59:58 +0000 UTC``; Docker's ``CreatedAt``."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(moment // SECOND))


def local_rfc3339(moment: int) -> str:
    """Go's RFC3339 in the local zone."""
    zone = time.strftime("%z", time.localtime(moment // SECOND))
    offset = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment // SECOND)) + offset


def human_duration(duration: int) -> str:
    """A duration of so many ns as docker/go-units' ``HumanDuration`` has it, such as ``About a minute``."""
    seconds = max(duration, 0) // SECOND
    minutes = seconds // 60
    hours = (seconds + 1800) // 3600  # rounded, as in go-units, which rounds nothing else
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{seconds // 3600 // 24 // 365} years"


def human_size(size: int, digits: int = 3) -> str:
    """Bytes with so many digits and decimal units, such as ``1.98MB`` (docker/go-units ``HumanSizeWithPrecision``)."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB"):
        if value < 1000 or unit == "EB":
            return f"{value:.{digits}g}{unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit returns")
