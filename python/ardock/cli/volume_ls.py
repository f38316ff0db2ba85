"""`ardock volume ls`: list volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Many, Refused, Switch
from ardock.cli.listed import LIST_FORMAT, show_list
from ardock.cli.several import check_count, write
from ardock.docker.filters import filters, parse_filter

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

FILTER = Many(
    "filter", parse_filter, "Filter output: dangling=true|false, driver, label, name", short="f", metavar="filter"
)
QUIET = Switch("quiet", "Only display volume names", short="q")
FLAGS = (
    FILTER, LIST_FORMAT, QUIET,
    Refused("cluster", "there is no cluster", switch=True),
)  # fmt: skip


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("volume ls", arguments, 0, 0)
    from ardock.cli.connection import connected
    from ardock.cli.format.tabular import Listed
    from ardock.docker.volumes import VOLUME_HEADINGS, VOLUME_TABLE, VolumeRow
    from ardock.protocol.methods import VOLUMES, ListVolumes

    with connected(settings) as engine:
        volumes = engine.call(VOLUMES, ListVolumes(filters=filters(values.many(FILTER)))).volumes
    if values.on(QUIET):
        write([volume.name for volume in volumes])
    else:
        show_list(
            Listed(VOLUME_HEADINGS, VOLUME_TABLE, [VolumeRow(volume) for volume in volumes]), values.one(LIST_FORMAT)
        )
    return 0


command = FlagCommand(
    "ls",
    run,
    FLAGS,
    usage="[OPTIONS]",
    help_text="List volumes",
    failure=FAILED,
    interspersed=True,
)
