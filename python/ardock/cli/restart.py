"""`ardock restart`: stop containers if they run, then start them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.several import check_count, each
from ardock.cli.stop import SIGNAL, TIMEOUT, grace

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("restart", arguments, 1)
    from ardock.protocol.methods import RESTART, Stop

    timeout, signal = grace(values), values.one(SIGNAL)
    return each(settings, arguments, lambda ref: (RESTART, Stop(ref=ref, timeout=timeout, signal=signal)))


command = FlagCommand(
    "restart",
    run,
    (SIGNAL, TIMEOUT),
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    help_text="Restart one or more containers",
    failure=FAILED,
    interspersed=True,
)
