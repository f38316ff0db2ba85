"""From a spec to a launch message in a keeper's queue: resolve, plan (once for each shape), render, queue.

All of it is synchronous, so there is no point at which a cancellation could leave half a launch.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec
from msgspec import structs

from ardock.engine.containers import plan as planner
from ardock.engine.containers import values
from ardock.engine.containers.resolve import Resolution, Resolver, close_all
from ardock.engine.containers.resolved import Placement
from ardock.engine.containers.template import ID_MARKER, Template
from ardock.engine.facts import Facts
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.program import Program
from ardock.model.errors import ArdockError, InvalidArgument
from ardock.model.messages import MAX_BLOB
from ardock.model.records import Blob
from ardock.model.spec import ContainerSpec

_encode: Final = msgspec.msgpack.Encoder().encode
_MOST_TEMPLATES: Final = 512
# Longest argument list that is written out in a record.
_BLOB_ARGV: Final = 4096
# A pipe holds as much without anybody reading (its default capacity).
_PIPE_CAPACITY: Final = 65536
# A short program's start and end then come in one message; a longer one's launch slot is kept so much longer.
_HOLD_MS: Final = 20

_TemplateKey = tuple[bytes, int, bool, int | None, object]


class Launcher:
    """Launches containers on the keepers of one engine."""

    def __init__(self, facts: Facts, resolver: Resolver, engine_id: str) -> None:
        """Start with empty caches."""
        self._facts = facts
        self._resolver = resolver
        self._engine_id = engine_id
        self._templates: dict[_TemplateKey, Template] = {}

    def launch(
        self, connection: Connection, spec: ContainerSpec, *, capture: int | None, input_data: bytes | None = None
    ) -> Program:
        """Queue the launch of `spec` on `connection`, for which a launch slot is held; given back where this raises.

        Args:
            connection: The keeper.
            spec: What to run.
            capture: Bytes to capture of each stream; None: the streams' descriptors come with the start.
            input_data: Contents of standard input.

        Raises:
            ArdockError: As `Resolver.resolve` and `plan`.
        """
        try:
            resolution = self._resolver.resolve(spec)
        except ArdockError:
            connection.release_slot()
            raise
        fds = resolution.fds
        try:
            template = self._template(connection.number, spec, resolution, capture, has_input=input_data is not None)
            container_id = os.urandom(32).hex()
            argv = planner.argv(spec.argv)
            env = planner.environment(
                spec.env, hostname=template.hostname or container_id[:12], home=template.home, tty=spec.tty
            )
            req = connection.next_req()
            message = template.render(req, container_id, argv, env, _blob(spec, container_id))
            if input_data is not None:
                user = resolution.resolved.user
                fds.insert(0, input_descriptor(input_data, user.uid, user.gid))
            for root in resolution.roots:
                if root.key not in connection.roots:
                    connection.add_root(root.key, root.mount())
            seccomp = resolution.resolved.seccomp
            if seccomp is not None and seccomp not in connection.seccomp:
                connection.add_seccomp(seccomp, self._resolver.code(seccomp))
        except ArdockError:
            close_all(fds)
            connection.release_slot()
            raise
        program = Program(connection, container_id)
        roots = resolution.roots
        for root in roots:
            root.in_use += 1

        def answered() -> None:
            for root in roots:
                root.in_use -= 1

        program.on_answer = answered
        try:
            connection.launch(program, req, message, fds)
        except ArdockError:
            answered()
            raise
        return program

    def _template(
        self, number: int, spec: ContainerSpec, resolution: Resolution, capture: int | None, *, has_input: bool
    ) -> Template:
        shape = _shape(spec)
        key = (shape, number, has_input, capture, resolution.resolved)
        template = self._templates.get(key)
        if template is None:
            parent = f"ardock-{self._engine_id}/k{number}"
            placement = Placement(
                keeper=number,
                cgroup_parent=parent,
                scratch_dir=f"/store/scratch/k{number}",
                input=has_input,
                capture=capture,
            )
            planned = planner.plan(
                values.check(spec), self._facts, resolution.resolved, placement, container_id=ID_MARKER
            )
            if capture is not None:
                planned = structs.replace(planned, hold_ms=_HOLD_MS)
            try:
                template = Template(planned, hostname=spec.hostname, home=resolution.resolved.user.home)
            except UnicodeEncodeError as error:
                raise InvalidArgument(f"not valid UTF-8: {error.object!r}") from None
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            self._templates[key] = template
        return template


def _shape(spec: ContainerSpec) -> bytes:
    """All of a spec but what a template leaves open, as a key."""
    shape = structs.replace(spec, argv=(), env={}, labels={})
    try:
        return _encode(shape)
    except (TypeError, UnicodeEncodeError):
        # Wrong types are refused when it is planned; paths that are not UTF-8 are used as they are.
        return repr(shape).encode("utf-8", "surrogatepass")


def _blob(spec: ContainerSpec, container_id: str) -> bytes:
    """The engine's own record of a container.

    Raises:
        InvalidArgument: Its labels are too long.
    """
    argv = spec.argv
    if sum(map(len, argv)) > _BLOB_ARGV:
        argv = tuple([word[:64] for word in argv[:32]])
    log = "" if spec.log is None else planner.log_path(container_id)
    try:
        blob = _encode(Blob(argv=argv, labels=spec.labels, log=log, rootfs=spec.rootfs or ""))
    except UnicodeEncodeError:
        argv = tuple([word.encode("utf-8", "replace").decode() for word in argv])
        rootfs = (spec.rootfs or "").encode("utf-8", "replace").decode()
        blob = _encode(Blob(argv=argv, labels=spec.labels, log=log, rootfs=rootfs))
    if len(blob) > MAX_BLOB:
        raise InvalidArgument(f"labels: longer than {MAX_BLOB - 2 * _BLOB_ARGV} bytes in all", field="labels")
    return blob


def input_descriptor(data: bytes, uid: int, gid: int) -> int:
    """A descriptor from which `data` can be read, followed by the end; owned by the caller.

    A pipe where the data fits in one; else a file in memory, opened read-only, so that nothing of ours has to write while
    the program reads.
    """
    if len(data) <= _PIPE_CAPACITY:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # The program may open /dev/stdin anew, which checks the owner.
            if uid or gid:
                os.fchown(reader, uid, gid)
            written = os.write(writer, data) if data else 0
            os.set_blocking(reader, True)
        except BlockingIOError:
            written = 0
        finally:
            os.close(writer)
        if written == len(data):
            return reader
        # The user's pipes are over the kernel's soft limit, and this one holds a page only.
        os.close(reader)
    memory = os.memfd_create("ardock-stdin", os.MFD_CLOEXEC)
    try:
        os.fchmod(memory, 0o444)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(memory, rest) :]
        return os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(memory)
