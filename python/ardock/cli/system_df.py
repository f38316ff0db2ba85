"""`ardock system df`: where the disk's room went."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, UsageError
from ardock.cli.flags import Switch
from ardock.cli.listed import LIST_FORMAT, show_list
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.model.image import DiskUsage

VERBOSE = Switch("verbose", "Show detailed information on space usage", short="v")
FLAGS = (LIST_FORMAT, VERBOSE)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("system df", arguments, 0, 0)
    from ardock.cli.connection import connected
    from ardock.cli.format.tabular import Listed
    from ardock.docker.usage import USAGE_HEADINGS, USAGE_TABLE, usage_rows
    from ardock.protocol.image_methods import DISK_USAGE
    from ardock.protocol.method import NoParams

    form = values.one(LIST_FORMAT)
    if values.on(VERBOSE) and form is not None:
        raise UsageError("--format: not with -v, --verbose, which shows several tables")
    with connected(settings) as engine:
        usage = engine.call(DISK_USAGE, NoParams())
        lines = _verbose(engine, usage) if values.on(VERBOSE) else []
    if values.on(VERBOSE):
        write(lines)
    else:
        show_list(Listed(USAGE_HEADINGS, USAGE_TABLE, usage_rows(usage)), form)
    return 0


def _verbose(engine: Connection, usage: DiskUsage) -> list[str]:
    """Docker's tables of the single objects."""
    from ardock.cli.format.tabular import Listed
    from ardock.docker.images import IMAGE_HEADINGS, USAGE_TABLE, ImageUse, image_rows
    from ardock.docker.listing import PS_HEADINGS, Moment, PsRow
    from ardock.docker.times import human_size
    from ardock.docker.usage import CONTAINER_TABLE
    from ardock.docker.volumes import VOLUME_HEADINGS, VOLUME_USAGE_TABLE, VolumeRow
    from ardock.protocol.image_methods import IMAGES
    from ardock.protocol.method import NoParams
    from ardock.protocol.methods import LIST, VOLUMES, ListContainers, ListVolumes

    now = time.time_ns()
    images = engine.call(IMAGES, NoParams()).images
    containers = engine.call(LIST, ListContainers(all=True)).containers
    volumes = engine.call(VOLUMES, ListVolumes(sizes=True)).volumes
    uses = {each.id: ImageUse(each.shared, each.users) for each in usage.images}
    sizes = {each.id: human_size(each.size) for each in usage.containers}
    image_lines = [row._replace(use=uses.get(row.image.id)) for row in image_rows(images, {}, now=now, truncate=True)]
    container_lines = [PsRow(each, Moment(now), size=sizes.get(each.id, "N/A")) for each in containers]
    return [
        "Images space usage:", "",
        *Listed(IMAGE_HEADINGS, USAGE_TABLE, image_lines).lines(),
        "", "Containers space usage:", "",
        *Listed(PS_HEADINGS, CONTAINER_TABLE, container_lines).lines(),
        "", "Local Volumes space usage:", "",
        *Listed(VOLUME_HEADINGS, VOLUME_USAGE_TABLE, [VolumeRow(each) for each in volumes]).lines(),
        "", "Build cache usage: 0B",
    ]  # fmt: skip


command = FlagCommand(
    "df",
    run,
    FLAGS,
    usage="[OPTIONS]",
    help_text="Show disk usage",
    failure=FAILED,
    interspersed=True,
)
