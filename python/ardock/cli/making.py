"""Making a container for `run` and `create`: its image is pulled where that is wished for, or where it is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.model.errors import NotFound
from ardock.protocol.methods import CREATE, Create

if TYPE_CHECKING:
    from ardock.cli.command import PullWish
    from ardock.cli.connection import Connection


def make(engine: Connection, params: Create, wish: PullWish) -> str:
    """Make a container; its id.

    Raises:
        ArdockError: What the engine answers.
    """
    if wish.when == "always" or wish.platform:
        # Rare, and with more to import than a command that needs none of it.
        from ardock.cli.pulling import provide

        provide(engine, params.spec, wish)
    try:
        return engine.call(CREATE, params).id
    except NotFound as error:
        from ardock.cli.pulling import missing

        missing(engine, params.spec, wish, error)
    return engine.call(CREATE, params).id
