"""One container as the engine knows it: a state machine without I/O, that callbacks drive and tasks wait on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import trio

from ardock.engine.containers import lifecycle
from ardock.engine.containers.places import Places
from ardock.engine.keepers.program import Program
from ardock.model.container import ContainerInfo, ContainerSummary, Status
from ardock.model.errors import ArdockError
from ardock.model.records import ExitRecord, Timings
from ardock.model.spec import ContainerSpec

# ``run``: captured, its caller waits for the result. ``spawn``: its caller holds its streams. ``kept``: it was created and has a
# life of its own.
Kind = Literal["run", "spawn", "kept"]

# Words of an argument list that a list shows.
_SHOWN_WORDS: Final = 32
_SHOWN_CHARACTERS: Final = 4096
SHORT_ID: Final = 12


class Container:
    """A container, from its creation to its removal.

    Attributes:
        id: 64 hexadecimal digits.
        name: Unique among the containers of its engine.
        spec: What was asked for.
        kind: Who has it, see `Kind`.
        remove: It is removed when it has ended.
        created_at: Wall clock, ns since 1970.
        status: Where it is in its life; changed by `move` alone.
        run: How often it was started.
        program: Its first program's, of the last run; None before the first.
        started_at: Of the last run; wall clock, ns since 1970.
        started_boot: The same on CLOCK_BOOTTIME.
        finished_at: Of the last run; wall clock, ns since 1970.
        pid: Process id on the host, while it runs.
        timings: Where the last launch's time went.
        exit: How the last run ended.
        error: Why the last start failed.
        image_id: The image it was made from.
        restarts: How often it was restarted.
        ooms: How often this run was told that the kernel has killed in it for want of memory.
        log: Path of its log beneath the root folder; empty: none.
        apparmor: The AppArmor profile of the last run; ``"unconfined"``; empty before the first and on a host without AppArmor.
        execs: The execs that run in it.
        exec_places: Bounds the execs that its keeper holds.
        written: There is a row of it in the state.
        start_request: The request that starts it, whose result is written with its start.
        request_id: The request that made it, for a caller who comes back.
        max_output: Bytes captured of each stream (kind ``run``).
        bound: It ends with the caller in this process who made it.
        on_ended: Called once each when its program has ended or failed to start.
        failure: The last start's error, for whoever waits for its end.
        taps: Attachments that want the streams of the next run, from the start.
    """

    __slots__ = (
        "_answered",
        "_ended",
        "_gone",
        "_summary",
        "apparmor",
        "bound",
        "created_at",
        "error",
        "exec_places",
        "execs",
        "exit",
        "failure",
        "finished_at",
        "id",
        "image_id",
        "kind",
        "log",
        "max_output",
        "name",
        "on_ended",
        "ooms",
        "pid",
        "program",
        "remove",
        "request_id",
        "restarts",
        "run",
        "spec",
        "start_request",
        "started_at",
        "started_boot",
        "status",
        "taps",
        "timings",
        "written",
    )

    def __init__(
        self, container_id: str, name: str, spec: ContainerSpec, *, kind: Kind, remove: bool, created_at: int
    ) -> None:
        """One that was just created."""
        self.id = container_id
        self.name = name
        self.spec = spec
        self.kind: Kind = kind
        self.remove = remove
        self.created_at = created_at
        self.status: Status = "created"
        self.run = 0
        self.program: Program | None = None
        self.started_at = 0
        self.started_boot = 0
        self.finished_at = 0
        self.pid = 0
        self.timings: Timings | None = None
        self.exit: ExitRecord | None = None
        self.error = ""
        self.image_id = ""
        self.restarts = 0
        self.ooms = 0
        self.log = ""
        self.apparmor = ""
        self.execs: dict[str, Program] = {}
        self.exec_places: Places | None = None
        self.written = False
        self.request_id: str | None = None
        self.start_request: str | None = None
        self.max_output = 0
        self.bound = False
        self.on_ended: list[Callable[[Container], None]] = []
        self.failure: ArdockError | None = None
        self.taps: list[Callable[[Program | ArdockError], None]] = []
        self._answered: trio.Event | None = None
        self._ended: trio.Event | None = None
        self._gone: trio.Event | None = None
        self._summary: ContainerSummary | None = None

    def __repr__(self) -> str:
        """Its name and state."""
        return f"<Container {self.id[:SHORT_ID]} {self.name!r} {self.status}>"

    def places(self) -> Places:
        """What bounds its execs; most containers have none and no need of it."""
        if self.exec_places is None:
            self.exec_places = Places()
        return self.exec_places

    @property
    def alive(self) -> bool:
        """A program of it runs or is about to."""
        return self.status in lifecycle.ALIVE

    def move(self, happening: lifecycle.Happening) -> None:
        """Change its state by the table, and count its runs: a start that fails was none.

        Raises:
            AssertionError: The table has no such move: a fault of the engine's.
        """
        status = lifecycle.after(self.status, happening)
        assert status is not None, f"{happening!r} cannot happen to {self!r}"
        if happening == "start":
            self.run += 1
            self.ooms = 0
        elif happening == "failed":
            self.run -= 1
            if self.exit is not None:
                status = "exited"
        self.status = status
        self._summary = None

    def touch(self) -> None:
        """Something that a list shows was changed."""
        self._summary = None

    # --- waiting ---

    def answered(self) -> None:
        """Tell everybody that its start is answered, one way or the other."""
        if self._answered is not None:
            event, self._answered = self._answered, None
            event.set()

    async def until_answered(self) -> None:
        """Wait until a start that is under way is answered."""
        if self.status == "starting":
            if self._answered is None:
                self._answered = trio.Event()
            await self._answered.wait()

    def ended(self) -> None:
        """Tell everybody that its program is over: called after `move`."""
        callbacks, self.on_ended = self.on_ended, []
        for callback in callbacks:
            callback(self)
        if self._ended is not None:
            event, self._ended = self._ended, None
            event.set()

    def gone(self) -> None:
        """Tell everybody that it was removed."""
        if self._gone is not None:
            self._gone.set()

    async def until_ended(self) -> None:
        """Wait for the next end of a program of it."""
        if self._ended is None:
            self._ended = trio.Event()
        await self._ended.wait()

    async def until_gone(self) -> None:
        """Wait until it is removed."""
        if self._gone is None:
            self._gone = trio.Event()
        await self._gone.wait()

    # --- telling ---

    def image(self) -> str:
        """The image's name, or the path of its root file system."""
        spec = self.spec
        return spec.image or spec.rootfs or (spec.layers[0] if spec.layers else "")

    def summary(self) -> ContainerSummary:
        """Its line in a list; made once for each change."""
        if self._summary is None:
            spec = self.spec
            self._summary = ContainerSummary(
                id=self.id,
                name=self.name,
                image=self.image(),
                argv=shortened(spec.command),
                created_at=self.created_at,
                status=self.status,
                started_at=self.started_at,
                started_boot=self.started_boot,
                finished_at=self.finished_at,
                exit_code=None if self.exit is None else self.exit.exit_code,
                pid=self.pid,
                labels=spec.labels,
                mounts=tuple([mount.source for mount in spec.mounts if mount.type != "tmpfs"]),
                network=spec.network,
                remove=self.remove,
            )
        return self._summary

    def info(self) -> ContainerInfo:
        """All about it."""
        return ContainerInfo(
            id=self.id,
            name=self.name,
            spec=self.spec,
            remove=self.remove,
            status=self.status,
            created_at=self.created_at,
            started_at=self.started_at,
            started_boot=self.started_boot,
            finished_at=self.finished_at,
            run=self.run,
            pid=self.pid,
            exit=self.exit,
            error=self.error,
            timings=self.timings,
            image_id=self.image_id,
            restarts=self.restarts,
            execs=tuple(self.execs),
            log=self.log,
            apparmor=self.apparmor,
        )


def shortened(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv`, or the beginnings of its first words where it is very long."""
    if len(argv) <= _SHOWN_WORDS and sum(map(len, argv)) <= _SHOWN_CHARACTERS:
        return argv
    return tuple([word[:64] for word in argv[:_SHOWN_WORDS]])
