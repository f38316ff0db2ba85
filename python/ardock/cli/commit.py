"""`ardock commit`: make an image of what a container has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Flag, Many, Switch
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

AUTHOR = Flag("author", v.text, 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', short="a")
CHANGE = Many("change", v.text, "Apply Dockerfile instruction to the created image", short="c")
MESSAGE = Flag("message", v.text, "Commit message", short="m")
PAUSE = Switch("pause", "Pause container during commit", short="p", default=True)
FLAGS = (AUTHOR, CHANGE, MESSAGE, PAUSE)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("commit", arguments, 1, 2)
    from ardock.cli.connection import connected
    from ardock.protocol.image_methods import COMMIT, Commit

    params = Commit(
        ref=arguments[0],
        name=arguments[1] if len(arguments) > 1 else "",
        author=values.one(AUTHOR) or "",
        message=values.one(MESSAGE) or "",
        changes=tuple(values.many(CHANGE)),
        pause=values.on(PAUSE),
    )
    with connected(settings) as engine:
        image = engine.call(COMMIT, params)
    write([image.id])
    return 0


command = FlagCommand(
    "commit",
    run,
    FLAGS,
    usage="[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    help_text="Create a new image from a container's changes",
    failure=FAILED,
    interspersed=True,
)
