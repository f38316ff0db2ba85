"""`ardock volume rm`: remove volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Switch
from ardock.cli.several import check_count, each

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

FORCE = Switch("force", "Force the removal of one or more volumes", short="f")


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("volume rm", arguments, 1)
    from ardock.protocol.methods import REMOVE_VOLUME, RemoveVolume

    force = values.on(FORCE)
    return each(settings, arguments, lambda name: (REMOVE_VOLUME, RemoveVolume(name=name, force=force)))


command = FlagCommand(
    "rm",
    run,
    (FORCE,),
    usage="[OPTIONS] VOLUME [VOLUME...]",
    help_text="Remove one or more volumes. You cannot remove a volume that is in use by a container",
    failure=FAILED,
    interspersed=True,
)
