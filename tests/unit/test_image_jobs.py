"""Leases, and work that several callers join: nothing is removed that somebody needs, and nothing is done that nobody wants."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from ardock.engine.content import Lease, Leases
from ardock.engine.images.jobs import Job, Jobs
from ardock.model.errors import ArdockError, ContentDamaged, EngineClosed, NotFound
from ardock.model.image import Progress


def nobody(_: Progress) -> None:
    pass


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"))))
def test_a_thing_is_removed_when_the_last_lease_of_it_ends_and_not_before(steps: list[tuple[int, str]]) -> None:
    gone: list[str] = []
    leases = Leases(gone.extend)
    held: dict[int, list[str]] = {}
    open_leases: dict[int, Lease] = {}
    for number, thing in steps:
        if number in open_leases and thing in held[number]:
            open_leases.pop(number).__exit__(None, None, None)
            left = held.pop(number)
            others = {each for things in held.values() for each in things}
            assert sorted(gone) == sorted(set(left) - others)
            gone.clear()
        else:
            open_leases.setdefault(number, leases.lease()).hold(thing)
            held.setdefault(number, []).append(thing)
        assert all(leases.held(each) for things in held.values() for each in things)
        assert not gone


def test_letting_go_too_often_is_a_fault() -> None:
    leases = Leases(lambda _: None)
    leases.hold("a")
    leases.release("a")
    with pytest.raises(AssertionError):
        leases.release("a")


class Work:
    """Work that waits until it is let."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.go = trio.Event()
        self.error: ArdockError | None = None
        self.may_end = trio.Event()
        self.may_end.set()

    async def __call__(self, job: Job[int]) -> int:
        self.begun += 1
        try:
            job.tell(Progress(part="it", status="waiting"))
            await self.go.wait()
            if self.error is not None:
                raise self.error
            return self.begun
        finally:
            with trio.CancelScope(shield=True):
                await self.may_end.wait()
                self.ended += 1


async def test_it_is_done_once_for_all_who_join(nursery: trio.Nursery) -> None:
    jobs: Jobs[int] = Jobs(nursery)
    work = Work()
    leases = Leases(lambda _: None)
    results: list[int | None] = []
    told: list[str] = []

    async def join() -> None:
        with leases.lease() as lease:
            results.append(await jobs.join("k", work, lease, lambda each: told.append(each.status)))

    async with trio.open_nursery() as joining:
        joining.start_soon(join)
        await wait_all_tasks_blocked()
        # Who joins late is told how far it is.
        joining.start_soon(join)
        await wait_all_tasks_blocked()
        assert told == ["waiting", "waiting"]
        work.go.set()
    assert (results, work.begun) == ([1, 1], 1)
    with leases.lease() as lease:
        assert await jobs.join("k", work, lease, nobody) == 2


async def test_it_goes_on_as_long_as_one_wants_it_and_ends_with_the_last(nursery: trio.Nursery) -> None:
    jobs: Jobs[int] = Jobs(nursery)
    work = Work()
    leases = Leases(lambda _: None)
    scopes = [trio.CancelScope(), trio.CancelScope()]

    async def join(scope: trio.CancelScope) -> None:
        with scope, leases.lease() as lease:
            await jobs.join("k", work, lease, nobody)

    async with trio.open_nursery() as joining:
        for scope in scopes:
            joining.start_soon(join, scope)
        await wait_all_tasks_blocked()
        scopes[0].cancel()
        await wait_all_tasks_blocked()
        assert (work.begun, work.ended) == (1, 0)
        scopes[1].cancel()
    # Whoever was the last has waited for its end.
    assert (work.begun, work.ended) == (1, 1)


