"""Calling the Rust side's layer functions: in threads, with their errors as ours."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import trio

from ardock import _core
from ardock.engine.content.disk import failed
from ardock.model.errors import ContentDamaged, InvalidArgument, Unsupported

_T = TypeVar("_T")
# Threads for images: they are busy with the disk and with hashing, and the engine's other work needs some too.
limiter: Final = trio.CapacityLimiter(12)


def told(call: Callable[[], _T], what: str = "layer") -> _T:
    """Call the Rust side; its errors as ours, about `what`.

    Raises:
        InvalidArgument: The archive is none, is damaged, leads out of its root or holds more than it may.
        ContentDamaged: What came is not what its digest says.
        Unsupported: It has something that is not taken.
        DiskFull: The disk is full.
        FolderUnusable: The disk fails otherwise.
    """
    try:
        return call()
    except _core.LayerError as error:
        kind, message, number = error.args
        if kind == "digest":
            raise ContentDamaged(f"{what}: {message}") from error
        if kind in ("source", "refused") or number == errno.ENAMETOOLONG:
            raise InvalidArgument(f"{what}: {message}") from error
        if kind == "unsupported":
            raise Unsupported(f"{what}: {message}") from error
        raise failed(f"{what}: {message}", number) from error


async def in_thread(call: Callable[[], _T], flag: _core.CancelFlag | None = None, *, own: bool = False) -> _T:
    """Call in a thread of images'; cancelled, `flag` is set and the call awaited, and Cancelled is raised whatever it gave.

    Args:
        call: What blocks.
        flag: Ends it.
        own: It waits for somebody else (a reader, a writer), and takes no thread away from those who only work.
    """
    threads = trio.CapacityLimiter(1) if own else limiter
    if flag is None:
        return await trio.to_thread.run_sync(call, limiter=threads)

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        finally:
            flag.set()

    result = await beside(watch, lambda: trio.to_thread.run_sync(call, limiter=threads))
    await trio.lowlevel.checkpoint_if_cancelled()
    return result


async def beside(company: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[_T]]) -> _T:
    """Await `work`, with `company` beside it until it is over; its error comes out as it is, not in a group."""
    results: list[_T] = []
    errors: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(company)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
            errors.append(error)
        nursery.cancel_scope.cancel()
    if errors:
        try:
            raise errors[0]
        finally:
            # Else its traceback, which holds this frame, is a cycle.
            errors.clear()
    if not results:
        await trio.lowlevel.checkpoint_if_cancelled()
    return results[0]


async def together(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Await all; the first error ends the others and comes out as it is, not in a group."""
    errors: list[Exception] = []

    async def run(call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - idem
            errors.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(run, call)
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()
