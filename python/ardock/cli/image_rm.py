"""`ardock image rm`: take names off images, and remove an image with its last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Switch
from ardock.cli.several import check_count, each

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

FORCE = Switch("force", "Force removal of the image", short="f")
FLAGS = (
    FORCE,
    # There are no parents, so none is deleted.
    Switch("no-prune", "Do not delete untagged parents", hidden=True),
)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("image rm", arguments, 1)
    from ardock.model.errors import NotFound
    from ardock.protocol.image_methods import REMOVE_IMAGE, RemoveImage

    force = values.on(FORCE)
    return each(
        settings,
        arguments,
        lambda ref: (REMOVE_IMAGE, RemoveImage(ref=ref, force=force)),
        lines=lambda _, removed: removed.done,
        forgive=lambda error: force and isinstance(error, NotFound),
    )


command = FlagCommand(
    "rm",
    run,
    FLAGS,
    usage="[OPTIONS] IMAGE [IMAGE...]",
    help_text="Remove one or more images",
    failure=FAILED,
    interspersed=True,
)
