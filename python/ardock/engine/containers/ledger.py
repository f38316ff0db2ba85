"""What happened, written down: each change of a container, its events and its request in one commit.

Every method is synchronous and called where something happened, so the numbers of the events have the order of what they
tell. A keeper forgets an exit only after the commit that has it (`Program.let_go`).

A container that is thrown away at its end is written down only once it runs, and not at all where it has ended by then: until
that its keeper's blob is its record. Its ``create`` event therefore comes in the same commit as its ``start``.
"""

from __future__ import annotations

from collections.abc import Callable

from ardock.engine import clock
from ardock.engine.containers import telling
from ardock.engine.containers.container import Container
from ardock.engine.containers.results import exit_record, run_result, whole
from ardock.engine.containers.row import encode_row
from ardock.engine.containers.table import Table
from ardock.engine.keepers.program import Program
from ardock.engine.requests import Requests
from ardock.engine.state import Changes, Departed, NewEvent, State
from ardock.model.errors import ArdockError, KeeperLost
from ardock.model.records import ExitRecord


class Ledger:
    """Writes down what happens to the containers of one engine."""

    def __init__(self, state: State, table: Table, requests: Requests, discard: Callable[[Container], None]) -> None:
        """Write to `state`.

        Args:
            state: The journal and the rows.
            table: All containers.
            requests: Whose results go into the commits.
            discard: Called with a container that is removed: its writable layer and log can go.
        """
        self._state = state
        self._table = table
        self._requests = requests
        self.discard = discard

    # --- creation ---

    def creation(self, container: Container, result: bytes) -> Changes:
        """The commit that makes a kept container."""
        container.written = True
        return Changes(
            events=(telling.event(container, "create", container.created_at),),
            put=((container.id, encode_row(container)),),
            request=self._requests.take(result),
            fsync=True,
            may_fail=True,
        )

    # --- a run ---

    def watch(self, container: Container, program: Program) -> None:
        """`program` is this container's from now on: what becomes of it is written down."""
        container.program = program

        def answered(program: Program) -> None:
            self._answered(container, program)

        def ended(program: Program) -> None:
            self._ended(container, program)

        def oom(_: Program) -> None:
            container.ooms += 1
            row = ((container.id, encode_row(container)),) if container.written else ()
            self._state.commit(Changes(events=(telling.event(container, "oom", clock.now()),), put=row))

        program.oom_told = container.ooms

        program.on_answer = answered
        program.on_end = ended
        program.on_oom = oom

    def _answered(self, container: Container, program: Program) -> None:
        start = program.start
        if start is not None:
            container.started_at = start.started_at
            container.started_boot = start.started_boot
            container.timings = start.timings
            container.pid = start.pid
        taps, container.taps = container.taps, []
        for tap in taps:
            tap(program if program.error is None else program.error)
        # A program that has ended by now, or never ran, is written down in one commit by `_ended`.
        if program.error is None and program.exit is None:
            container.move("started")
            first = () if container.written else (telling.event(container, "create", container.created_at),)
            container.written = True
            start_request, container.start_request = container.start_request, None
            self._state.commit(
                Changes(
                    events=(*first, self._start_event(container)),
                    put=((container.id, encode_row(container)),),
                    request=None if start_request is None else self._requests.take(b"\x80", start_request),
                )
            )
        container.answered()

    def _start_event(self, container: Container) -> NewEvent:
        return telling.event(container, "start", container.started_at, timings=container.timings)

    def _ended(self, container: Container, program: Program) -> None:
        error = program.error
        if error is not None and not (isinstance(error, KeeperLost) and program.start is not None):
            self.failed(container, error)
            return
        if error is not None:
            end = ExitRecord(
                id=container.id, exit_code=255, reason="lost", started_at=container.started_at, finished_at=clock.now()
            )
            self.lost(container, end)
            return
        assert program.exit is not None, "over without an error"
        end = exit_record(container.id, None, program.start, program.exit)
        before: list[NewEvent] = []
        if container.status == "starting":
            if not container.written:
                before.append(telling.event(container, "create", container.created_at))
            before.append(self._start_event(container))
        container.move("ended")
        # An `oom` that was told while it ran is not told again.
        died = telling.died(container, end, program.exit.duration_ns)
        if program.oom_told:
            died = [event for event in died if event.action != "oom"]
        self._over(container, end, [*before, *died], program)

    def lost(self, container: Container, end: ExitRecord) -> None:
        """Its keeper died, or the machine was started anew: its exit code is not known."""
        container.move("lost")
        self._over(container, end, telling.died(container, end, max(0, end.finished_at - end.started_at)), None)

    def _over(self, container: Container, end: ExitRecord, events: list[NewEvent], program: Program | None) -> None:
        container.exit = end
        container.finished_at = end.finished_at
        container.pid = 0
        container.touch()
        request = None
        if program is not None and container.kind == "run" and container.request_id is not None:
            assert program.exit is not None, "its end is told"
            if whole(program.exit, container.max_output):
                result = run_result(program, container.id, program.exit, container.max_output)
                request = self._requests.run_entry(container.request_id, result)

        def written(failed: ArdockError | None) -> None:
            if program is not None and failed is None:
                program.let_go()

        if container.remove:
            events.append(telling.event(container, "destroy", clock.now()))
            changes = Changes(
                events=tuple(events),
                drop=(container.id,) if container.written else (),
                exits=(Departed(id=container.id, name=container.name, exit=end),),
                request=request,
            )
        else:
            changes = Changes(events=tuple(events), put=((container.id, encode_row(container)),), request=request)
        if container.remove:
            self._table.remove(container)
        self._state.commit(changes, written)
        container.ended()
        if container.remove:
            self.discard(container)
            container.gone()

    def failed(self, container: Container, error: ArdockError) -> None:
        """Its program could not be started."""
        container.move("failed")
        container.error = error.message
        container.failure = error
        taps, container.taps = container.taps, []
        for tap in taps:
            tap(error)
        if container.remove:
            first = () if container.written else (telling.event(container, "create", container.created_at),)
            self._table.remove(container)
            self._state.commit(
                Changes(
                    events=(*first, telling.event(container, "destroy", clock.now())),
                    drop=(container.id,) if container.written else (),
                )
            )
        elif container.written:
            self._state.commit(Changes(put=((container.id, encode_row(container)),)))
        container.answered()
        container.ended()
        if container.remove:
            self.discard(container)
            container.gone()

    # --- what is done to it ---

    def tell(self, container: Container, action: str, attributes: dict[str, str] | None = None) -> None:
        """An event without a change of state (``kill``, ``stop``, ...)."""
        self.tell_all([telling.event(container, action, clock.now(), attributes)])

    def tell_all(
        self,
        events: list[NewEvent],
        then: Callable[[ArdockError | None], None] | None = None,
        request: tuple[str, bytes] | None = None,
    ) -> None:
        """Events without a change of state, in one commit."""
        self._state.commit(Changes(events=tuple(events), request=request), then)

    def renaming(self, container: Container, former: str) -> Changes:
        """The commit of a new name that `container` has by now."""
        return Changes(
            events=(telling.event(container, "rename", clock.now(), {"oldName": f"/{former}"}),),
            put=((container.id, encode_row(container)),) if container.written else (),
            request=self._requests.take(b"\x80"),
            fsync=True,
        )

    def removal(self, container: Container, volumes: tuple[tuple[str, bytes], ...] = ()) -> Changes:
        """The commit that removes a container, which is in the state ``removing``; `volumes` are rows that change with that."""
        gone = () if container.exit is None else (Departed(id=container.id, name=container.name, exit=container.exit),)
        return Changes(
            events=(telling.event(container, "destroy", clock.now()),),
            drop=(container.id,),
            put_volumes=volumes,
            exits=gone,
            request=self._requests.take(b"\x80"),
            fsync=True,
        )
