"""What the tests of state and events share: clocks that are set by hand, events, an open state."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from ardock.engine.state import Changes, Departed, Loaded, NewEvent, Retention, State, open_state
from ardock.model.records import ExitRecord

ENGINE = "0badcafe"
SECOND = 1_000_000_000
# 2026-01-01, a while after boot.
START = 1_767_225_600 * SECOND
UPTIME = 5_000 * SECOND


class Clock:
    """The two clocks of a machine; `pass_` moves both, `step` only the wall's."""

    def __init__(self) -> None:
        self.wall = START
        self.boot = UPTIME

    def pass_(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND)
        self.boot += round(seconds * SECOND)

    def step(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND)


@asynccontextmanager
async def opened(
    root: Path,
    clock: Clock | None = None,
    *,
    boot_id: str = "boot-1",
    engine_id: str = ENGINE,
    retention: Retention | None = None,
) -> AsyncIterator[tuple[State, Loaded]]:
    """The state of a root folder."""
    clock = clock or Clock()
    async with open_state(
        root,
        engine_id=engine_id,
        boot_id=boot_id,
        retention=retention or Retention(),
        now=lambda: clock.wall,
        boot=lambda: clock.boot,
    ) as pair:
        yield pair


def container_id(number: int) -> str:
    return f"{number:064x}"


def event(
    number: int = 0,
    action: str = "start",
    *,
    time: int = START,
    name: str = "",
    attributes: dict[str, str] | None = None,
) -> NewEvent:
    return NewEvent(
        time=time,
        type="container",
        action=action,
        id=container_id(number),
        name=name or f"name-{number}",
        attributes=attributes or {},
    )


def events(*numbers: int) -> Changes:
    return Changes(events=tuple(event(number) for number in numbers))


def departed(number: int, code: int = 0, name: str = "") -> Departed:
    key = container_id(number)
    return Departed(key, name or f"name-{number}", ExitRecord(id=key, exit_code=code))


def database(root: Path) -> Path:
    return root / "state" / "ardock.db"


def write_ahead_log(root: Path) -> Path:
    return root / "state" / "ardock.db-wal"


@contextmanager
def beside(root: Path) -> Iterator[sqlite3.Connection]:
    """Another connection to the database."""
    connection = sqlite3.connect(database(root), isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def no_commit(root: Path) -> Iterator[None]:
    """Nothing can be written for as long as this lasts, and whoever tries waits."""
    with beside(root) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
