"""`ardock rm`: remove containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Refused, Switch
from ardock.cli.several import check_count, each

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

FORCE = Switch("force", "Force the removal of a running container (uses SIGKILL)", short="f")
VOLUMES = Switch("volumes", "Remove anonymous volumes associated with the container", short="v")
FLAGS = (
    FORCE,
    VOLUMES,
    Refused("link", "there are no links between containers", short="l", switch=True),
)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("rm", arguments, 1)
    from ardock.model.errors import NotFound
    from ardock.protocol.methods import REMOVE, Remove

    force, volumes = values.on(FORCE), values.on(VOLUMES)
    return each(
        settings,
        arguments,
        lambda ref: (REMOVE, Remove(ref=ref, force=force, volumes=volumes)),
        # As docker: `rm -f` is for "see that it is not there".
        forgive=lambda error: force and isinstance(error, NotFound),
    )


command = FlagCommand(
    "rm",
    run,
    FLAGS,
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    help_text="Remove one or more containers",
    failure=FAILED,
    interspersed=True,
)
