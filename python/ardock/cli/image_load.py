"""`ardock image load`: take over the images of an archive."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ardock.cli import values as v
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError, quoted
from ardock.cli.flags import Flag, Switch
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.cli.progress import Display
    from ardock.model.image import Loaded
    from ardock.protocol.image_methods import LoadedImages

INPUT = Flag(
    "input", v.text, "Read from tar archive file (or the folder of an OCI layout), instead of STDIN", short="i"
)
PLATFORM = Flag("platform", v.text, "Load only the given platform. Formatted as os[/arch[/variant]]")
QUIET = Switch("quiet", "Suppress the load output", short="q")
FLAGS = (INPUT, PLATFORM, QUIET)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("load", arguments, 0, 0)
    from ardock.cli.connection import connected
    from ardock.cli.progress import LOADING, display

    path, platform = values.one(INPUT), values.one(PLATFORM) or ""
    if path is None and os.isatty(0):
        raise CliError("requested load from stdin, but stdin is empty", FAILED)
    with connected(settings) as engine, display(LOADING, quiet=values.on(QUIET)) as shown:
        loaded = _load(engine, path, platform, shown).images
    write([line for image in loaded for line in _lines(image)])
    return 0


def _load(engine: Connection, path: str | None, platform: str, shown: Display) -> LoadedImages:
    from ardock.cli.transfer import transfer, upload
    from ardock.protocol.image_methods import LOAD, Load

    if path is None:
        return upload(engine, LOAD, Load(platform=platform), 0, shown.tell)
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 - pathlib takes long to import
        if stat.S_ISDIR(kind) or (stat.S_ISREG(kind) and _is_there(engine, path)):
            # The engine reads it by itself, and where it is compressed or in disorder without a copy.
            return transfer(engine, LOAD, Load(path=os.path.abspath(path), platform=platform), shown.tell)  # noqa: PTH100
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CliError(f"-i, --input: {quoted(path)}: {error.strerror}", FAILED) from error
    try:
        return upload(engine, LOAD, Load(platform=platform), source, shown.tell)
    finally:
        os.close(source)


def _is_there(engine: Connection, path: str) -> bool:
    """The engine finds the same file by that path.

    It may be in another mount namespace, as seen from a container that has its socket. Where we may not look there, the file
    is sent.
    """
    ours = os.stat(path)  # noqa: PTH116 - as above
    try:
        theirs = os.stat(f"/proc/{engine.client.greet().pid}/root{os.path.abspath(path)}")  # noqa: PTH116, PTH100 - as above
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def _lines(image: Loaded) -> list[str]:
    if not image.names:
        return [f"Loaded image ID: {image.id}"]
    return [f"Loaded image: {name}" for name in image.names]


command = FlagCommand(
    "load",
    run,
    FLAGS,
    usage="[OPTIONS]",
    help_text="Load an image from a tar archive or STDIN",
    epilog="The archive is Docker's or an OCI layout, plain or compressed with gzip or zstd.",
    failure=FAILED,
    interspersed=True,
)
