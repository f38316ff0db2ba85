"""`ardock stop`: stop containers, and wait until they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Flag
from ardock.cli.several import check_count, each

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

# Docker's -1 is to wait for ever; 31 years are.
_FOR_EVER: Final = 1e9

SIGNAL = Flag("signal", v.signal, "Signal to send to the container", short="s")
TIMEOUT = Flag(
    "timeout",
    v.integer(low=-1),
    "Seconds to wait before killing the container (-1 waits for ever; default is the container's own)",
    short="t",
    metavar="int",
    aliases=("time",),
)


def grace(values: Values) -> float | None:
    """The seconds of --timeout; None is the container's own."""
    seconds = values.one(TIMEOUT)
    if seconds is None:
        return None
    return _FOR_EVER if seconds < 0 else float(seconds)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("stop", arguments, 1)
    from ardock.protocol.methods import STOP, Stop

    timeout, signal = grace(values), values.one(SIGNAL)
    return each(settings, arguments, lambda ref: (STOP, Stop(ref=ref, timeout=timeout, signal=signal)))


command = FlagCommand(
    "stop",
    run,
    (SIGNAL, TIMEOUT),
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    help_text="Stop one or more running containers",
    failure=FAILED,
    interspersed=True,
)
