"""`ardock run`: make a container, start it, and stay in front of it, or leave it running."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ardock.cli import detach, signals
from ardock.cli.attached import ContainerFront, stop_words
from ardock.cli.connection import connected
from ardock.cli.errors import CliError, Interrupted
from ardock.cli.files import IdFile
from ardock.cli.run_spec import in_flags
from ardock.cli.streams import write_all
from ardock.cli.terminal import our_size
from ardock.model.errors import ArdockError, Conflict, InvalidArgument, NotFound, NotRunning
from ardock.protocol.methods import CREATE, KILL, REMOVE, START, Create, Kill, Ref, Remove

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.run_spec import RunRequest


def run(settings: Settings, request: RunRequest) -> int:
    """Run the container; the exit code.

    Raises:
        CliError: The engine refuses something that a flag asked for.
        ArdockError: What else the engine answers.
        Interrupted: A signal asked us to end, and the container was ended.
    """
    spec = request.spec
    if spec.tty:
        spec = msgspec.structs.replace(spec, tty_size=our_size())
    with (
        signals.Caught(proxy=request.sig_proxy) as caught,
        _id_file(request.cidfile) as id_file,
        connected(settings) as engine,
    ):
        try:
            container = engine.call(CREATE, Create(spec=spec, remove=request.remove)).id
        except (InvalidArgument, NotFound) as error:
            raise CliError(in_flags(error.message), error.exit_code) from error

        def started() -> None:
            if id_file is not None:
                id_file.write(container)

        try:
            if request.detach:
                engine.call(START, Ref(ref=container))
                started()
                write_all(1, f"{container}\n".encode())
                return 0
            front = ContainerFront(
                engine,
                caught,
                container,
                request.attached,
                tty=spec.tty,
                start=True,
                started=started,
                sig_proxy=request.sig_proxy,
                timeout=request.timeout,
                is_init=spec.pid == "private",
                stop_words=stop_words(spec),
                detach_keys=detach.parse(request.detach_keys),
            )
            return front.run()
        except Interrupted:
            _end(engine, container, remove=request.remove)
            raise
        except ArdockError as error:
            if request.remove:  # It did not start: nothing of it is of use.
                _end(engine, container, remove=True)
            if isinstance(error, InvalidArgument | NotFound):
                raise CliError(in_flags(error.message), error.exit_code) from error
            raise


def _end(engine: Connection, container: str, *, remove: bool) -> None:
    """End the container, if it is still there."""
    with contextlib.suppress(NotFound, NotRunning, Conflict):
        if remove:
            engine.call(REMOVE, Remove(ref=container, force=True))
        else:
            engine.call(KILL, Kill(ref=container))


@contextlib.contextmanager
def _id_file(path: str | None) -> Iterator[IdFile | None]:
    if path is None:
        yield None
        return
    with contextlib.closing(IdFile(path)) as id_file:
        yield id_file
