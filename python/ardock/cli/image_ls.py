"""`ardock image ls`: list images."""

from __future__ import annotations

import time
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


def _filter(text: str) -> tuple[str, str]:
    from ardock.docker.listing import check_image_filter

    name, value = parse_filter(text)
    check_image_filter(name, value)
    return name, value


FILTER = Many("filter", _filter, "Filter output: dangling=true|false, reference=PATTERN", short="f", metavar="filter")
NO_TRUNC = Switch("no-trunc", "Don't truncate output")
QUIET = Switch("quiet", "Only show image IDs", short="q")
FLAGS = (
    # There are no intermediate images that would be hidden.
    Switch("all", "Show all images (default hides intermediate images)", short="a", hidden=True),
    FILTER, LIST_FORMAT, NO_TRUNC, QUIET,
    Refused("digests", "there are no registries yet, so no digests of theirs", switch=True),
    Refused("tree", "images are of one platform", switch=True),
)  # fmt: skip


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("image ls", arguments, 0, 1)
    from ardock.cli.connection import connected
    from ardock.cli.format.tabular import Listed
    from ardock.docker.listing import IMAGE_HEADINGS, IMAGE_TABLE, image_rows
    from ardock.protocol.methods import IMAGES, NoParams

    chosen = filters([*values.many(FILTER), *(("reference", name) for name in arguments)])
    with connected(settings) as engine:
        images = engine.call(IMAGES, NoParams()).images
    rows = image_rows(images, chosen, now=time.time_ns(), truncate=not values.on(NO_TRUNC))
    if values.on(QUIET):
        # Of an image with several names once.
        write(list(dict.fromkeys(row.short_id for row in rows)))
        return 0
    show_list(Listed(IMAGE_HEADINGS, IMAGE_TABLE, rows), values.one(LIST_FORMAT))
    return 0


command = FlagCommand(
    "ls",
    run,
    FLAGS,
    usage="[OPTIONS] [REPOSITORY[:TAG]]",
    help_text="List images",
    failure=FAILED,
    interspersed=True,
)
