"""`ardock image save`: images as one archive."""

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
PLATFORM = Flag("platform", v.text, "Save only the given platform. Formatted as os[/arch[/variant]]")
FLAGS = (OUTPUT, PLATFORM)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("save", arguments, 1)
    from ardock.cli.connection import connected
    from ardock.cli.outfile import archive
    from ardock.cli.signals import raise_ends
    from ardock.cli.transfer import download
    from ardock.protocol.image_methods import SAVE, Save

    raise_ends()  # A file that is not whole is removed.
    with archive(values.one(OUTPUT)) as sink, connected(settings) as engine:
        download(engine, SAVE, Save(refs=arguments, platform=values.one(PLATFORM) or ""), sink)
    return 0


command = FlagCommand(
    "save",
    run,
    FLAGS,
    usage="[OPTIONS] IMAGE [IMAGE...]",
    help_text="Save one or more images to a tar archive (streamed to STDOUT by default)",
    epilog="The archive is an OCI layout and what docker load takes. A file gets its name once it is whole.",
    failure=FAILED,
    interspersed=True,
)
