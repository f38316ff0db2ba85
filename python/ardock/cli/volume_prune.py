"""`ardock volume prune`: remove volumes that no container has."""

from __future__ import annotations

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

ALL = Switch("all", "Remove all unused volumes, not just anonymous ones", short="a")
FILTER = Many("filter", parse_filter, "Provide filter values: label=KEY[=VALUE], label!=KEY[=VALUE]", metavar="filter")
FORCE = Switch("force", "Do not prompt for confirmation", short="f")
FLAGS = (ALL, FILTER, FORCE)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("volume prune", arguments, 0, 0)
    from ardock.cli.connection import connected
    from ardock.docker.times import human_size
    from ardock.protocol.methods import PRUNE_VOLUMES, PruneVolumes

    which = "local volumes" if values.on(ALL) else "anonymous local volumes"
    if not values.on(FORCE) and not agreed(f"WARNING! This will remove {which} not used by at least one container."):
        return FAILED
    with connected(settings) as engine:
        pruned = engine.call(PRUNE_VOLUMES, PruneVolumes(all=values.on(ALL), filters=filters(values.many(FILTER))))
    told = ["Deleted Volumes:", *pruned.removed, ""] if pruned.removed else []
    write([*told, f"Total reclaimed space: {human_size(pruned.reclaimed, 4)}"])
    return 0


command = FlagCommand(
    "prune",
    run,
    FLAGS,
    usage="[OPTIONS]",
    help_text="Remove unused local volumes",
    failure=FAILED,
    interspersed=True,
)
