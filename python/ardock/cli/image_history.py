"""`ardock image history`: how an image was made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Refused, Switch
from ardock.cli.listed import LIST_FORMAT, show_list
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

HUMAN = Switch("human", "Print sizes and dates in human readable format", short="H", default=True)
NO_TRUNC = Switch("no-trunc", "Don't truncate output")
QUIET = Switch("quiet", "Only show image IDs", short="q")
FLAGS = (
    LIST_FORMAT, HUMAN, NO_TRUNC, QUIET,
    Refused("platform", "an image here is of one platform", harmless=("",)),
)  # fmt: skip


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("history", arguments, 1, 1)
    from ardock.cli.connection import connected
    from ardock.cli.format.tabular import Listed
    from ardock.docker.images import EXACT_HISTORY_TABLE, HISTORY_HEADINGS, HISTORY_TABLE, history_rows
    from ardock.protocol.image_methods import HISTORY, IMAGE, ImageRef

    with connected(settings) as engine:
        # By its id from here on: a name may move in between.
        image_id = engine.call(IMAGE, ImageRef(ref=arguments[0])).info.id
        entries = engine.call(HISTORY, ImageRef(ref=image_id)).entries
    human = values.on(HUMAN)
    rows = history_rows(entries, image_id, now=time.time_ns(), truncate=not values.on(NO_TRUNC), human=human)
    if values.on(QUIET):
        write([row.shown_id for row in rows])
        return 0
    show_list(Listed(HISTORY_HEADINGS, HISTORY_TABLE if human else EXACT_HISTORY_TABLE, rows), values.one(LIST_FORMAT))
    return 0


command = FlagCommand(
    "history",
    run,
    FLAGS,
    usage="[OPTIONS] IMAGE",
    help_text="Show the history of an image",
    failure=FAILED,
    interspersed=True,
)
