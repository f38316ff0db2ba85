"""`ardock image inspect`: all about images, in Docker's JSON."""

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
    check_count("image inspect", arguments, 1)
    return show(settings, arguments, "image", values.one(FORMAT))


command = FlagCommand(
    "inspect",
    run,
    (FORMAT,),
    usage="[OPTIONS] IMAGE [IMAGE...]",
    help_text="Display detailed information on one or more images",
    failure=FAILED,
    interspersed=True,
)
