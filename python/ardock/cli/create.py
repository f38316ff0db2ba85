"""`ardock create`: make a container without starting it; its flags are those of `ardock run`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ardock.cli import run_flags as f
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError
from ardock.cli.files import IdFile
from ardock.cli.run_spec import in_flags, pull_wish, spec_of
from ardock.cli.several import write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.flags import Values

# What these ask for is asked for at the start.
FLAGS = tuple(flag for flag in f.RUN_FLAGS if flag not in (f.DETACH, f.DETACH_KEYS, f.SIG_PROXY))


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    import msgspec

    from ardock.cli.connection import connected
    from ardock.cli.making import make
    from ardock.model.errors import InvalidArgument, NotFound, Unsupported
    from ardock.protocol.methods import Create

    spec = spec_of(values, arguments, command="create")
    timeout = values.one(f.TIMEOUT)
    if timeout is not None:
        spec = msgspec.structs.replace(spec, timeout=timeout)
    path, wish = values.one(f.CIDFILE), pull_wish(values)
    with contextlib.ExitStack() as stack:
        id_file = None if path is None else stack.enter_context(contextlib.closing(IdFile(path)))
        engine = stack.enter_context(connected(settings))
        try:
            container = make(engine, Create(spec=spec, remove=values.on(f.REMOVE)), wish)
        except (InvalidArgument, NotFound, Unsupported) as error:
            raise CliError(in_flags(error.message), FAILED) from error
        if id_file is not None:
            id_file.write(container)
    write([container])
    return 0


command = FlagCommand(
    "create",
    run,
    FLAGS,
    usage="[OPTIONS] IMAGE|--rootfs PATH COMMAND [ARG...]",
    help_text="Create a new container",
    epilog="Options end at the command. Flags of Docker's that are not listed are refused by name.",
    failure=FAILED,
)
