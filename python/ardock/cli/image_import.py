"""`ardock image import`: make an image of a directory, a tar, or a tar on standard input."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError, quoted
from ardock.cli.flags import Refused
from ardock.cli.several import check_count, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.model.image import ImageInfo

_CHUNK: Final = 64 << 10
_UNBUILT: Final = "an image is a root file system, without a configuration"
FLAGS = (
    Refused("change", _UNBUILT, short="c"),
    Refused("message", _UNBUILT, short="m"),
    Refused("platform", "images are not told apart by platform yet", harmless=("",)),
)


def run(settings: Settings, _values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("image import", arguments, 2, 2)
    from ardock.cli.connection import connected
    from ardock.protocol.image_methods import IMPORT, ImportImage

    source, name = arguments
    if source == "-":
        if os.isatty(0):
            raise CliError("image import -: standard input is a terminal: give a tar by a pipe or a file", FAILED)
        with connected(settings) as engine:
            image = _from_stdin(engine, name)
    else:
        # The engine is on this machine, so it reads the directory or the tar itself; but it is not in our directory.
        path = Path(source).absolute()
        if not path.exists():
            raise CliError(f"image import: {quoted(source)}: no such file or directory", FAILED)
        with connected(settings) as engine:
            image = engine.call(IMPORT, ImportImage(name=name, path=str(path)))
    write([image.id])
    return 0


def _from_stdin(engine: Connection, name: str) -> ImageInfo:
    """Send standard input to the engine, as much at a time as it takes.

    A lost connection ends it: what was read of a pipe cannot be read again.
    """
    from ardock.protocol.image_methods import IMPORT, ImportImage

    client = engine.client
    call = client.begin(IMPORT, ImportImage(name=name))
    at_end = False
    while not call.done:
        poller = select.poll()
        poller.register(client.fileno(), select.POLLIN | (select.POLLOUT if client.unsent else 0))
        # Not while the engine has enough: a pipe whose writer has gone would end every poll at once.
        if not at_end and call.sendable > 0:
            poller.register(0, select.POLLIN)
        for descriptor, _ in poller.poll():
            if descriptor != 0:
                client.flush()
                client.feed()
            elif not call.done:
                data = os.read(0, min(_CHUNK, call.sendable))
                at_end = not data
                if data:
                    call.send_bytes(0, data)
                else:
                    call.end(0)
    return call.result()


command = FlagCommand(
    "import",
    run,
    FLAGS,
    usage="[OPTIONS] DIR|TAR|- NAME[:TAG]",
    help_text="Make an image of a directory or an uncompressed tar",
    epilog="- reads the tar from standard input. The image's id is printed.",
    failure=FAILED,
    interspersed=True,
)
