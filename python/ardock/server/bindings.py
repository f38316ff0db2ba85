"""Every method of the API, bound to the engine (those of images in `ardock.server.image_bindings`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ardock.model.container import Created
from ardock.model.volume import VolumeInfo
from ardock.protocol import methods as m
from ardock.protocol.catalogue import METHODS
from ardock.server.binding import at_once, bind, simple, streaming
from ardock.server.following import LogsCall, SubscribeCall
from ardock.server.image_bindings import IMAGE_BINDINGS
from ardock.server.many import RunManyCall
from ardock.server.oneshot import begin_exec_run, begin_run
from ardock.server.programs import AttachCall, ExecCall, SpawnCall
from ardock.server.served import Engine

if TYPE_CHECKING:
    from ardock.server.connection import Connection

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
        at_once(m.VERSION, m.NoParams, _version),
        simple(m.INFO, m.NoParams, lambda engine, _: engine.info()),
        simple(m.CREATE, m.Create, _create),
        simple(m.START, m.Ref, _start),
        simple(m.STOP, m.Stop, _stop),
        simple(m.RESTART, m.Stop, _restart),
        simple(m.KILL, m.Kill, _kill),
        simple(m.RENAME, m.Rename, _rename),
        simple(m.WAIT, m.Wait, lambda engine, params: engine.containers.wait(params.ref, params.condition)),
        simple(m.REMOVE, m.Remove, _remove),
        at_once(
            m.INSPECT, m.Ref, lambda connection, params: connection.server.engine.containers.inspect_nowait(params.ref)
        ),
        simple(
            m.LIST,
            m.ListContainers,
            lambda engine, params: engine.containers.list(all=params.all, filters=params.filters, limit=params.limit),
        ),
        streaming(m.LOGS, m.Logs, LogsCall),
        streaming(m.ATTACH, m.Attach, AttachCall),
        bind(m.RUN, m.Run, begin_run),
        streaming(m.RUN_MANY, m.RunMany, RunManyCall),
        streaming(m.SPAWN, m.Spawn, SpawnCall),
        streaming(m.EXEC, m.ExecCall, ExecCall),
        simple(m.EXEC_DETACHED, m.ExecCall, _exec_detached),
        bind(m.EXEC_RUN, m.ExecRun, begin_exec_run),
        simple(m.RESIZE, m.Resize, _resize),
        simple(m.CURSOR, m.NoParams, lambda engine, _: engine.events.cursor()),
        streaming(m.SUBSCRIBE, m.Subscribe, SubscribeCall),
        *IMAGE_BINDINGS,
        simple(m.CREATE_VOLUME, m.CreateVolume, _create_volume),
        simple(m.VOLUMES, m.ListVolumes, _volumes),
        simple(m.VOLUME, m.VolumeRef, lambda engine, params: engine.volumes.inspect(params.name)),
        simple(m.REMOVE_VOLUME, m.RemoveVolume, _remove_volume),
        simple(
            m.PRUNE_VOLUMES,
            m.PruneVolumes,
            lambda engine, params: engine.volumes.prune(all=params.all, filters=params.filters),
        ),
        simple(m.LOGIN, m.Login, _login),
    )
}
assert BINDINGS.keys() == METHODS.keys(), "every method is bound"
