"""`ardock image fsck`: take the digest of everything that is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, printable
from ardock.cli.flags import Switch
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

QUIET = Switch("quiet", "Only show what is wrong", short="q")
FLAGS = (QUIET,)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("image fsck", arguments, 0, 0)
    from ardock.cli.connection import connected
    from ardock.cli.progress import CHECKING, display
    from ardock.cli.transfer import transfer
    from ardock.docker.times import human_size
    from ardock.protocol.image_methods import CHECK
    from ardock.protocol.method import NoParams

    quiet = values.on(QUIET)
    with connected(settings) as engine, display(CHECKING, quiet=quiet) as shown:
        found = transfer(engine, CHECK, NoParams(), shown.tell)
    lines = [printable(f"{each.subject}: {each.what}; {each.remedy}") for each in found.problems]
    if not quiet:
        lines.append(
            f"{found.images} images, {found.layers} layers and {found.blobs} blobs ({human_size(found.bytes)}) checked: "
            f"{len(found.problems) or 'no'} problem{'' if len(found.problems) == 1 else 's'}"
        )
    write(lines)
    return FAILED if found.problems else 0


command = FlagCommand(
    "fsck",
    run,
    FLAGS,
    usage="[OPTIONS]",
    help_text="Verify every digest of the store, and rebuild its index",
    epilog="What is damaged and can be had again is removed. The exit code is 1 where something was wrong.",
    failure=FAILED,
    interspersed=True,
)
