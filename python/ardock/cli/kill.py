"""`ardock kill`: send a signal to the first program of containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Flag
from ardock.cli.several import check_count, each

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

SIGNAL = Flag("signal", v.signal, "Signal to send to the container (default SIGKILL)", short="s")


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("kill", arguments, 1)
    from ardock.protocol.methods import KILL, Kill

    signal = values.one(SIGNAL) or "SIGKILL"
    return each(settings, arguments, lambda ref: (KILL, Kill(ref=ref, signal=signal)))


command = FlagCommand(
    "kill",
    run,
    (SIGNAL,),
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    help_text="Kill one or more running containers",
    failure=FAILED,
    interspersed=True,
)
