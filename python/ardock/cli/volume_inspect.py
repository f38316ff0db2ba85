"""`ardock volume inspect`: all about volumes, in Docker's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.inspect import FORMAT, show
from ardock.cli.several import check_count

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("volume inspect", arguments, 1)
    return show(settings, arguments, "volume", values.one(FORMAT))


command = FlagCommand(
    "inspect",
    run,
    (FORMAT,),
    usage="[OPTIONS] VOLUME [VOLUME...]",
    help_text="Display detailed information on one or more volumes",
    failure=FAILED,
    interspersed=True,
)
