"""The daemon itself: opens the engine, serves it, ends when it is told to. The containers go on without it."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

import trio

from ardock.daemon.systemd import Notifier, inherited_sockets
from ardock.engine import own_engine
from ardock.model.registry import RegistryOptions
from ardock.model.spec import ScratchKind
from ardock.server import GROUP, serving

_log: Final = logging.getLogger("ardock.daemon")

DEFAULT_RUN_DIR: Final = "/run/ardock"
# Where clients look that know no root folder; one daemon of a machine listens there.
WELL_KNOWN: Final = "/run/ardock/ardock.sock"


class Options(NamedTuple):
    """What a daemon is started with.

    Attributes:
        root: The root folder.
        run_dir: The run folder.
        sockets: Paths to listen at, besides ``<run folder>/<engine id>/ardock.sock``. None: the well-known one, where the run
            folder is the default one, no socket was handed over, and nobody else listens there.
        group: Its members may connect, besides root.
        scratch: The default of containers' scratch.
        storage_driver: How layers are kept; empty: by what there is.
        storage_options: Of the driver, by their names.
        registry: How registries are reached; None: as the machine's file says.
    """

    root: str
    run_dir: str
    sockets: tuple[str, ...] = ()
    group: str = GROUP
    scratch: ScratchKind = "disk"
    storage_driver: str = ""
    storage_options: Mapping[str, str] | None = None
    registry: RegistryOptions | None = None


def run(options: Options) -> None:
    """Be the daemon, until SIGTERM or SIGINT.

    Raises:
        ArdockError: The engine cannot be opened, or a socket not be made.
    """
    notify = Notifier.from_environment()
    with ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in inherited_sockets()]
        _raise_limit()
        # Millions of short-lived records come and go, and hardly a cycle among them.
        gc.enable()
        gc.set_threshold(50_000, 20, 50)
        trio.run(_run, options, sockets, notify)


async def _run(options: Options, sockets: Sequence[socket.socket], notify: Notifier) -> None:
    daemon = _Daemon(options, sockets, notify)
    failure: BaseException | None = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.await_signal, signals)
            try:
                await daemon.own()
            except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    _log.info("ended")


class _Daemon:
    """From the start to the end."""

    def __init__(self, options: Options, sockets: Sequence[socket.socket], notify: Notifier) -> None:
        self._options = options
        self._sockets = sockets
        self._notify = notify
        self._opening = trio.CancelScope()
        self._serves = False
        self._told = trio.Event()

    async def await_signal(self, signals: AsyncIterator[int]) -> None:
        """The first signal ends us, in good order; a further one changes nothing, since that is soon."""
        async for number in signals:
            _log.info("told to end", extra={"fields": {"signal": signal.Signals(number).name}})
            self._notify.tell("STOPPING=1")
            self._told.set()
            if not self._serves:
                self._opening.cancel()

    async def own(self) -> None:
        """Own the root folder and serve it until told to end."""
        options = self._options
        usual = not options.sockets and not self._sockets and options.run_dir == DEFAULT_RUN_DIR
        with self._opening:
            async with (
                own_engine(
                    options.root,
                    options.run_dir,
                    scratch=options.scratch,
                    storage_driver=options.storage_driver,
                    storage_options=options.storage_options,
                    registry=options.registry,
                ) as engine,
                serving(
                    engine,
                    paths=options.sockets,
                    unless_taken=(WELL_KNOWN,) if usual else (),
                    sockets=self._sockets,
                    group=options.group,
                ) as path,
            ):
                self._serves = True
                # What is there now stays: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                fields = {"engine": engine.id, "root": options.root, "socket": str(path), "pid": os.getpid()}
                _log.info("serving", extra={"fields": fields})
                self._notify.tell("READY=1", f"STATUS=serving {options.root} as engine {engine.id}")
                await self._told.wait()


def _raise_limit() -> None:
    """As many descriptors as we may have: a thousand clients, and every container's pipes for a moment.

    The keeper sets its own, and what a container gets is in its specification: neither inherits this.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
