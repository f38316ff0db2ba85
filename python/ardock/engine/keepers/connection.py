"""The engine's end of one keeper's socket.

Two tasks for all containers: one waits for the socket, takes everything that is there in one wake-up and hands each reply to
whoever waits for it; one sends, once for each scheduler tick, what that tick has queued. A message costs no task and no
thread hop.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ardock import _core
from ardock.engine import failpoints
from ardock.engine.keepers import mapping
from ardock.engine.keepers.outbox import Outbox
from ardock.engine.keepers.program import Program
from ardock.model import messages as m
from ardock.model.errors import ArdockError, KeeperLost, KeeperUnavailable, NotFound, NotRunning, ProtocolViolation

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[m.Reply]).decode
# Packets taken in one wake-up, so that other tasks get their turn.
_MOST_PACKETS: Final = 64
# Seconds for a keeper's welcome; it is a process that does nothing slow.
_PATIENCE: Final = 10

ReplyT = TypeVar("ReplyT", bound=m.Reply)


class _Call:
    """A request whose answer one task waits for."""

    __slots__ = ("entries", "error", "fds", "reply", "task")

    def __init__(self, task: Task) -> None:
        self.task: Task | None = task
        self.reply: m.Reply | None = None
        self.error: ArdockError | None = None
        self.entries: list[m.Entry] = []
        self.fds: list[int] = []


class Connection:
    """One keeper.

    Attributes:
        number: The keeper's, part of its cgroup's and folders' names.
        pid: Its process id.
        programs: What runs, or is being launched, on this connection.
        roots: Keys of the root mounts that it holds.
        seccomp: Hashes of the seccomp programs that it holds.
        lost: Why it is gone; None while it is there.
        next_root: Greater than the key of every root that it has ever held.
    """

    def __init__(self, client: _core.KeeperClient, number: int) -> None:
        """Own `client`; nothing is sent before `greet`."""
        self.number = number
        self.pid = 0
        self.programs: dict[tuple[str, str | None], Program] = {}
        self.roots: set[int] = set()
        self.seccomp: set[str] = set()
        self.lost: KeeperLost | None = None
        self.next_root = 1
        self._client = client
        self._capacity = 0
        self._window = 0
        self._in_flight = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._launching: dict[int, Program] = {}
        self._calls: dict[int, _Call] = {}
        self._req = 0
        self._outbox = Outbox()
        self._news: list[m.Started | m.Ended | m.Failed] | None = None
        self._acks: list[tuple[str, str | None]] = []
        self._sender: Task | None = None
        self._blocked = False
        self._scope = trio.CancelScope(shield=True)

    def __repr__(self) -> str:
        """Its number and what it holds."""
        state = "lost" if self.lost else f"{len(self.programs)} programs, {self._in_flight} being launched"
        return f"<Connection to keeper {self.number}: {state}>"

    @property
    def room(self) -> int:
        """How many more containers its descriptors allow."""
        return 0 if self.lost else self._capacity - len(self.programs)

    # --- opening and closing ---

    async def greet(self) -> None:
        """Say hello, and learn who answers; to be called once, before `run`. The socket is closed where this raises.

        Raises:
            KeeperLost: The keeper ended meanwhile.
            KeeperUnavailable: It does not answer.
            ProtocolViolation: It speaks another version.
        """
        try:
            reply = await self._first_reply()
        except OSError as error:
            lost = KeeperLost(f"keeper {self.number} has ended: {error.strerror}")
            self.fail(lost)
            raise lost from None
        except trio.TooSlowError:
            self.close()
            raise KeeperUnavailable(f"keeper {self.number} does not answer") from None
        except BaseException:
            self.close()
            raise
        if not isinstance(reply, m.Welcome) or reply.version != m.VERSION:
            self.close()
            words = reply.message if isinstance(reply, m.Error) else repr(reply)
            raise ProtocolViolation(f"keeper {self.number} does not understand this engine: {words}")
        self.pid = reply.pid
        self._window = max(1, reply.window)
        self._capacity = reply.capacity
        self.next_root = reply.next_root

    async def _first_reply(self) -> m.Reply:
        self._client.send(b"\x91" + _encode(m.Hello(version=m.VERSION)), [])
        with trio.fail_after(_PATIENCE):
            await trio.lowlevel.wait_readable(self._client.fileno())
        packets, _ = self._client.receive(1)
        if not packets:
            raise KeeperLost(f"keeper {self.number} has ended")
        return _decode(packets[0][0])[0]

    async def run(self) -> None:
        """Serve the connection until it ends, which `close` or the keeper sees to.

        Not a cancellation from outside: whoever cleans up after one still has to talk to the keeper.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_all)
                nursery.start_soon(self._receive_all)

    def close(self) -> None:
        """Close the socket: the keeper goes on with what it holds, and ends where that is nothing.

        So nothing of it is lost, and nobody is told so but those who wait for it here.
        """
        for program in self.programs.values():
            program.on_answer = program.on_end = program.on_oom = None
        self.fail(KeeperLost(f"the connection to keeper {self.number} was closed"))

    async def flush(self) -> None:
        """Wait until everything queued is sent (or the connection is gone)."""
        while not self.lost and (self._outbox or self._acks):
            self._kick()
            await trio.lowlevel.checkpoint()

    def fail(self, error: KeeperLost) -> None:
        """The connection is gone: tell everybody who waits for something of it."""
        if self.lost:
            return
        self.lost = error
        trio.lowlevel.notify_closing(self._client.fileno())
        self._client.close()
        # Both tasks end; with them, `run` does.
        self._scope.cancel()
        for packet in self._outbox.take_all():
            _close_all(packet.owned)
        for program in list(self.programs.values()):
            program.error = error
            program.changed()
        self.programs.clear()
        self._launching.clear()
        for call in self._calls.values():
            call.error = error
            if call.task is not None:
                reschedule(call.task)
                call.task = None
        self._calls.clear()
        waiting, self._waiting = self._waiting, deque()
        for granted in waiting:
            granted()

    # --- launching ---

    def try_slot(self) -> bool:
        """Take one of the keeper's launch slots if one is free; given back when the launch is answered."""
        if self._in_flight < self._window and not self._waiting:
            self._in_flight += 1
            return True
        return False

    def when_slot(self, granted: Callable[[], None]) -> None:
        """Call `granted` once, when a slot is there, which is then taken (or when the connection is lost)."""
        self._waiting.append(granted)

    def drop_waiting(self, granted: Callable[[], None]) -> None:
        """Take `granted` out of the queue again."""
        self._waiting.remove(granted)

    async def slot(self) -> None:
        """Wait for a launch slot; first come, first served."""
        if self.try_slot():
            return
        task = current_task()

        def granted() -> None:
            reschedule(task)

        def abort(_: object) -> Abort:
            self._waiting.remove(granted)
            return Abort.SUCCEEDED

        self._waiting.append(granted)
        await wait_task_rescheduled(abort)

    def release_slot(self) -> None:
        """Give a slot back, or on to the first who waits."""
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._in_flight -= 1

    def next_req(self) -> int:
        """The number of the next request."""
        self._req += 1
        return self._req

    def launch(self, program: Program, req: int, message: bytes, fds: Sequence[int]) -> None:
        """Queue a launch or an exec, for which a slot is held.

        Args:
            program: What it starts.
            req: From `next_req`.
            message: As for `Outbox.add_with_fds`.
            fds: Its descriptors; owned from now on, also where this raises.

        Raises:
            KeeperLost: The connection is gone.
            InvalidArgument: The message is too long.
        """
        try:
            if self.lost:
                raise self.lost
            if program.exec_id is not None:
                # The keeper bounds a container's execs: what makes room goes before what needs it.
                self._queue_acks()
            self._outbox.add_with_fds(message, fds)
        except ArdockError:
            _close_all(fds)
            self.release_slot()
            raise
        self._launching[req] = program
        self.programs[program.id, program.exec_id] = program
        # Where nothing else is under way, there is nothing to wait for.
        if self._in_flight <= 1:
            self._send_ready()
        self._kick()

    def adopt(self, entry: m.Entry) -> tuple[Program, list[Program]]:
        """Take over what an earlier engine has launched: a container's program and its execs.

        Those that have ended are acknowledged like any other; those that are still being launched are answered later.
        """
        program = Program(self, entry.id)
        program.start = entry.started
        program.exit = entry.exit
        if entry.exit is None:
            self.programs[entry.id, None] = program
        execs: list[Program] = []
        for exec_id, end in entry.execs:
            joined = Program(self, entry.id, exec_id)
            # It may still be being launched; whoever asks then finds it not running.
            joined.exit = end
            if end is None:
                self.programs[entry.id, exec_id] = joined
            execs.append(joined)
        return program, execs

    def adopted_all(self) -> None:
        """All entries are adopted: hand on what was told of them meanwhile."""
        news, self._news = self._news, None
        for reply in news or ():
            if isinstance(reply, m.Ended):
                self._ended(reply, [])
            elif isinstance(reply, m.Started):
                self._started(reply, [])
            else:
                self._failed(reply)

    def _unknown(self, reply: m.Started | m.Ended | m.Failed) -> None:
        if self._news is not None:
            self._news.append(reply)

    def add_root(self, key: int, fd: int) -> None:
        """Hand over a root mount, before the first launch that needs it. `fd` is owned from now on."""
        self.roots.add(key)
        self._outbox.add_with_fds(_encode(m.RootMount(key=key, fds=m.NO_FDS))[:-2], (fd,))

    def remove_root(self, key: int) -> None:
        """Have a root mount let go of."""
        if key in self.roots and not self.lost:
            self.roots.discard(key)
            self._outbox.add(_encode(m.Unroot(key=key)))
            self._kick()

    def add_seccomp(self, digest: str, code: bytes) -> None:
        """Hand over a seccomp program, before the first launch that needs it."""
        if digest not in self.seccomp:
            self.seccomp.add(digest)
            self._outbox.add(_encode(m.Program(hash=digest, code=code)))

    def ack(self, container_id: str, exec_id: str | None) -> None:
        """The exit is safe with us: the keeper forgets it. Acknowledgements of one tick go together."""
        if not self.lost:
            self._acks.append((container_id, exec_id))
            self._kick()

    # --- requests ---

    async def signal(self, program: Program, number: int) -> bool:
        """Send a signal to it; False where it has ended."""
        return await self.signal_id(program.id, program.exec_id, number)

    async def signal_id(self, container_id: str, exec_id: str | None, number: int) -> bool:
        """Send a signal to a program of which only the name is known; False where it does not run."""
        try:
            req = self.next_req()
            await self._request(req, m.Signal(req=req, id=container_id, exec=exec_id, signal=number), m.Done)
        except (NotFound, NotRunning):
            return False
        return True

    async def resize(self, program: Program, rows: int, columns: int) -> None:
        """Set its terminal's size."""
        req = self.next_req()
        request = m.Resize(req=req, id=program.id, exec=program.exec_id, rows=rows, cols=columns)
        await self._request(req, request, m.Done)

    async def attach(self, program: Program) -> tuple[int, list[int]]:
        """Descriptors of its streams.

        Returns:
            Which there are (1 standard input or the terminal for writing, 2 output, 4 standard error, 8 the terminal itself),
            and they in that order; owned by the caller.
        """
        req = self.next_req()
        call = self._queue(req, m.Attach(req=req, id=program.id, exec=program.exec_id))
        reply = self._expect(await self._answer(req, call), m.Attached)
        return reply.streams, call.fds

    def close_stdin(self, program: Program) -> None:
        """Have the keeper close its copy of the standard input, without waiting for its answer."""
        if not self.lost and not program.over:
            self._outbox.add(_encode(m.CloseStdin(req=self.next_req(), id=program.id, exec=program.exec_id)))
            self._kick()

    async def captured(self, container_id: str, exec_id: str | None, stream: int, offset: int) -> bytes:
        """A piece of captured output; b"" at its end."""
        req = self.next_req()
        request = m.Captured(req=req, id=container_id, exec=exec_id, stream=stream, offset=offset)
        return (await self._request(req, request, m.Piece)).data

    async def entries(self) -> list[m.Entry]:
        """Everything that the keeper holds.

        What is told from then on of programs that nobody has adopted yet is kept until `adopted_all`.
        """
        self._news = []
        req = self.next_req()
        call = self._queue(req, m.List(req=req))
        self._expect(await self._answer(req, call), m.Done)
        return call.entries

    async def counters(self) -> dict[str, int]:
        """The keeper's counters."""
        req = self.next_req()
        return dict((await self._request(req, m.GetInfo(req=req), m.Info)).counters)

    async def _request(self, req: int, request: m.Request, kind: type[ReplyT]) -> ReplyT:
        return self._expect(await self._answer(req, self._queue(req, request)), kind)

    def _queue(self, req: int, request: m.Request) -> _Call:
        if self.lost:
            raise self.lost
        call = _Call(current_task())
        self._calls[req] = call
        # In the order in which things were asked for.
        self._queue_acks()
        self._outbox.add(_encode(request))
        self._kick()
        return call

    async def _answer(self, req: int, call: _Call) -> m.Reply:
        def abort(_: object) -> Abort:
            # The answer will come and find nobody.
            self._calls.pop(req, None)
            call.task = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)
        if call.error is not None:
            raise call.error
        assert call.reply is not None, "woken by its reply"
        return call.reply

    def _expect(self, reply: m.Reply, kind: type[ReplyT]) -> ReplyT:
        if isinstance(reply, m.Error):
            raise mapping.refusal(reply)
        if not isinstance(reply, kind):
            raise ProtocolViolation(f"keeper {self.number}: expected {kind.__name__}, got {reply!r}")
        return reply

    # --- sending ---

    def _kick(self) -> None:
        if self._sender is not None:
            sender, self._sender = self._sender, None
            reschedule(sender)

    async def _send_all(self) -> None:
        while not self.lost:
            # Woken in the tick after the one that queued the first message: by then that whole tick has queued.
            if self._send_ready():
                self._sender = current_task()

                def abort(_: object) -> Abort:
                    self._sender = None
                    return Abort.SUCCEEDED

                await wait_task_rescheduled(abort)
            else:
                self._blocked = True
                try:
                    await trio.lowlevel.wait_writable(self._client.fileno())
                except trio.ClosedResourceError:
                    return
                finally:
                    self._blocked = False

    def _queue_acks(self) -> None:
        if self._acks:
            self._outbox.add(_encode(m.Ack(ids=tuple(self._acks))))
            self._acks.clear()

    def _send_ready(self) -> bool:
        """Send all that waits; False where the socket is full."""
        if self._blocked or self.lost:
            return False
        self._queue_acks()
        while (packet := self._outbox.next_packet()) is not None:
            failpoints.reach("keeper.send.before")
            try:
                if not self._client.send(packet.data, packet.fds):
                    return False
            except OSError as error:
                self.fail(KeeperLost(f"keeper {self.number} (pid {self.pid}) is gone: {error.strerror}"))
                return True
            self._outbox.sent()
            failpoints.reach("keeper.send.after")
            _close_all(packet.owned)
        return True

    # --- receiving ---

    async def _receive_all(self) -> None:
        while not self.lost:
            try:
                await trio.lowlevel.wait_readable(self._client.fileno())
            except trio.ClosedResourceError:
                return
            try:
                packets, ended = self._client.receive(_MOST_PACKETS)
                for data, fds in packets:
                    self._dispatch(data, fds)
            except OSError as error:
                self.fail(KeeperLost(f"keeper {self.number} (pid {self.pid}) is gone: {error.strerror}"))
                return
            if ended:
                self.fail(
                    KeeperLost(f"keeper {self.number} (pid {self.pid}) has died and taken its containers with it")
                )

    def _dispatch(self, data: bytes, fds: list[int]) -> None:
        taken = 0
        try:
            for reply in _decode(data):
                if isinstance(reply, m.Ended):
                    failpoints.reach("keeper.ended.before")
                    taken += self._ended(reply, fds)
                    failpoints.reach("keeper.ended.after")
                elif isinstance(reply, m.Started):
                    failpoints.reach("keeper.started.before")
                    taken += self._started(reply, fds)
                    failpoints.reach("keeper.started.after")
                elif isinstance(reply, m.Oom):
                    self._oom(reply)
                elif isinstance(reply, m.Failed):
                    failpoints.reach("keeper.failed.before")
                    self._failed(reply)
                    failpoints.reach("keeper.failed.after")
                else:
                    taken += self._answered(reply, fds)
        except msgspec.DecodeError as error:
            self.fail(KeeperLost(f"keeper {self.number} sent what cannot be read: {error}"))
        finally:
            if taken < len(fds):
                _close_all([fd for fd in fds if fd >= 0])

    def _ended(self, reply: m.Ended, fds: list[int]) -> int:
        key = (reply.id, reply.exec)
        launched = self._launching.pop(reply.req, None)
        program = self.programs.pop(key, None)
        if launched is not None:
            self.release_slot()
        if program is None:
            self._unknown(reply)
            return 0
        if reply.started is not None:
            program.start = reply.started
            program.fds = _take(fds, reply.fds)
        program.exit = reply.exit
        program.changed()
        return reply.fds[1]

    def _started(self, reply: m.Started, fds: list[int]) -> int:
        program = self._launching.pop(reply.req, None)
        if program is not None:
            self.release_slot()
        else:
            # Launched by an earlier engine: known by its name alone.
            program = self.programs.get((reply.id, reply.exec))
            if program is None:
                self._unknown(reply)
                return 0
        program.start = reply.started
        program.fds = _take(fds, reply.fds)
        program.changed()
        return reply.fds[1]

    def _oom(self, reply: m.Oom) -> None:
        program = self.programs.get((reply.id, None))
        if program is not None and program.on_oom is not None:
            for _ in range(reply.kills - program.oom_told):
                program.on_oom(program)
            program.oom_told = max(program.oom_told, reply.kills)

    def _failed(self, reply: m.Failed) -> None:
        launched = self._launching.pop(reply.req, None)
        program = self.programs.pop((reply.id, reply.exec), None)
        if launched is not None:
            self.release_slot()
        if program is None:
            self._unknown(reply)
            return
        program.error = mapping.launch_error(reply.error)
        program.changed()

    def _answered(
        self, reply: m.Welcome | m.Attached | m.Entry | m.Piece | m.Info | m.Done | m.Error, fds: list[int]
    ) -> int:
        if isinstance(reply, m.Welcome):
            return 0  # Only `greet` asks for it.
        req = reply.req
        if isinstance(reply, m.Error) and reply.req in self._launching:
            program = self._launching.pop(reply.req)
            self.programs.pop((program.id, program.exec_id), None)
            program.error = mapping.refusal(reply)
            self.release_slot()
            program.changed()
            return 0
        call = self._calls.get(req)
        if call is None:
            if isinstance(reply, m.Error) and reply.req == 0:
                self.fail(KeeperLost(f"keeper {self.number} has ended the connection: {reply.message}"))
            return 0
        if isinstance(reply, m.Entry):
            call.entries.append(reply)
            return 0
        taken = 0
        if isinstance(reply, m.Attached):
            call.fds = _take(fds, reply.fds)
            taken = reply.fds[1]
        del self._calls[req]
        call.reply = reply
        if call.task is not None:
            task, call.task = call.task, None
            reschedule(task)
        return taken


def _take(fds: list[int], share: m.Fds) -> list[int]:
    """A message's descriptors out of its packet's, where they are marked as taken."""
    first, count = share
    if not count:
        return []
    taken = fds[first : first + count]
    fds[first : first + count] = [-1] * len(taken)
    return taken


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
