"""Work that several callers may want at once: done once, and ended when the last of them has gone."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from ardock.engine.content import Lease
from ardock.model.errors import ArdockError, Cancelled, EngineClosed
from ardock.model.image import Progress

Tell = Callable[[Progress], None]
_T = TypeVar("_T")


class Job(Generic[_T]):
    """One piece of work under way."""

    def __init__(self) -> None:
        """Not begun."""
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        self._waiting: list[tuple[Lease, Tell]] = []
        self._result: _T | None = None
        self._error: ArdockError | None = None
        self._told: dict[str, Progress] = {}

    def tell(self, progress: Progress) -> None:
        """Tell all who wait how far it is."""
        self._told[progress.part] = progress
        for _, tell in self._waiting:
            tell(progress)

    def hold(self, *things: str) -> None:
        """Let all who wait hold what they could not know before."""
        for lease, _ in self._waiting:
            lease.hold(*things)

    async def run(self, work: Callable[[Job[_T]], Awaitable[_T]]) -> None:
        """Do it. Errors that are no `ArdockError` are faults of the engine's, and raised."""
        # Until it is done it has ended too early, whatever the reason.
        closed = self._error = EngineClosed("the engine is closed")
        try:
            with self._scope:
                self._result = await work(self)
                self._error = None
        except ArdockError as error:
            # A source that its caller has closed says the same word of itself.
            self._error = Cancelled(error.message) if isinstance(error, EngineClosed) else error
        except BaseException:
            self._error = closed
            raise
        finally:
            self._done.set()

    async def result(self, lease: Lease, tell: Tell) -> _T:
        """Wait for it; cancelled as the last one, end it and wait until it has ended."""
        entry = (lease, tell)
        self._waiting.append(entry)
        for progress in self._told.values():
            tell(progress)
        try:
            await self._done.wait()
        finally:
            self._waiting.remove(entry)
            if not self._waiting and not self._done.is_set():
                self._scope.cancel()
                with trio.CancelScope(shield=True):
                    await self._done.wait()
        if self._error is not None:
            # Each caller gets one of its own: a traceback grows wherever it is raised.
            raise copy.copy(self._error)
        assert self._result is not None, "it is done"
        return self._result

    @property
    def over(self) -> bool:
        """It has ended, or is being ended."""
        return self._done.is_set() or self._scope.cancel_called


class Jobs(Generic[_T]):
    """Those under way, by what they are about."""

    def __init__(self, nursery: trio.Nursery) -> None:
        """They run in `nursery`, not in their callers' tasks."""
        self._nursery = nursery
        self._by_key: dict[str, Job[_T]] = {}

    def __repr__(self) -> str:
        """How many there are."""
        return f"<Jobs: {len(self._by_key)} under way>"

    async def join(self, key: str, work: Callable[[Job[_T]], Awaitable[_T]], lease: Lease, tell: Tell) -> _T | None:
        """The result of the work that has this key, which is begun unless it is under way.

        None: somebody else had begun it, and it failed. Their source may be closed by now, or their credentials not do; whoever
        only joined begins it anew, with their own.

        Raises:
            ArdockError: What the caller's own work raised.
        """
        job = self._by_key.get(key)
        own = job is None or job.over
        if job is None or own:
            job = self._by_key[key] = Job()
            self._nursery.start_soon(self._run, key, job, work)
        try:
            return await job.result(lease, tell)
        except EngineClosed:
            raise
        except ArdockError:
            if own:
                raise
            return None

    async def _run(self, key: str, job: Job[_T], work: Callable[[Job[_T]], Awaitable[_T]]) -> None:
        try:
            await job.run(work)
        finally:
            if self._by_key.get(key) is job:
                del self._by_key[key]
