"""`ardock diff`: what a container has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, printable
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(settings: Settings, _values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("diff", arguments, 1, 1)
    from ardock.cli.connection import connected
    from ardock.cli.following import records
    from ardock.model.errors import ConnectionLost
    from ardock.model.image import Change
    from ardock.protocol.image_methods import DIFF, ContainerRef

    with connected(settings) as engine:
        while True:
            # Printed once all are here: of two owners each tells all of them.
            lines: list[str] = []
            try:
                for batch in records(engine, DIFF, ContainerRef(ref=arguments[0])):
                    lines += [printable(f"{each.kind} {each.path}") for each in batch if isinstance(each, Change)]
            except ConnectionLost:
                engine.reconnect()
            else:
                break
    write(lines)
    return 0


command = FlagCommand(
    "diff",
    run,
    (),
    usage="CONTAINER",
    help_text="Inspect changes to files or directories on a container's filesystem",
    failure=FAILED,
    interspersed=True,
)
