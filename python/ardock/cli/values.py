"""The values of Docker's flags, from text.

Each function takes what stood on the command line and returns the value, or
raises ValueError with what is wrong and what to give instead; the flag's name
and the text are put in front of that by `Values.add`. Rules that need the
machine (how many CPUs there are) or several flags together are the engine's.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ardock.model.errors import InvalidArgument
from ardock.model.sizes import parse_signal, parse_size

INT64 = 1 << 63
_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"\d+(\.\d*)?|\.\d+")

# docker/go-units, ulimit.go. RLIMIT_AS is left out there, and here.
ULIMITS = frozenset({
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
})  # fmt: skip

# docker/cli, opts.ValidateSysctl: those that belong to a namespace of the container's.
_SYSCTLS = frozenset({
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced",
})  # fmt: skip

# The longest that the kernel takes (__NEW_UTS_LEN).
_NAME_MAX = 64


def text(value: str) -> str:
    """Any text."""
    return value


def size(value: str) -> int:
    """Bytes of a size such as `512m`, 1024 being the base."""
    try:
        return parse_size(value, "size")
    except InvalidArgument as error:
        raise ValueError(error.message.removeprefix("size: ")) from None


def size_or_unlimited(value: str) -> int:
    """Bytes, or -1."""
    return -1 if value == "-1" else size(value)


def integer(low: int = -INT64, high: int = INT64 - 1) -> Callable[[str], int]:
    """A parser of whole numbers from `low` to `high`, both included."""

    def parse(value: str) -> int:
        if not _INTEGER.fullmatch(value):
            raise ValueError("give a whole number")
        number = int(value)
        if not low <= number <= high:
            upper = f" to {high}" if high < INT64 - 1 else " or more"
            raise ValueError(f"give a whole number, {low}{upper}" if low > -INT64 else "the number is too large")
        return number

    return parse


def cpus(value: str) -> float:
    """A number of CPUs: `1.5`, `.5`, or as a ratio `1/2`."""
    if _DECIMAL.fullmatch(value):
        return float(value)
    from fractions import Fraction  # Rare, and dear to import.

    try:
        return float(Fraction(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError("give a number of CPUs such as 1.5") from None


def seconds(value: str) -> float:
    """A number of seconds above zero."""
    if not _DECIMAL.fullmatch(value) or float(value) <= 0:
        raise ValueError("give a number of seconds above 0")
    return float(value)


def choice(*allowed: str) -> Callable[[str], str]:
    """A parser that takes one of a few words."""

    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"give one of {', '.join(word for word in allowed if word)}")
        return value

    return parse


def attach(value: str) -> str:
    """A standard stream's name, in any case."""
    if value.lower() not in {"stdin", "stdout", "stderr"}:
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return value.lower()


def weight_device(value: str) -> tuple[str, int]:
    """`PATH:WEIGHT` (docker/cli, opts.ValidateWeightDevice, with its words)."""
    path, weight = _of_device(value)
    if not weight.isdecimal() or not (int(weight) == 0 or 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {value}")
    return path, int(weight)


def bytes_of_device(value: str) -> tuple[str, int]:
    """`PATH:SIZE` (opts.ValidateThrottleBpsDevice)."""
    path, rate = _of_device(value)
    try:
        return path, parse_size(rate, "size")
    except InvalidArgument:
        raise ValueError(
            f"invalid rate for device: {value}. The correct format is <device-path>:<number>[<unit>]. Number must be a "
            "positive integer. Unit is optional and can be kb, mb, or gb"
        ) from None


def requests_of_device(value: str) -> tuple[str, int]:
    """`PATH:NUMBER` (opts.ValidateThrottleIOpsDevice)."""
    path, rate = _of_device(value)
    if not rate.isdecimal():
        raise ValueError(
            f"invalid rate for device: {value}. The correct format is <device-path>:<number>. Number must be a positive "
            "integer"
        )
    return path, int(rate)


def _of_device(value: str) -> tuple[str, str]:
    path, colon, number = value.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {value}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {value}")
    return path, number


def ulimit(value: str) -> tuple[str, int, int]:
    """`name=soft[:hard]`: the name and both limits, -1 being unlimited."""
    name, equals, limits = value.partition("=")
    if not equals:
        raise ValueError("give name=soft[:hard], such as nofile=1024:2048")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: give one of {', '.join(sorted(ULIMITS))}")
    soft_text, colon, hard_text = limits.partition(":")
    soft = _limit(soft_text)
    hard = _limit(hard_text) if colon else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError("the soft limit must be less than or equal to the hard limit")
    return name, soft, hard


def _limit(value: str) -> int:
    if value in {"infinity", "unlimited", "-1"}:
        return -1
    if not value.isdecimal():
        raise ValueError("a limit is a whole number, -1 or unlimited")
    return int(value)


def sysctl(value: str) -> tuple[str, str]:
    """`name=value`, of a parameter that belongs to the container alone."""
    name, equals, setting = value.partition("=")
    if not equals or not name:
        raise ValueError("give name=value, such as net.ipv4.ip_forward=1")
    if name not in _SYSCTLS and not name.startswith(("net.", "fs.mqueue.")):
        raise ValueError(
            "the parameter is not one of a container's own (net.*, fs.mqueue.*, kernel.msg*, sem and shm*)"
        )
    return name, setting


def label(value: str) -> tuple[str, str]:
    """`key[=value]`."""
    key, _, content = value.partition("=")
    key = key.lstrip(" \t")
    if not key:
        raise ValueError("empty name")
    if " " in key or "\t" in key:
        raise ValueError("the name contains whitespace")
    return key, content


def host_name(value: str) -> str:
    """What sethostname(2) takes."""
    if len(value.encode("utf-8", "surrogateescape")) > _NAME_MAX:
        raise ValueError(f"a name has at most {_NAME_MAX} bytes")
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", value) or value.startswith("-"):
        raise ValueError("a name has letters, digits, dots, dashes and underscores only")
    return value


def container_name(value: str) -> str:
    """A name as Docker takes it (moby, daemon/names); empty is none."""
    if value and not re.fullmatch(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+", value):
        raise ValueError(
            "a name begins with a letter or digit, and has letters, digits, _ . - after it: two characters at least"
        )
    return value.removeprefix("/")


def extra_host(value: str) -> str:
    """`host:address` or `host=address`, as `host:address`."""
    equals, colon = value.find("="), value.find(":")
    at = equals if equals > 0 and (colon < 0 or equals < colon) else colon
    name, address = value[:at], value[at + 1 :]
    if at <= 0:
        raise ValueError("give host:address")
    if address == "host-gateway":
        raise ValueError("host-gateway has no meaning until there are networks")
    return f"{name}:{ip_address(address.removeprefix('[').removesuffix(']'))}"


def ip_address(value: str) -> str:
    """An IPv4 or IPv6 address."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        raise ValueError("give an IP address") from None


def signal(value: str) -> str:
    """A signal by name or number, left as it was written."""
    try:
        parse_signal(value)
    except InvalidArgument:
        raise ValueError("give a signal such as SIGTERM, TERM or 15") from None
    return value


def absolute(value: str) -> str:
    """An absolute path in the container."""
    if value and not value.startswith("/"):
        raise ValueError("it needs to be an absolute path")
    return value


def storage_option(value: str) -> int:
    """`size=BYTES`, the one option there is."""
    name, _, content = value.partition("=")
    if name != "size":
        raise ValueError("the only storage option is size=BYTES")
    return size(content)
