"""Every method of the API, bound to the engine: how its parameters are decoded, and what is begun with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec

from ardock.model.container import Created
from ardock.model.errors import Unsupported
from ardock.model.volume import VolumeInfo
from ardock.protocol import methods as m
from ardock.protocol.errors import bad_params
from ardock.server.call import Call, TaskCall, check_deadline, encode
from ardock.server.following import LogsCall, SubscribeCall
from ardock.server.images import ImportCall
from ardock.server.many import RunManyCall
from ardock.server.oneshot import begin_exec_run, begin_run
from ardock.server.programs import AttachCall, ExecCall, SpawnCall
from ardock.server.served import Engine

if TYPE_CHECKING:
    from ardock.server.connection import Connection

ParamsT = TypeVar("ParamsT", bound=m.Params)
ResultT = TypeVar("ResultT")


class Binding(NamedTuple):
    """One method.

    Attributes:
        method: Its declaration.
        begin: Begins a call of this connection with this number and these encoded parameters.
            ArdockError: The call is refused.
    """

    method: m.Method[object]
    begin: Callable[[Connection, int, msgspec.Raw], None]


def _bind(
    method: m.Method[ResultT], params: type[ParamsT], begin: Callable[[Connection, int, ParamsT], None]
) -> Binding:
    """`begin` with decoded parameters."""
    assert method.params is params, f"{method.name} is declared with other parameters"
    decode = msgspec.msgpack.Decoder(params).decode

    def decoded(connection: Connection, number: int, raw: msgspec.Raw) -> None:
        try:
            values = decode(raw)
        except ValueError as error:  # msgspec's, and text that is no UTF-8
            raise bad_params(method.name, error) from None
        check_deadline(values.deadline)
        begin(connection, number, values)

    return Binding(method, decoded)  # type: ignore[arg-type] # only its declaration is kept


class _Simple(TaskCall):
    """A call without streams: one awaited method of the engine."""

    __slots__ = ("_engine", "_request_id", "_work")

    def __init__(
        self, connection: Connection, number: int, method: str, params: m.Params, work: Callable[[], Awaitable[bytes]]
    ) -> None:
        """`work` gives the encoded result."""
        super().__init__(connection, number, method, deadline=params.deadline, outlives=params.request_id is not None)
        self._engine = connection.server.engine
        self._request_id = params.request_id
        self._work = work

    async def work(self) -> bytes:
        """Once where it has a request id."""
        if self._request_id is None:
            return await self._work()
        return await self._engine.requests.once(self._request_id, self.method, self._work)


def _simple(
    method: m.Method[ResultT], params: type[ParamsT], call: Callable[[Engine, ParamsT], Awaitable[ResultT]]
) -> Binding:
    """A call without streams that takes a task. Without an effect, it has no use for a request id, and is just done again."""
    name, mutates = method.name, method.mutates

    def begin(connection: Connection, number: int, values: ParamsT) -> None:
        async def work() -> bytes:
            return encode(await call(connection.server.engine, values))

        if not mutates and values.request_id is not None:
            values = msgspec.structs.replace(values, request_id=None)
        task = _Simple(connection, number, name, values, work)
        connection.take(task)
        task.start()

    return _bind(method, params, begin)


def _at_once(
    method: m.Method[ResultT], params: type[ParamsT], call: Callable[[Connection, ParamsT], ResultT]
) -> Binding:
    """A call that is answered from memory, where it is read."""
    name = method.name

    def begin(connection: Connection, number: int, values: ParamsT) -> None:
        answered = Call(connection, number, name)
        connection.take(answered)
        answered.reply(encode(call(connection, values)))

    return _bind(method, params, begin)


def _streaming(
    method: m.Method[ResultT], params: type[ParamsT], make: Callable[[Connection, int, ParamsT], TaskCall]
) -> Binding:
    """A call with streams. What was streamed cannot be told again, so it takes no request id."""
    name, mutates = method.name, method.mutates

    def begin(connection: Connection, number: int, values: ParamsT) -> None:
        if mutates and values.request_id is not None:
            raise Unsupported(
                f"{name}: a call with streams cannot be repeated: give no request_id", option="request_id"
            )
        task = make(connection, number, values)
        connection.take(task)
        task.start()

    return _bind(method, params, begin)


def _import(connection: Connection, number: int, values: m.ImportImage) -> None:
    if values.path is None:
        if values.request_id is not None:
            raise Unsupported(
                f"{m.IMPORT.name}: a call with streams cannot be repeated: give no request_id", option="request_id"
            )
        task: TaskCall = ImportCall(connection, number, values)
    else:
        path, name = values.path, values.name

        async def work() -> bytes:
            return encode(await connection.server.engine.images.import_tree(path, name))

        task = _Simple(connection, number, m.IMPORT.name, values, work)
    connection.take(task)
    task.start()


# --- methods without streams ---


def _version(connection: Connection, _: m.NoParams) -> m.Version:
    return connection.server.version


async def _create(engine: Engine, params: m.Create) -> Created:
    return await engine.containers.create(params.spec, remove=params.remove)


async def _start(engine: Engine, params: m.Ref) -> m.Nothing:
    await engine.containers.start(params.ref)
    return m.Nothing()


async def _stop(engine: Engine, params: m.Stop) -> m.Nothing:
    await engine.containers.stop(params.ref, timeout=params.timeout, signal=params.signal)
    return m.Nothing()


async def _restart(engine: Engine, params: m.Stop) -> m.Nothing:
    await engine.containers.restart(params.ref, timeout=params.timeout, signal=params.signal)
    return m.Nothing()


async def _kill(engine: Engine, params: m.Kill) -> m.Nothing:
    await engine.containers.kill(params.ref, params.signal, exec_id=params.exec_id)
    return m.Nothing()


async def _rename(engine: Engine, params: m.Rename) -> m.Nothing:
    await engine.containers.rename(params.ref, params.name)
    return m.Nothing()


async def _remove(engine: Engine, params: m.Remove) -> m.Nothing:
    await engine.containers.remove(params.ref, force=params.force, volumes=params.volumes)
    return m.Nothing()


async def _resize(engine: Engine, params: m.Resize) -> m.Nothing:
    await engine.containers.resize(params.ref, params.rows, params.columns, exec_id=params.exec_id)
    return m.Nothing()


async def _exec_detached(engine: Engine, params: m.ExecCall) -> m.ExecId:
    return m.ExecId(exec_id=await engine.containers.exec_detached(params.ref, params.spec))


async def _images(engine: Engine, _: m.NoParams) -> m.Images:
    return m.Images(images=list(await engine.images.list()))


async def _remove_image(engine: Engine, params: m.RemoveImage) -> m.Removed:
    return m.Removed(done=list(await engine.images.remove(params.ref, force=params.force)))


async def _create_volume(engine: Engine, params: m.CreateVolume) -> VolumeInfo:
    return await engine.volumes.create(params.name, driver=params.driver, options=params.options, labels=params.labels)


async def _volumes(engine: Engine, params: m.ListVolumes) -> m.Volumes:
    return m.Volumes(volumes=list(await engine.volumes.list(filters=params.filters, sizes=params.sizes)))


async def _remove_volume(engine: Engine, params: m.RemoveVolume) -> m.Nothing:
    await engine.volumes.remove(params.name, force=params.force)
    return m.Nothing()


async def _login(engine: Engine, params: m.Login) -> m.LoggedIn:
    return m.LoggedIn(identity_token=await engine.login(params.server, params.credentials))


BINDINGS: Final = {
    binding.method.name: binding
    for binding in (
        _at_once(m.VERSION, m.NoParams, _version),
        _simple(m.INFO, m.NoParams, lambda engine, _: engine.info()),
        _simple(m.CREATE, m.Create, _create),
        _simple(m.START, m.Ref, _start),
        _simple(m.STOP, m.Stop, _stop),
        _simple(m.RESTART, m.Stop, _restart),
        _simple(m.KILL, m.Kill, _kill),
        _simple(m.RENAME, m.Rename, _rename),
        _simple(m.WAIT, m.Wait, lambda engine, params: engine.containers.wait(params.ref, params.condition)),
        _simple(m.REMOVE, m.Remove, _remove),
        _at_once(
            m.INSPECT, m.Ref, lambda connection, params: connection.server.engine.containers.inspect_nowait(params.ref)
        ),
        _simple(
            m.LIST,
            m.ListContainers,
            lambda engine, params: engine.containers.list(all=params.all, filters=params.filters, limit=params.limit),
        ),
        _streaming(m.LOGS, m.Logs, LogsCall),
        _streaming(m.ATTACH, m.Attach, AttachCall),
        _bind(m.RUN, m.Run, begin_run),
        _streaming(m.RUN_MANY, m.RunMany, RunManyCall),
        _streaming(m.SPAWN, m.Spawn, SpawnCall),
        _streaming(m.EXEC, m.ExecCall, ExecCall),
        _simple(m.EXEC_DETACHED, m.ExecCall, _exec_detached),
        _bind(m.EXEC_RUN, m.ExecRun, begin_exec_run),
        _simple(m.RESIZE, m.Resize, _resize),
        _simple(m.CURSOR, m.NoParams, lambda engine, _: engine.events.cursor()),
        _streaming(m.SUBSCRIBE, m.Subscribe, SubscribeCall),
        _bind(m.IMPORT, m.ImportImage, _import),
        _simple(m.IMAGES, m.NoParams, _images),
        _simple(m.IMAGE, m.ImageRef, lambda engine, params: engine.images.inspect(params.ref)),
        _simple(m.REMOVE_IMAGE, m.RemoveImage, _remove_image),
        _simple(m.CREATE_VOLUME, m.CreateVolume, _create_volume),
        _simple(m.VOLUMES, m.ListVolumes, _volumes),
        _simple(m.VOLUME, m.VolumeRef, lambda engine, params: engine.volumes.inspect(params.name)),
        _simple(m.REMOVE_VOLUME, m.RemoveVolume, _remove_volume),
        _simple(
            m.PRUNE_VOLUMES,
            m.PruneVolumes,
            lambda engine, params: engine.volumes.prune(all=params.all, filters=params.filters),
        ),
        _simple(m.LOGIN, m.Login, _login),
    )
}
assert BINDINGS.keys() == m.METHODS.keys(), "every method is bound"
