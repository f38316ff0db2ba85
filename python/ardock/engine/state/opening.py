"""Opening and closing the state of a root folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio

from ardock.engine.state.database import FAILURES, NAME, connect, damaged, unusable
from ardock.engine.state.records import Clocks, Loaded, Past, Retention, boottime
from ardock.engine.state.reserve import Reserve
from ardock.engine.state.state import State
from ardock.engine.state.store import Store
from ardock.model.errors import DiskFull

_RETENTION: Final = Retention()


class _Owner(NamedTuple):
    """Whose the state is: the root folder's id, and this boot of the machine."""

    engine_id: str
    boot_id: str


def _open_store(path: Path, owner: _Owner, retention: Retention, clocks: Clocks) -> tuple[Store, Loaded, Past]:
    """Open the database, or make it, and read what was kept.

    Raises:
        FolderUnusable: It is another program's, a newer ardock's, another engine's or damaged, or cannot be opened.
        NotPermitted: It may not be opened.
        DiskFull: There is no room to open it.
    """
    connections = connect(path, owner.engine_id)
    try:
        store = Store(connections, owner.boot_id, retention, clocks)
        loaded = Loaded(
            store.rows("containers"),
            store.rows("images"),
            store.new_boot and not connections.fresh,
            connections.fresh,
            store.rows("volumes"),
        )
        return store, loaded, store.past()
    except BaseException as error:
        connections.close()
        if isinstance(error, FAILURES):
            raise unusable(path, error) from error
        if isinstance(error, (msgspec.MsgspecError, ValueError, TypeError)):
            raise damaged(path, str(error)) from error
        raise


def _open(
    path: Path, reserve: Reserve, owner: _Owner, retention: Retention, clocks: Clocks
) -> tuple[Store, Loaded, Past, bool]:
    """In a worker thread: open the database, if need be in the room that the reserve has held; whether there is a reserve now."""
    try:
        store, loaded, past = _open_store(path, owner, retention, clocks)
    except DiskFull:
        if not reserve.release():
            raise
        store, loaded, past = _open_store(path, owner, retention, clocks)
    try:
        return store, loaded, past, reserve.make()
    except OSError as error:
        store.close()
        raise unusable(reserve.path, error) from error


@asynccontextmanager
async def open_state(
    root: Path,
    *,
    engine_id: str,
    boot_id: str,
    retention: Retention = _RETENTION,
    now: Callable[[], int],
    boot: Callable[[], int] = boottime,
) -> AsyncIterator[tuple[State, Loaded]]:
    """Open the state of a root folder that the caller owns; at the end all that was handed over is written.

    Args:
        root: The root folder; the database is in ``<root>/state``.
        engine_id: The root folder's id.
        boot_id: What tells this boot of the machine from others (/proc/sys/kernel/random/boot_id).
        retention: How long what is over is kept.
        now: Wall clock, ns since 1970.
        boot: CLOCK_BOOTTIME, ns.

    Raises:
        FolderUnusable: The database is another program's, a newer ardock's, another engine's or damaged, or cannot be opened.
        NotPermitted: It may not be opened.
        DiskFull: There is no room to open it, nor a reserve that would make some.
    """
    clocks = Clocks(now, boot)
    reserve = Reserve(root / "state" / "reserve")
    store, loaded, past, room = await trio.to_thread.run_sync(
        _open, root / "state" / NAME, reserve, _Owner(engine_id, boot_id), retention, clocks
    )
    state = State(store, past, reserve, retention, clocks)
    if not room:
        state.fill()
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            for task in (state.write_all, state.tell, state.tend, state.make_room):
                nursery.start_soon(task)
            try:
                yield state, loaded
            except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
                failure = error
            with trio.CancelScope(shield=True):
                await state.close()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        # Else its traceback, which holds this frame, is a cycle.
        del failure
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(state.close_files)
