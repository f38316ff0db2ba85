"""`ardock wait`: block until containers have ended, then print their exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.several import check_count, complain, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(settings: Settings, _values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("wait", arguments, 1)
    from ardock.cli.connection import connected
    from ardock.model.errors import ArdockError, ConnectionLost
    from ardock.protocol.methods import WAIT, Wait

    code = 0
    with connected(settings) as engine:
        # One after the other: each exit code is printed as soon as it is known, and in the order of the arguments.
        for ref in arguments:
            try:
                write([str(engine.call(WAIT, Wait(ref=ref)).exit_code)])
            except ConnectionLost:
                raise
            except ArdockError as error:
                complain(error.message)
                code = FAILED
    return code


command = FlagCommand(
    "wait",
    run,
    (),
    usage="CONTAINER [CONTAINER...]",
    help_text="Block until one or more containers stop, then print their exit codes",
    epilog="A container that was removed is answered for, too, as long as its exit code is kept.",
    failure=FAILED,
    interspersed=True,
)
