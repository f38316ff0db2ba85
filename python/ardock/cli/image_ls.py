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
    from collections.abc import Sequence

    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.docker.images import Edges


def _filter(text: str) -> tuple[str, str]:
    from ardock.docker.images import check_image_filter

    name, value = parse_filter(text)
    check_image_filter(name, value)
    if name == "until":
        from ardock.docker.times import parse_time

        value = str(parse_time(value, time.time_ns()))
    return name, value


FILTER = Many(
    "filter",
    _filter,
    "Filter output: dangling=true|false, reference=PATTERN, label=KEY[=VALUE], before|since=IMAGE, until=TIME",
    short="f",
    metavar="filter",
)
NO_TRUNC = Switch("no-trunc", "Don't truncate output")
QUIET = Switch("quiet", "Only show image IDs", short="q")
DIGESTS = Switch("digests", "Show digests")
FLAGS = (
    # There are no intermediate images that would be hidden.
    Switch("all", "Show all images (default hides intermediate images)", short="a", hidden=True),
    DIGESTS, FILTER, LIST_FORMAT, NO_TRUNC, QUIET,
    Refused("tree", "images are of one platform", switch=True),
)  # fmt: skip


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("image ls", arguments, 0, 1)
    from ardock.cli.connection import connected
    from ardock.cli.format.tabular import Listed
    from ardock.docker.images import DIGEST_TABLE, IMAGE_HEADINGS, IMAGE_TABLE, image_rows
    from ardock.protocol.image_methods import IMAGES
    from ardock.protocol.method import NoParams

    chosen = filters([*values.many(FILTER), *(("reference", name) for name in arguments)])
    with connected(settings) as engine:
        images = engine.call(IMAGES, NoParams()).images
        edges = _edges(engine, chosen.get("before", ()), chosen.get("since", ()))
    until = [int(moment) for moment in chosen.get("until", ())]
    form = values.one(LIST_FORMAT)
    rows = image_rows(
        images,
        chosen,
        now=time.time_ns(),
        truncate=not values.on(NO_TRUNC),
        # As docker's: a template that shows digests wants a line for each.
        digests=values.on(DIGESTS) or (form is not None and form.names("Digest")),
        edges=edges,
        until=min(until, default=None),
    )
    if values.on(QUIET):
        # Of an image with several names once.
        write(list(dict.fromkeys(row.short_id for row in rows)))
        return 0
    show_list(Listed(IMAGE_HEADINGS, DIGEST_TABLE if values.on(DIGESTS) else IMAGE_TABLE, rows), form)
    return 0


def _edges(engine: Connection, before: Sequence[str], since: Sequence[str]) -> Edges:
    """When the images that ``before`` and ``since`` name were made; of several of a kind all count."""
    from ardock.docker.images import Edges
    from ardock.protocol.image_methods import IMAGE, ImageRef

    made = {ref: engine.call(IMAGE, ImageRef(ref=ref)).info.created_at for ref in {*before, *since}}
    return Edges(
        before=min((made[ref] for ref in before), default=None), since=max((made[ref] for ref in since), default=None)
    )


command = FlagCommand(
    "ls",
    run,
    FLAGS,
    usage="[OPTIONS] [REPOSITORY[:TAG]]",
    help_text="List images",
    failure=FAILED,
    interspersed=True,
)
