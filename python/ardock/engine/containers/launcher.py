"""From a spec to a launch message in a keeper's queue: resolve, plan (once for each shape), render, queue.

All of it is synchronous, so there is no point at which a cancellation could leave half a launch.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec
from msgspec import structs

from ardock.engine.apparmor import UNCONFINED, Profile
from ardock.engine.containers import plan as planner
from ardock.engine.containers.container import Container
from ardock.engine.containers.resolve import Resolution, Resolver, close_all
from ardock.engine.containers.resolved import OutputKind, Placement, Way
from ardock.engine.containers.row import encode_blob, unit_id
from ardock.engine.containers.template import ID_MARKER, Template
from ardock.engine.facts import Facts
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.program import Program
from ardock.model import making
from ardock.model.errors import ArdockError, InvalidArgument
from ardock.model.spec import ContainerSpec

_encode: Final = msgspec.msgpack.Encoder().encode
_MOST_TEMPLATES: Final = 512
# A pipe holds as much without anybody reading (its default capacity).
_PIPE_CAPACITY: Final = 65536
# A short program's start and end then come in one message; a longer one's launch slot is kept so much longer.
_HOLD_MS: Final = 20

_TemplateKey = tuple[bytes, int, bool, str, int | None, bool, Way, object]


class Launcher:
    """Launches containers on the keepers of one engine."""

    def __init__(self, facts: Facts, resolver: Resolver, engine_id: str, profile: Profile | None = None) -> None:
        """Start with empty caches; `profile` is that of a host with AppArmor."""
        self._facts = facts
        self._profile = profile
        self._resolver = resolver
        self._engine_id = engine_id
        self._templates: dict[_TemplateKey, Template] = {}

    def launch(
        self,
        connection: Connection,
        container: Container,
        *,
        output: OutputKind,
        capture: int | None = None,
        input_data: bytes | None = None,
        image_layers: tuple[str, ...] = (),
        way: Way = "plain",
    ) -> Program:
        """Queue the launch of `container` on `connection`, for which a launch slot is held; given back where this raises.

        Args:
            connection: The keeper.
            container: What to run; `run` says for which time.
            output: What becomes of its output.
            capture: Bytes to capture of each stream.
            input_data: Contents of standard input.
            image_layers: The directories of its image, topmost first.
            way: How its root came to be.

        Raises:
            ArdockError: As `Resolver.resolve` and `plan`.
        """
        spec = container.spec
        try:
            if self._profile is not None:
                container.apparmor = planner.apparmor_profile(spec, self._facts)
                if spec.apparmor not in (None, "", UNCONFINED):
                    self._profile.check(spec.apparmor)
            resolution = self._resolver.resolve(spec, image_layers)
        except ArdockError:
            connection.release_slot()
            raise
        fds = resolution.fds
        unit = unit_id(container.id, container.run)
        try:
            place = Placement(
                keeper=connection.number,
                cgroup_parent=f"ardock-{self._engine_id}/k{connection.number}",
                scratch_dir="/store/containers"
                if container.kind == "kept" or way == "limited"
                else f"/store/scratch/k{connection.number}",
                input=input_data is not None,
                output=output,
                capture=capture,
                kept=container.kind == "kept",
                way=way,
            )
            if unit == container.id:
                template = self._template(spec, resolution, place)
            else:
                # A later run has another name than its scratch directory and log: what no marker is for.
                place = structs.replace(place, scratch=f"/store/containers/{container.id}", log=container.log)
                template = self._cut(spec, resolution, place)
            argv = planner.argv(spec.command)
            env = planner.environment(
                spec.env, hostname=template.hostname or container.id[:12], home=template.home, tty=spec.tty
            )
            req = connection.next_req()
            message = template.render(req, unit, argv, env, encode_blob(container))
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
        program = Program(connection, unit)
        roots = resolution.roots
        for root in roots:
            root.in_use += 1

        def release() -> None:
            for root in roots:
                root.in_use -= 1

        program.on_release = release
        try:
            connection.launch(program, req, message, fds)
        except ArdockError:
            release()
            raise
        return program

    def check(self, container: Container, image_layers: tuple[str, ...], way: Way = "plain") -> None:
        """Look everything up and plan `container` without launching it, so that bad input is refused where it is given.

        Raises:
            ArdockError: As `launch`.
        """
        resolution = self._resolver.resolve(container.spec, image_layers)
        try:
            place = Placement(keeper=0, cgroup_parent="", scratch_dir="", output="log", kept=True, way=way)
            template = self._cut(container.spec, resolution, place)
            planner.argv(container.spec.command)
            planner.environment(container.spec.env, hostname="", home=template.home, tty=container.spec.tty)
            encode_blob(container)
        finally:
            close_all(resolution.fds)

    def _template(self, spec: ContainerSpec, resolution: Resolution, place: Placement) -> Template:
        key = (
            _shape(spec),
            place.keeper,
            place.input,
            place.output,
            place.capture,
            place.kept,
            place.way,
            resolution.resolved,
        )
        template = self._templates.get(key)
        if template is None:
            template = self._cut(spec, resolution, place)
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            self._templates[key] = template
        return template

    def _cut(self, spec: ContainerSpec, resolution: Resolution, place: Placement) -> Template:
        planned = planner.plan(making.check(spec), self._facts, resolution.resolved, place, container_id=ID_MARKER)
        if place.output == "capture":
            planned = structs.replace(planned, hold_ms=_HOLD_MS)
        try:
            return Template(planned, hostname=spec.hostname, home=resolution.resolved.user.home)
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"not valid UTF-8: {error.object!r}") from None


def _shape(spec: ContainerSpec) -> bytes:
    """All of a spec but what a template leaves open, as a key."""
    shape = structs.replace(spec, argv=(), entrypoint=None, env={}, labels={}, name=None)
    try:
        return _encode(shape)
    except (TypeError, UnicodeEncodeError):
        # Wrong types are refused when it is planned; paths that are not UTF-8 are used as they are.
        return repr(shape).encode("utf-8", "surrogatepass")


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
