"""`ardock run`: make a container, start it, and stay in front of it, or leave it running."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from ardock.cli import detach, signals
from ardock.cli.attached import ContainerFront, stop_words
from ardock.cli.connection import connected
from ardock.cli.errors import CliError, Interrupted
from ardock.cli.files import IdFile
from ardock.cli.making import make
from ardock.cli.run_spec import in_flags
from ardock.cli.streams import write_all, write_line
from ardock.cli.terminal import our_size
from ardock.model.errors import ArdockError, Conflict, InvalidArgument, NotFound, NotRunning, Unsupported
from ardock.protocol.methods import KILL, REMOVE, START, WAIT, Create, Kill, Ref, Remove, Wait

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
    if request.spec.tty:
        request = request._replace(spec=msgspec.structs.replace(request.spec, tty_size=our_size()))
    with (
        signals.Caught(proxy=request.sig_proxy) as caught,
        _id_file(request.cidfile) as id_file,
        connected(settings) as engine,
    ):
        try:
            while True:
                code = _run_one(engine, caught, request, id_file)
                if code is not None:
                    return code
        except (InvalidArgument, NotFound, Unsupported) as error:
            raise CliError(in_flags(error.message), error.exit_code) from error


def _run_one(engine: Connection, caught: signals.Caught, request: RunRequest, id_file: IdFile | None) -> int | None:
    """Make a container and stay with it to its end; None where it was lost before its start, and is to be made anew.

    One that removes itself is not written down before it starts: where the owner ends in between, the next has never heard of
    it.
    """
    container = make(engine, Create(spec=request.spec, remove=request.remove), request.pull)
    changes = engine.changes

    def started() -> None:
        if id_file is not None:
            id_file.write(container)

    try:
        if request.detach:
            engine.call(START, Ref(ref=container))
            started()
            write_all(1, f"{container}\n".encode())
            return 0
        code = _front(engine, caught, request, container, started).run()
        # The end of a short program may be answered before its start; one that was not started has raised.
        started()
        return code
    except Interrupted:
        _end(engine, container, remove=request.remove)
        raise
    except NotFound:
        if not request.remove or engine.changes == changes:
            raise
        return _outcome(engine, container)
    except ArdockError:
        if request.remove:  # It did not start: nothing of it is of use.
            _end(engine, container, remove=True)
        raise


def _front(
    engine: Connection, caught: signals.Caught, request: RunRequest, container: str, started: Callable[[], None]
) -> ContainerFront:
    spec = request.spec
    return ContainerFront(
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


def _outcome(engine: Connection, container: str) -> int | None:
    """The exit code of a container that is gone, if it ever ran: exit codes outlive their containers."""
    try:
        record = engine.call(WAIT, Wait(ref=container))
    except NotFound:
        return None
    write_line(2, "ardock: the engine's owner has ended, and the container with its output before it could be shown\n")
    return record.exit_code


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
