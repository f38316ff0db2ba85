"""Programs joined to running containers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from ardock.engine import clock
from ardock.engine.containers import lifecycle, telling
from ardock.engine.containers import plan as planner
from ardock.engine.containers.container import SHORT_ID, Container
from ardock.engine.containers.launcher import input_descriptor
from ardock.engine.containers.ledger import Ledger
from ardock.engine.containers.oneshot import Done, OneShot
from ardock.engine.containers.resolve import Resolver, close_all
from ardock.engine.containers.results import run_result, whole
from ardock.engine.facts import Facts
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.program import Program
from ardock.engine.requests import Requests
from ardock.engine.state import NewEvent
from ardock.model.errors import ArdockError, Cancelled, NotRunning
from ardock.model.messages import Exec, Output
from ardock.model.spec import ExecSpec

_encode: Final = msgspec.msgpack.Encoder().encode
# As for a container's first program: a short one's start and end come in one message.
_HOLD_MS: Final = 20


class Execs:
    """Joins programs to the containers of one engine."""

    def __init__(
        self, resolver: Resolver, facts: Facts, ledger: Ledger, requests: Requests, nursery: trio.Nursery
    ) -> None:
        """Look up with `resolver`."""
        self._requests = requests
        self._resolver = resolver
        self._facts = facts
        self._ledger = ledger
        self._nursery = nursery

    def check(self, container: Container) -> Connection:
        """The connection of a container that a program can be joined to.

        Raises:
            NotRunning: It has ended, or has not been started.
        """
        if container.status not in lifecycle.JOINABLE or container.program is None:
            raise NotRunning(f"container {container.id[:SHORT_ID]} is not running: it is {container.status}")
        return container.program.connection

    async def start(
        self, container: Container, spec: ExecSpec, *, detached: bool = False, image_layers: tuple[str, ...] = ()
    ) -> Program:
        """Join a program and wait until it runs; its streams come with it unless it is `detached`.

        Raises:
            NotRunning: The container has ended.
            ArdockError: As a launch.
        """
        connection = self.check(container)
        places = container.places()
        await places.wait()
        try:
            await connection.slot()
        except trio.Cancelled:
            places.free()
            raise
        output = Output() if detached else Output(direct=True)
        program = self._launch(container, connection, spec, output, image_layers=image_layers)
        if detached:
            await program.until_answered()
        else:
            await program.until_answered_or_end()
        if program.start is None:
            assert program.error is not None, "answered without a start"
            raise program.error
        return program

    def run(
        self,
        container: Container,
        spec: ExecSpec,
        *,
        input_data: bytes | None,
        max_output: int,
        done: Done,
        exec_id: str | None = None,
        image_layers: tuple[str, ...] = (),
    ) -> OneShot:
        """Join a program and have `done` called with its result, or with the error.

        With an `exec_id` of the caller's (`id_of_request`) its result is written down under that.
        """

        def launch(call: OneShot, connection: Connection) -> None:
            if call.cancelled:
                connection.release_slot()
                container.places().free()
                call.finish(Cancelled("the call was cancelled"))
                return
            output = Output(capture=max_output)
            try:
                program = self._launch(
                    container,
                    connection,
                    spec,
                    output,
                    input_data=input_data,
                    image_layers=image_layers,
                    exec_id=exec_id,
                    over=lambda: call.over(container.id),
                )
            except ArdockError as error:
                call.finish(error)
                return
            call.program = program

        call = OneShot(self._nursery, launch, max_output, done)
        try:
            connection = self.check(container)
        except ArdockError as error:
            call.finish(error)
        else:
            container.places().take(lambda: call.queue(connection))
        return call

    def _launch(
        self,
        container: Container,
        connection: Connection,
        spec: ExecSpec,
        output: Output,
        *,
        input_data: bytes | None = None,
        image_layers: tuple[str, ...] = (),
        exec_id: str | None = None,
        over: Callable[[], None] | None = None,
    ) -> Program:
        """Queue it on `connection`, for which a slot and a place are held; both are given back where this raises."""
        fds: list[int] = []
        try:
            if connection.lost:
                raise connection.lost
            self.check(container)
            first = container.program
            assert first is not None, "checked"
            program = Program(connection, first.id, exec_id or os.urandom(32).hex())
            message = self._message(
                program, container, spec, output, image_layers=image_layers, has_input=input_data is not None
            )
            if input_data is not None:
                fds.append(input_descriptor(input_data, 0, 0))
        except ArdockError:
            close_all(fds)
            connection.release_slot()
            container.places().free()
            raise
        req, data = message
        self._watch(container, program, spec, over, keep=None if exec_id is None else output.capture)
        try:
            connection.launch(program, req, data, fds)
        except ArdockError:
            container.execs.pop(program.exec_id or "", None)
            container.places().free()
            raise
        return program

    def _message(
        self,
        program: Program,
        container: Container,
        spec: ExecSpec,
        output: Output,
        *,
        image_layers: tuple[str, ...],
        has_input: bool,
    ) -> tuple[int, bytes]:
        resolver = self._resolver
        of = container.spec
        roots = resolver.roots_of(of, image_layers)
        user = resolver.roots.user(roots, of.user if spec.user is None else spec.user, of.group_add)
        seccomp = resolver.seccomp(of, privileged=spec.privileged, joining=True)
        if seccomp is not None:
            program.connection.add_seccomp(seccomp, resolver.code(seccomp))
        hostname = of.hostname or container.id[:SHORT_ID]
        assert program.exec_id is not None, "it is an exec's program"
        req = program.connection.next_req()
        message = Exec(
            req=req,
            id=program.id,
            exec=program.exec_id,
            spec=planner.plan_exec(
                spec,
                of,
                self._facts,
                user=user,
                seccomp=seccomp,
                hostname=hostname,
                apparmor=container.apparmor,
                has_input=has_input,
            ),
            output=output,
            hold_ms=0 if output.capture is None else _HOLD_MS,
            fds=(0, int(has_input)),
        )
        return req, _encode(message)[:-2]

    def _watch(
        self,
        container: Container,
        program: Program,
        spec: ExecSpec,
        over: Callable[[], None] | None,
        *,
        keep: int | None,
    ) -> None:
        """Write down what becomes of it; with its result (so many bytes of each stream) where that must be kept."""
        exec_id = program.exec_id
        assert exec_id is not None, "it is an exec's program"
        container.execs[exec_id] = program
        command = " ".join(spec.argv[:32])[:4096]

        def told(program: Program) -> list[NewEvent]:
            start = program.start
            return [] if start is None else telling.joined(container, exec_id, command, start.started_at, start.timings)

        was_told = False

        def answered(program: Program) -> None:
            nonlocal was_told
            # One that has ended by now is written down in one commit by `ended`.
            if program.error is None and program.exit is None:
                self._ledger.tell_all(told(program))
                was_told = True

        def ended(program: Program) -> None:
            before = [] if was_told else told(program)
            if program.start is None:
                container.execs.pop(exec_id, None)
                container.places().free()
            else:
                self.ended(container, program, before, keep=keep)
            if over is not None:
                over()

        program.on_answer = answered
        program.on_end = ended

    def ended(self, container: Container, program: Program, before: list[NewEvent], *, keep: int | None = None) -> None:
        """An exec is over: write that down behind what was not told `before`, and let the keeper forget it."""
        exec_id = program.exec_id
        assert exec_id is not None, "it is an exec's program"
        container.execs.pop(exec_id, None)
        end = program.exit

        def written(failed: ArdockError | None) -> None:
            if failed is None:
                program.let_go()
            container.places().free()

        request = None
        if end is not None and keep is not None and whole(end, keep):
            request = self._requests.exec_entry(exec_id, run_result(program, container.id, end, keep))
        died = telling.exec_died(container, exec_id, end, clock.now())
        self._ledger.tell_all([*before, died], written, request)

    def adopt(self, container: Container, program: Program, *, told: bool, keep: int, over: Callable[[], None]) -> None:
        """Take over an exec that an earlier engine has started; `told`: its start is in the journal."""
        exec_id = program.exec_id
        assert exec_id is not None, "it is an exec's program"
        container.execs[exec_id] = program
        container.places().take_adopted()
        if not told:
            self._ledger.tell_all(telling.joined(container, exec_id, "", clock.now(), None))

        def ended(program: Program) -> None:
            self.ended(container, program, [], keep=keep)
            over()

        program.on_end = ended
        if program.over:
            program.changed()


def id_of_request(container_id: str, request_id: str) -> str:
    """The exec's id of a request: the same one again where it is repeated, whoever the engine's owner is by then."""
    return hashlib.sha256(f"{container_id} {request_id}".encode()).hexdigest()
