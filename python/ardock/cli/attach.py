"""`ardock attach`: a running container's streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli import detach
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, UsageError
from ardock.cli.flags import Flag, Switch

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

DETACH_KEYS = Flag("detach-keys", detach.keys, "Override the key sequence for detaching from its terminal")
NO_STDIN = Switch("no-stdin", "Do not attach STDIN")
SIG_PROXY = Switch("sig-proxy", "Proxy all received signals to the process (default true)", default=True)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    if len(arguments) != 1:
        raise UsageError("attach requires 1 argument: ardock attach [OPTIONS] CONTAINER")
    from ardock.cli.attached import attach

    return attach(
        settings,
        arguments[0],
        stdin=not values.on(NO_STDIN),
        sig_proxy=values.on(SIG_PROXY),
        detach_keys=values.one(DETACH_KEYS),
    )


command = FlagCommand(
    "attach",
    run,
    (DETACH_KEYS, NO_STDIN, SIG_PROXY),
    usage="[OPTIONS] CONTAINER",
    help_text="Attach local standard input, output, and error streams to a running container",
    epilog="Its output is shown from its beginning. The exit code is the container's; 0 where it was detached from.",
    failure=FAILED,
    interspersed=True,
)
