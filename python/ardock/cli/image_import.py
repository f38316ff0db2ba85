"""`ardock image import`: make an image of a directory, a tar, or a tar on standard input."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError, quoted
from ardock.cli.flags import Flag, Many
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

CHANGE = Many("change", v.text, "Apply Dockerfile instruction to the created image", short="c")
MESSAGE = Flag("message", v.text, "Set commit message for imported image", short="m")
PLATFORM = Flag("platform", v.text, "Set platform if server is multi-platform capable")
FLAGS = (CHANGE, MESSAGE, PLATFORM)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("image import", arguments, 1, 2)
    from ardock.cli.connection import connected
    from ardock.cli.transfer import upload
    from ardock.protocol.image_methods import IMPORT, ImportImage

    source = arguments[0]
    # The engine is on this machine, so it reads the directory or the tar itself; but it is not in our directory.
    path = None if source == "-" else os.path.abspath(source)  # noqa: PTH100 - pathlib takes long to import
    params = ImportImage(
        name=arguments[1] if len(arguments) > 1 else "",
        path=path,
        changes=tuple(values.many(CHANGE)),
        message=values.one(MESSAGE) or "",
        platform=values.one(PLATFORM) or "",
    )
    if path is None:
        if os.isatty(0):
            raise CliError("image import -: standard input is a terminal: give a tar by a pipe or a file", FAILED)
        with connected(settings) as engine:
            image = upload(engine, IMPORT, params, 0)
    else:
        if source.startswith(("http://", "https://")):
            raise CliError(f"image import: {quoted(source)}: download it, and give the file (or -)", FAILED)
        if not os.path.exists(path):  # noqa: PTH110 - as above
            raise CliError(f"image import: {quoted(source)}: no such file or directory", FAILED)
        with connected(settings) as engine:
            image = engine.call(IMPORT, params)
    write([image.id])
    return 0


command = FlagCommand(
    "import",
    run,
    FLAGS,
    usage="[OPTIONS] DIR|TAR|- [REPOSITORY[:TAG]]",
    help_text="Import the contents from a tarball to create a filesystem image",
    epilog="The tar may be compressed with gzip or zstd; - reads it from standard input. The image's id is printed.",
    failure=FAILED,
    interspersed=True,
)
