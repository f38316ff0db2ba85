"""`ardock ps`: list containers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError
from ardock.cli.flags import Flag, Many, Refused, Switch
from ardock.cli.listed import LIST_FORMAT, show_list
from ardock.cli.several import check_count, write
from ardock.docker.filters import filters, parse_filter

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

ALL = Switch("all", "Show all containers (default shows just running)", short="a")
FILTER = Many("filter", parse_filter, "Filter output based on conditions provided", short="f", metavar="filter")
LAST = Flag("last", v.integer(), "Show n last created containers (includes all states)", short="n", metavar="int")
LATEST = Switch("latest", "Show the latest created container (includes all states)", short="l")
NO_TRUNC = Switch("no-trunc", "Don't truncate output")
QUIET = Switch("quiet", "Only display container IDs", short="q")
FLAGS = (
    ALL, FILTER, LIST_FORMAT, LAST, LATEST, NO_TRUNC, QUIET,
    Refused("size", "nobody counts what a container has written", short="s", switch=True),
)  # fmt: skip


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("ps", arguments, 0, 0)
    from ardock.cli.connection import connected
    from ardock.cli.format.tabular import Listed
    from ardock.docker.listing import PS_HEADINGS, PS_TABLE, Moment, PsRow
    from ardock.model.errors import InvalidArgument
    from ardock.protocol.methods import LIST, ListContainers

    last = values.one(LAST) or 0
    limit = 1 if values.on(LATEST) else last if last > 0 else None
    with connected(settings) as engine:
        try:
            listing = engine.call(
                LIST, ListContainers(all=values.on(ALL), filters=filters(values.many(FILTER)), limit=limit)
            )
        except InvalidArgument as error:
            raise CliError(error.message.replace("filters:", "--filter:", 1), FAILED) from error
    truncate = not values.on(NO_TRUNC)
    moment = Moment(time.time_ns(), listing.boottime)
    if values.on(QUIET):
        write([each.id[:12] if truncate else each.id for each in listing.containers])
        return 0
    rows = [PsRow(container, moment, truncate) for container in listing.containers]
    show_list(Listed(PS_HEADINGS, PS_TABLE, rows), values.one(LIST_FORMAT))
    return 0


command = FlagCommand(
    "ps",
    run,
    FLAGS,
    usage="[OPTIONS]",
    help_text="List containers",
    failure=FAILED,
    interspersed=True,
)
