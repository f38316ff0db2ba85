"""`ardock rename`: give a container another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.several import check_count

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values


def run(settings: Settings, _values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("rename", arguments, 2, 2)
    from ardock.cli.connection import connected
    from ardock.protocol.methods import RENAME, Rename

    ref, name = arguments
    with connected(settings) as engine:
        engine.call(RENAME, Rename(ref=ref, name=name))
    return 0


command = FlagCommand(
    "rename",
    run,
    (),
    usage="CONTAINER NEW_NAME",
    help_text="Rename a container",
    failure=FAILED,
    interspersed=True,
)