async def test_who_comes_while_it_is_being_ended_begins_anew(nursery: trio.Nursery) -> None:
    jobs: Jobs[int] = Jobs(nursery)
    work = Work()
    leases = Leases(lambda _: None)
    results: list[int | None] = []
    scope = trio.CancelScope()

    async def first() -> None:
        with scope, leases.lease() as lease:
            await jobs.join("k", work, lease, nobody)

    async def second() -> None:
        with leases.lease() as lease:
            results.append(await jobs.join("k", work, lease, nobody))

    work.may_end = trio.Event()
    async with trio.open_nursery() as joining:
        joining.start_soon(first)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert (work.begun, work.ended) == (1, 0)
        joining.start_soon(second)
        await wait_all_tasks_blocked()
        assert work.begun == 2
        work.go.set()
        work.may_end.set()
    assert (results, work.ended) == ([2], 2)


async def test_its_error_is_of_who_began_it_and_others_begin_anew(nursery: trio.Nursery) -> None:
    jobs: Jobs[int] = Jobs(nursery)
    work = Work()
    work.error = NotFound("gone", field="x")
    leases = Leases(lambda _: None)
    results: list[object] = []

    async def join() -> None:
        with leases.lease() as lease:
            try:
                results.append(await jobs.join("k", work, lease, nobody))
            except NotFound as error:
                results.append((error.message, error.field))

    async with trio.open_nursery() as joining:
        joining.start_soon(join)
        await wait_all_tasks_blocked()
        joining.start_soon(join)
        await wait_all_tasks_blocked()
        work.go.set()
    assert len(results) == 2
    assert ("gone", "x") in results
    assert None in results


async def test_a_source_that_its_caller_has_closed_is_no_closed_engine(nursery: trio.Nursery) -> None:
    jobs: Jobs[int] = Jobs(nursery)
    work = Work()
    work.error = EngineClosed("the repository was closed")
    leases = Leases(lambda _: None)
    results: list[object] = []
    scope = trio.CancelScope()

    async def leave() -> None:
        with scope, leases.lease() as lease:
            await jobs.join("k", work, lease, nobody)

    async def stay() -> None:
        with leases.lease() as lease:
            results.append(await jobs.join("k", work, lease, nobody))

    async with trio.open_nursery() as joining:
        joining.start_soon(leave)
        await wait_all_tasks_blocked()
        joining.start_soon(stay)
        await wait_all_tasks_blocked()
        scope.cancel()
        work.go.set()
    assert results == [None]


async def test_an_engine_that_closes_ends_it(nursery: trio.Nursery) -> None:
    work = Work()
    leases = Leases(lambda _: None)
    caught: list[ArdockError] = []
    async with trio.open_nursery() as outer:
        inner_ready = trio.Event()
        jobs: list[Jobs[int]] = []
        scope = trio.CancelScope()

        async def engine() -> None:
            with scope:
                async with trio.open_nursery() as inner:
                    jobs.append(Jobs(inner))
                    inner_ready.set()
                    await trio.sleep_forever()

        async def join() -> None:
            with leases.lease() as lease:
                with pytest.raises(EngineClosed) as found:
                    await jobs[0].join("k", work, lease, nobody)
                caught.append(found.value)

        outer.start_soon(engine)
        await inner_ready.wait()
        outer.start_soon(join)
        await wait_all_tasks_blocked()
        scope.cancel()
    assert (len(caught), work.ended) == (1, 1)


async def test_what_is_found_out_is_held_by_all_who_wait(nursery: trio.Nursery) -> None:
    gone: list[str] = []
    leases = Leases(gone.extend)
    jobs: Jobs[int] = Jobs(nursery)

    async def work(job: Job[int]) -> int:
        await wait_all_tasks_blocked()
        with leases.lease() as own:
            own.hold("blob")
            job.hold("blob")
        return 1

    with leases.lease() as lease:
        await jobs.join("k", work, lease, nobody)
        assert leases.held("blob")
        assert not gone
    assert gone == ["blob"]


def test_errors_can_be_copied() -> None:
    """`Jobs` gives each caller a copy; of all that a job can raise."""
    import copy

    for error in (NotFound("a", field="b"), ContentDamaged("c"), EngineClosed("d")):
        twin = copy.copy(error)
        assert (type(twin), twin.message, twin.__dict__) == (type(error), error.message, error.__dict__)
