"""The methods of `ardock.protocol.image_methods`, bound to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ardock.protocol import image_methods as m
from ardock.protocol.method import NoParams, Nothing
from ardock.server.binding import Binding, Simple, bind, simple, streaming, unrepeatable
from ardock.server.call import TaskCall, encode
from ardock.server.images import CheckCall, ImportCall, LoadCall, PullCall, PushCall
from ardock.server.outgoing import DiffCall, ExportCall, SaveCall

if TYPE_CHECKING:
    from ardock.model.image import ImageInfo, Pruned
    from ardock.server.connection import Connection
    from ardock.server.served import Engine


def _import(connection: Connection, number: int, values: m.ImportImage) -> None:
    path = values.path
    if path is None:
        if values.request_id is not None:
            raise unrepeatable(m.IMPORT.name)
        task: TaskCall = ImportCall(connection, number, values)
    else:

        async def work() -> bytes:
            images = connection.server.engine.images
            return encode(
                await images.import_tree(
                    path, values.name, changes=values.changes, message=values.message, platform=values.platform
                )
            )

        task = Simple(connection, number, m.IMPORT.name, values, work)
    connection.take(task)
    task.start()


async def _list(engine: Engine, _: NoParams) -> m.Images:
    return m.Images(images=list(await engine.images.list()))


async def _history(engine: Engine, params: m.ImageRef) -> m.History:
    return m.History(entries=list(await engine.images.history(params.ref)))


async def _tag(engine: Engine, params: m.Tag) -> Nothing:
    await engine.images.tag(params.ref, params.name)
    return Nothing()


async def _remove(engine: Engine, params: m.RemoveImage) -> m.Removed:
    return m.Removed(done=list(await engine.images.remove(params.ref, force=params.force)))


async def _prune(engine: Engine, params: m.PruneImages) -> Pruned:
    return await engine.images.prune(all=params.all, filters=params.filters)


async def _commit(engine: Engine, params: m.Commit) -> ImageInfo:
    return await engine.containers.commit(
        params.ref,
        params.name,
        author=params.author,
        message=params.message,
        changes=params.changes,
        pause=params.pause,
    )


IMAGE_BINDINGS: Final[tuple[Binding, ...]] = (
    streaming(m.PULL, m.Pull, PullCall),
    streaming(m.PUSH, m.Push, PushCall),
    simple(m.TAG, m.Tag, _tag),
    streaming(m.LOAD, m.Load, LoadCall),
    streaming(m.SAVE, m.Save, SaveCall),
    bind(m.IMPORT, m.ImportImage, _import),
    simple(m.IMAGES, NoParams, _list),
    simple(m.IMAGE, m.ImageRef, lambda engine, params: engine.images.inspect(params.ref)),
    simple(m.HISTORY, m.ImageRef, _history),
    simple(m.REMOVE_IMAGE, m.RemoveImage, _remove),
    simple(m.PRUNE, m.PruneImages, _prune),
    streaming(m.CHECK, NoParams, CheckCall),
    simple(m.COMMIT, m.Commit, _commit),
    streaming(m.DIFF, m.ContainerRef, DiffCall),
    streaming(m.EXPORT, m.ContainerRef, ExportCall),
    simple(m.DISK_USAGE, NoParams, lambda engine, _: engine.disk_usage()),
)
