"""What the kernel and the host have of AppArmor, read from files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ardock.engine.apparmor.profile import NAME

ENABLED: Final = "sys/module/apparmor/parameters/enabled"
SECURITYFS: Final = "sys/kernel/security/apparmor"
# Where distributions have it; PATH is the caller's and may lack /sbin.
_PARSERS: Final = ("sbin/apparmor_parser", "usr/sbin/apparmor_parser", "usr/local/sbin/apparmor_parser")
_POLICIES: Final = "etc/apparmor.d"
_ROOT: Final = Path("/")


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """How far the host supports a profile.

    Attributes:
        enabled: The kernel confines.
        mounted: Its interface, in securityfs, is at hand.
        parser: Path of ``apparmor_parser``; None where it is not installed.
        loaded: Names of the loaded profiles; None where that cannot be read.
    """

    enabled: bool
    mounted: bool = False
    parser: str | None = None
    loaded: frozenset[str] | None = None


def support(prefix: Path = _ROOT) -> Support:
    """Look at the host whose root is `prefix`."""
    try:
        enabled = (prefix / ENABLED).read_text(encoding="ascii", errors="replace").strip() == "Y"
    except OSError:
        enabled = False
    if not enabled:
        return Support(enabled=False)
    return Support(
        enabled=True,
        mounted=(prefix / SECURITYFS).is_dir(),
        parser=find_parser(prefix),
        loaded=loaded_names(prefix),
    )


def missing(found: Support) -> str:
    """What keeps a host with AppArmor from having the profile; empty: nothing does, or it is loaded already."""
    if not found.mounted or found.loaded is None:
        return f"/{SECURITYFS} cannot be read"
    return "" if NAME in found.loaded or found.parser is not None else "apparmor_parser is not installed"


def find_parser(prefix: Path = _ROOT) -> str | None:
    """Path of ``apparmor_parser``."""
    return next((str(prefix / path) for path in _PARSERS if (prefix / path).exists()), None)


def has_abi(name: str, prefix: Path = _ROOT) -> bool:
    """The host's policies come with that ABI."""
    return (prefix / _POLICIES / name).is_file()


def own_label(prefix: Path = _ROOT) -> str:
    """The profile that this process runs under, without its mode; ``"unconfined"`` where that cannot be read."""
    # The first where several security modules are stacked: the second is then another one's.
    for path in ("proc/self/attr/apparmor/current", "proc/self/attr/current"):
        try:
            label = (prefix / path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            continue
        return label.rpartition(" (")[0] or label or "unconfined"
    return "unconfined"


def loaded_names(prefix: Path = _ROOT) -> frozenset[str] | None:
    """Names of all loaded profiles; None where they cannot be read."""
    try:
        text = (prefix / SECURITYFS / "profiles").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # A line each, `name (mode)`; names may have blanks.
    return frozenset(line.rpartition(" (")[0] for line in text.splitlines())


def is_loaded(name: str, loaded: frozenset[str]) -> bool:
    """A program can be given that profile; what only the kernel can tell (stacks and namespaces) is taken for true."""
    return name in loaded or "//&" in name or name.startswith(":")
