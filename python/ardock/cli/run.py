"""`ardock run`: one container, from its start to its exit code, or left running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.run_flags import RUN_FLAGS
from ardock.cli.run_spec import run_request

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    request = run_request(values, arguments)
    # Only now: a wrong command line needs none of it.
    from ardock.cli.foreground import run as run_request_in

    return run_request_in(settings, request)


command = FlagCommand(
    "run",
    run,
    RUN_FLAGS,
    usage="[OPTIONS] IMAGE|--rootfs PATH COMMAND [ARG...]",
    help_text="Create and run a new container from an image or a root file system",
    epilog=(
        "Options end at the command. Flags of Docker's that are not listed are refused by name. The exit code is the "
        "command's, or 128 + n where signal n ended it, 137 where --timeout did, 127 where the command is not found, "
        "126 where it cannot be run, 125 for everything else."
    ),
)
