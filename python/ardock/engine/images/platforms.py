"""Platforms: reading them, and which image of several is meant.

Sources: OCI image specification, image-index.md; the names are Go's; normalization as github.com/containerd/platforms.
"""

from __future__ import annotations

import platform as machine
import re
from collections.abc import Iterable
from typing import Final, TypeVar

from ardock.model.errors import InvalidArgument
from ardock.model.image import Platform

_ARCHITECTURES: Final = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "i386": "386", "i686": "386",
}  # fmt: skip
_COMPONENT: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_T = TypeVar("_T")


def host() -> Platform:
    """This machine's."""
    return normalized(Platform(os="linux", architecture=machine.machine()))


def normalized(platform: Platform) -> Platform:
    """In the names that images have: ``x86_64`` is ``amd64``, and the variant that goes without saying is left out."""
    architecture = platform.architecture.lower()
    variant = platform.variant.lower()
    if architecture == "armel":
        variant = variant or "v6"
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if (architecture, variant) in {("arm64", "v8"), ("arm64", "8"), ("amd64", "v1"), ("arm", "v7"), ("arm", "7")}:
        variant = ""
    elif architecture == "arm" and variant in {"5", "6", "8"}:
        variant = f"v{variant}"
    return Platform(os=platform.os.lower() or "linux", architecture=architecture, variant=variant)


def parse(text: str, field: str = "platform") -> Platform:
    """What ``--platform`` says: ``os/architecture[/variant]``, an architecture or an operating system alone; empty: the host's.

    Raises:
        InvalidArgument: It is malformed.
    """
    if not text:
        return host()
    parts = text.split("/")
    if len(parts) > 3 or not all(map(_COMPONENT.fullmatch, parts)):
        raise InvalidArgument(
            f"{field}: {text!r} is no platform: give os/architecture[/variant], such as linux/arm64/v8", field=field
        )
    if len(parts) > 1:
        return normalized(Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else ""))
    word = parts[0].lower()
    if word in {"linux", "windows", "freebsd", "darwin"}:
        return Platform(os=word, architecture=host().architecture)
    return normalized(Platform(os="linux", architecture=word))


def fitness(offered: Platform, wanted: Platform) -> int | None:
    """How well an image of `offered` runs where `wanted` is asked for: the lower the better; None: not at all.

    The machine of a variant runs the variants before it (an arm v7 runs v6 and v5), as containerd has it.
    """
    offered, wanted = normalized(offered), normalized(wanted)
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    if offered.variant == wanted.variant:
        return 0
    most = _level(wanted)
    level = _level(offered)
    if most is None or level is None or level > most:
        return None
    return most - level


def _level(platform: Platform) -> int | None:
    default = {"amd64": "1", "arm64": "8", "arm": "7"}.get(platform.architecture, "")
    digits = (platform.variant or default).removeprefix("v")
    return int(digits) if digits.isdecimal() and len(digits) < 4 else None


def best(offers: Iterable[tuple[Platform, _T]], wanted: Platform) -> _T | None:
    """What fits best; of equals the first. None: nothing does."""
    fitting = [
        (fits, index, offer)
        for index, (platform, offer) in enumerate(offers)
        if (fits := fitness(platform, wanted)) is not None
    ]
    return min(fitting, key=lambda each: each[:2])[2] if fitting else None
