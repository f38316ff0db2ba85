"""What an examination of the host finds: checks with remedies, and bounds on the number of containers."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "note", "failed"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One property of the host that matters to containers.

    Attributes:
        group: Which part of the examination it belongs to, such as ``"kernel"``.
        name: What was looked at.
        status: ``"ok"``; ``"note"``: containers run, with the loss that `found` tells; ``"failed"``: they do not.
        found: What is there, in a few words.
        remedy: How to mend it; empty where nothing is to be mended.
    """

    group: str
    name: str
    status: Status
    found: str
    remedy: str = ""


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of the host on how many containers run at once, everything else being plentiful.

    Attributes:
        name: The limit, as the kernel or the file that sets it calls it.
        limit: Its value.
        used: How much of it is taken now.
        each: How much a container takes, in the limit's unit. Memory's share grows with the number; see `bounds`.
        fits: How many more containers that allows.
        counts: Whether it bounds all containers; false where it concerns only some, or only one keeper.
        remark: Whom it concerns, where `counts` is false; else what `each` rests on.
        remedy: How to raise it.
    """

    name: str
    limit: int
    used: int
    each: int
    fits: int
    counts: bool = True
    remark: str = ""
    remedy: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole examination.

    Attributes:
        healthy: No check failed.
        checks: In the order of the groups.
        bounds: The tightest first.
        fits: How many more containers the host has room for.
        binding: The name of the bound that is met first.
    """

    healthy: bool
    checks: tuple[Check, ...]
    bounds: tuple[Bound, ...]
    fits: int
    binding: str
