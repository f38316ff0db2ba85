"""Taking over what an earlier engine left: rows of the state and what the keepers hold, made one again.

A row says what was told of a container; a keeper's entry says what is. Where the entry is ahead, what happened meanwhile is
told now, in the keeper's order and with its true times; where a row has nothing behind it any more, its container is lost. A
container that has an entry and no row was thrown away at its end (or the database was lost): its blob is its record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import trio

from ardock.engine import clock
from ardock.engine.containers.container import Container
from ardock.engine.containers.deadline import kill_after
from ardock.engine.containers.ledger import Ledger
from ardock.engine.containers.row import Blob, decode_blob, decode_row, from_blob, unit_id
from ardock.engine.containers.service import Containers
from ardock.engine.containers.table import Table
from ardock.engine.keepers.adopt import Dead, JournalProgram, Living
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.program import Program
from ardock.engine.requests import exec_key, run_key
from ardock.engine.state import Loaded, State
from ardock.model import messages as m
from ardock.model.errors import FolderUnusable
from ardock.model.records import Adopted, ExitRecord

# How far back the journal is asked which execs' ends it has.
_EXECS_BACK: Final = 50_000


class _Told:
    """Which execs' starts and ends are in the journal: of a start or an end that is, the keeper only has not heard."""

    def __init__(self) -> None:
        """None."""
        self.starts: set[str] = set()
        self.ends: set[str] = set()


class Adoption:
    """The taking over, at the opening of an engine."""

    def __init__(
        self, table: Table, ledger: Ledger, containers: Containers, state: State, nursery: trio.Nursery
    ) -> None:
        """Into `table`, telling by `ledger`."""
        self.adopted: list[Adopted] = []
        self._table = table
        self._ledger = ledger
        self._containers = containers
        self._state = state
        self._nursery = nursery
        # Containers whose row says that they run, until something is found that does.
        self._running: dict[str, Container] = {}

    def load(self, loaded: Loaded) -> None:
        """Take in the rows.

        Raises:
            FolderUnusable: One is damaged.
        """
        found: list[Container] = []
        for container_id, row in loaded.containers:
            try:
                found.append(decode_row(row))
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise FolderUnusable(
                    f"the record of container {container_id[:12]} in the state cannot be read: {error}"
                ) from error
        for container in sorted(found, key=lambda container: container.created_at):
            self._table.add(container)
            if container.alive:
                container.status = "running"
                self._running[unit_id(container.id, container.run)] = container
            elif container.status == "removing":
                container.status = "dead"

    async def take_over(self, living: Iterable[Living], dead: Iterable[Dead], *, new_boot: bool) -> None:
        """Take in what the keepers hold, then account for what nobody holds."""
        living = list(living)
        told = _Told()
        if any(entry.execs for found in living for entry in found.entries):
            await self._read_told(told)
        entries = [(found.connection, entry) for found in living for entry in found.entries]
        # In the order in which the keepers saw the exits; what still runs comes last.
        entries.sort(key=lambda pair: (pair[1].exit is None, 0 if pair[1].exit is None else pair[1].exit.seq))
        for connection, entry in entries:
            self._take(connection, entry, told)
        for found in living:
            found.connection.adopted_all()
        for keeper in dead:
            for program in keeper.programs:
                self._account(program)
        for container in list(self._running.values()):
            reason = "host-rebooted" if new_boot else "lost"
            self._lose(container, reason)
        self._running.clear()

    async def _read_told(self, told: _Told) -> None:
        """Look into the journal for the execs of late."""
        seq = max(0, self._state.committed - _EXECS_BACK)
        while seq < self._state.committed:
            parts = await self._state.read_journal(seq, 1 << 20)
            if not parts:
                break
            for part in parts:
                seq = part.last
                for event in part.events():
                    if event.action == "exec_die":
                        told.ends.add(event.attributes.get("execID", ""))
                    elif event.action.startswith("exec_start"):
                        told.starts.add(event.attributes.get("execID", ""))

    def _take(self, connection: Connection, entry: m.Entry, told: _Told) -> None:
        program, joined = connection.adopt(entry)
        blob = decode_blob(entry.blob)
        row = self._running.pop(entry.id, None)
        container = row or self._container_of(blob)
        if container is None:
            # Its end was written down, and its keeper has not heard of that.
            program.let_go()
            for exec_program in joined:
                exec_program.let_go()
            return
        if row is None:
            if self._table.get(container.id) is None:
                container.name = self._table.free_name(container.name if self._is_free(container.name) else None)
                self._table.add(container)
            container.status = "starting"
        self._ledger.watch(container, program)
        if container.request_id is not None and container.kind == "run":
            self._containers.return_to(run_key(container.request_id), container, program, container.max_output)
        if program.over or program.answered:
            if row is not None and entry.exit is None:
                program.on_answer = None
            program.changed()
        if entry.exit is None and container.spec.timeout is not None:
            self._nursery.start_soon(self._timeout, container, program)
        self.adopted.append(
            Adopted(
                id=container.id, name=container.name, outcome="exited" if entry.exit else "running", exit=container.exit
            )
        )
        for exec_program in joined:
            self._take_exec(container, exec_program, told)

    def _is_free(self, name: str) -> bool:
        return not any(container.name == name for container in self._table)

    def _container_of(self, blob: Blob | None) -> Container | None:
        """The container of a run that no row says to be running."""
        if blob is None:
            return None
        known = self._table.get(blob.id)
        if known is not None:
            # A later run than the row knows of was started and not written down any more.
            if blob.run > known.run:
                known.run = blob.run
                return known
            return None
        if self._state.find_exit(blob.id) is not None:
            return None
        return from_blob(blob)

    def _take_exec(self, container: Container, program: Program, told: _Told) -> None:
        exec_id = program.exec_id
        assert exec_id is not None, "it is an exec's program"
        if exec_id in told.ends:
            program.let_go()
            return
        # Somebody may come back for its result; how much of its output was asked for, the keeper's capture has bounded.
        self._containers.return_to_exec(exec_key(exec_id), container, program, told=exec_id in told.starts)

    async def _timeout(self, container: Container, program: Program) -> None:
        assert container.spec.timeout is not None, "asked for"
        gone = max(0, clock.boottime() - container.started_boot) / 1e9 if container.started_boot else 0.0
        await kill_after(program, max(0.0, container.spec.timeout - gone))

    def _account(self, program: JournalProgram) -> None:
        """A container of a dead keeper."""
        blob = decode_blob(program.blob)
        row = self._running.pop(program.id, None)
        if row is None:
            if blob is None or self._table.get(blob.id) is not None or self._state.find_exit(blob.id) is not None:
                return
            row = from_blob(blob)
            row.name = self._table.free_name(row.name if self._is_free(row.name) else None)
            self._table.add(row)
        if program.started_at is not None:
            row.started_at = program.started_at
        end = program.exit
        if end is None:
            self._lose(row, "lost")
            return
        record = ExitRecord(
            id=row.id,
            exit_code=end.code,
            signal=end.signal,
            oom_killed=end.oom,
            started_at=row.started_at,
            finished_at=end.finished_at,
        )
        self._ledger.lost(row, record)
        self.adopted.append(Adopted(id=row.id, name=row.name, outcome="exited", exit=record))

    def _lose(self, container: Container, reason: str) -> None:
        record = ExitRecord(
            id=container.id,
            exit_code=255,
            reason="host-rebooted" if reason == "host-rebooted" else "lost",
            started_at=container.started_at,
            finished_at=clock.now(),
        )
        self._ledger.lost(container, record)
        self.adopted.append(Adopted(id=container.id, name=container.name, outcome="lost", exit=record))
