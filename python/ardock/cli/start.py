"""`ardock start`: start containers that were created or have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli import detach
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, UsageError
from ardock.cli.flags import Flag, Refused, Switch
from ardock.cli.several import check_count, each

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

ATTACH = Switch("attach", "Attach STDOUT/STDERR and forward signals", short="a")
INTERACTIVE = Switch("interactive", "Attach container's STDIN", short="i")
DETACH_KEYS = Flag("detach-keys", detach.keys, "Override the key sequence for detaching a container")
_CHECKPOINTS = "checkpoints are not built"
FLAGS = (
    ATTACH,
    INTERACTIVE,
    DETACH_KEYS,
    Refused("checkpoint", _CHECKPOINTS, harmless=("",)),
    Refused("checkpoint-dir", _CHECKPOINTS, harmless=("",)),
)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("start", arguments, 1)
    output, stdin = values.on(ATTACH), values.on(INTERACTIVE)
    if output or stdin:
        if len(arguments) > 1:
            raise UsageError("you cannot start and attach multiple containers at once")
        from ardock.cli.attached import start_attached

        return start_attached(
            settings,
            arguments[0],
            stdin=stdin,
            output=output,
            sig_proxy=True,
            detach_keys=values.one(DETACH_KEYS),
        )
    from ardock.protocol.methods import START, Ref

    return each(settings, arguments, lambda ref: (START, Ref(ref=ref)))


command = FlagCommand(
    "start",
    run,
    FLAGS,
    usage="[OPTIONS] CONTAINER [CONTAINER...]",
    help_text="Start one or more stopped containers",
    failure=FAILED,
    interspersed=True,
)
