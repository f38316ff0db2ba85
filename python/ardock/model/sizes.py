"""Sizes, CPU counts, signals and durations as Docker writes them, to plain numbers.

Every function takes the name of the field that the value came from, so that the error can name it.
"""

from __future__ import annotations

import re
import signal as _signal

from ardock.model.errors import InvalidArgument

# docker/go-units RAMInBytes: a decimal number, an optional unit, powers of 1024 throughout.
_SIZE = re.compile(r"^(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[kmgtp]?)(?:i?b)?$", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_LARGEST = (1 << 63) - 1


def parse_size(value: int | str, field: str) -> int:
    """Bytes of `value`, an int of bytes or a Docker size such as ``"64m"``, ``"1.5g"``, ``"512"`` or ``"10 MiB"``.

    Units are powers of 1024, in either case, as in docker/go-units' ``RAMInBytes``.

    Raises:
        InvalidArgument: It is malformed, negative or larger than 2**63 - 1.
    """
    if isinstance(value, bool):
        raise InvalidArgument(f"{field}: invalid size {value!r}", field=field)
    if isinstance(value, int):
        size = value
    else:
        match = _SIZE.match(value.strip())
        if match is None:
            raise InvalidArgument(
                f"{field}: invalid size {value!r}: a number and an optional unit b, k, m, g or t, such as 64m",
                field=field,
            )
        factor = _UNITS[match["unit"].lower()]
        text = match["number"]
        size = int(float(text) * factor) if "." in text else int(text) * factor
    if size < 0:
        raise InvalidArgument(f"{field}: a size cannot be negative: {value}", field=field)
    if size > _LARGEST:
        raise InvalidArgument(f"{field}: {value} is more than the kernel can count", field=field)
    return size


def format_size(size: int) -> str:
    """`size` bytes for a person: ``"64m"`` where it divides evenly, else bytes."""
    for unit in ("t", "g", "m", "k"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return f"{size}b"


def parse_cpus(value: float | str, available: int, field: str = "cpus") -> int:
    """The quota in µs for a period of 100,000 µs that `value` CPUs make.

    Args:
        value: A number of CPUs such as 1.5 or ``"0.25"``.
        available: How many the machine has; Docker refuses more.
        field: The field that it came from.

    Raises:
        InvalidArgument: It is no number, or outside 0.01 to `available`.
    """
    try:
        cpus = float(value)
    except ValueError:
        raise InvalidArgument(f"{field}: invalid number of CPUs {value!r}", field=field) from None
    if not 0.01 <= cpus <= available:
        noun = "CPU" if available == 1 else "CPUs"
        raise InvalidArgument(
            f"{field}: range of CPUs is from 0.01 to {available}.00, as there are only {available} {noun} available",
            field=field,
        )
    return round(cpus * 100_000)


_CPUSET = re.compile(r"^\d+(-\d+)?(,\d+(-\d+)?)*$", re.ASCII)


def parse_cpuset(value: str, available: frozenset[int], field: str) -> str:
    """`value` as the kernel wants it, such as ``"0-1,3"``.

    Raises:
        InvalidArgument: It is malformed or names a CPU (or memory node) that is not in `available`.
    """
    text = value.replace(" ", "")
    if not _CPUSET.match(text):
        raise InvalidArgument(f"{field}: invalid list {value!r}: such as 0-1,3", field=field)
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if low > high:
            raise InvalidArgument(f"{field}: invalid range {part!r}", field=field)
        # The range is checked by its ends and count, so that 0-999999999 costs nothing.
        if high not in available or low not in available:
            names = ",".join(str(number) for number in sorted(available))
            raise InvalidArgument(f"{field}: {value!r} is not available: the machine has {names}", field=field)
    return text


def parse_signal(value: int | str, field: str = "signal") -> int:
    """The number of a signal given as a number, a name with or without ``SIG``, or ``RTMIN+3``.

    Raises:
        InvalidArgument: There is no such signal.
    """
    text = str(value).strip().upper().removeprefix("SIG")
    number = 0
    if text.isascii() and text.isdecimal():
        number = int(text)
    elif match := re.match(r"^RT(MIN\+|MAX-)(\d+)$", text, re.ASCII):
        offset = int(match[2])
        number = _signal.SIGRTMIN + offset if match[1] == "MIN+" else _signal.SIGRTMAX - offset
    else:
        named = getattr(_signal.Signals, f"SIG{text}", None)
        number = int(named) if isinstance(named, _signal.Signals) else 0
    if not 1 <= number <= _signal.SIGRTMAX:
        raise InvalidArgument(f"{field}: no such signal: {value}", field=field)
    return number
