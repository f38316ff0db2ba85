"""`ardock export`: a container's root file system as a tar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Flag
from ardock.cli.several import check_count

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

OUTPUT = Flag("output", v.text, "Write to a file, instead of STDOUT", short="o")
FLAGS = (OUTPUT,)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("export", arguments, 1, 1)
    from ardock.cli.connection import connected
    from ardock.cli.outfile import archive
    from ardock.cli.signals import raise_ends
    from ardock.cli.transfer import download
    from ardock.protocol.image_methods import EXPORT, ContainerRef

    raise_ends()  # A file that is not whole is removed.
    with archive(values.one(OUTPUT)) as sink, connected(settings) as engine:
        download(engine, EXPORT, ContainerRef(ref=arguments[0]), sink)
    return 0


command = FlagCommand(
    "export",
    run,
    FLAGS,
    usage="[OPTIONS] CONTAINER",
    help_text="Export a container's filesystem as a tar archive",
    failure=FAILED,
    interspersed=True,
)
