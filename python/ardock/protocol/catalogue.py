"""All methods of the API by their names: what is served, and what is documented."""

from __future__ import annotations

from typing import Final

from ardock.protocol import image_methods as images
from ardock.protocol import methods as m

METHODS: Final = {
    method.name: method
    for method in (
        m.VERSION, m.INFO, images.DISK_USAGE,
        m.CREATE, m.START, m.STOP, m.RESTART, m.KILL, m.RENAME, m.WAIT, m.REMOVE, m.INSPECT, m.LIST, m.LOGS, m.ATTACH,
        m.RUN, m.RUN_MANY, m.SPAWN, m.EXEC, m.EXEC_DETACHED, m.EXEC_RUN, m.RESIZE,
        images.COMMIT, images.DIFF, images.EXPORT,
        m.CURSOR, m.SUBSCRIBE,
        images.PULL, images.PUSH, images.TAG, images.LOAD, images.SAVE, images.IMPORT, images.IMAGES, images.IMAGE,
        images.HISTORY, images.REMOVE_IMAGE, images.PRUNE, images.CHECK,
        m.CREATE_VOLUME, m.VOLUMES, m.VOLUME, m.REMOVE_VOLUME, m.PRUNE_VOLUMES, m.LOGIN,
    )
}  # fmt: skip
