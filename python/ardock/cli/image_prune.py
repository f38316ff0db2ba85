"""`ardock image prune`: remove images that nobody uses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Many, Switch
from ardock.cli.prompt import agreed
from ardock.cli.several import check_count, write
from ardock.docker.filters import filters, parse_filter

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def _filter(text: str) -> tuple[str, str]:
    name, value = parse_filter(text)
    if name not in {"until", "label", "label!"}:
        raise ValueError(f"invalid filter '{name}': give until or label")
    if name == "until":
        from ardock.docker.times import parse_time

        value = str(parse_time(value, time.time_ns()))
    return name, value


ALL = Switch("all", "Remove all unused images, not just dangling ones", short="a")
FILTER = Many(
    "filter", _filter, "Provide filter values: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]", metavar="filter"
)
FORCE = Switch("force", "Do not prompt for confirmation", short="f")
FLAGS = (ALL, FILTER, FORCE)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("image prune", arguments, 0, 0)
    from ardock.cli.connection import connected
    from ardock.docker.times import human_size
    from ardock.protocol.image_methods import PRUNE, PruneImages

    which = "images without at least one container associated to them" if values.on(ALL) else "dangling images"
    if not values.on(FORCE) and not agreed(f"WARNING! This will remove all {which}."):
        return FAILED
    with connected(settings) as engine:
        pruned = engine.call(PRUNE, PruneImages(all=values.on(ALL), filters=filters(values.many(FILTER))))
    # Docker's words here begin with small letters, those of `image rm` do not.
    told = [f"{line[:1].lower()}{line[1:]}" for line in pruned.done]
    write([*(["Deleted Images:", *told, ""] if told else []), f"Total reclaimed space: {human_size(pruned.space, 4)}"])
    return 0


command = FlagCommand(
    "prune",
    run,
    FLAGS,
    usage="[OPTIONS]",
    help_text="Remove unused images",
    failure=FAILED,
    interspersed=True,
)
