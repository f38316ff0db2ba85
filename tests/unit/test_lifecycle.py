"""The table of a container's life."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from ardock.engine.containers import lifecycle
from ardock.engine.containers.container import Container
from ardock.engine.containers.lifecycle import ALIVE, MOVES, STATUSES, Happening
from ardock.model.container import Status
from ardock.model.records import ExitRecord
from ardock.model.spec import ContainerSpec

DESIGN = Path(__file__).parents[2] / "docs/design.md"
HAPPENINGS: tuple[Happening, ...] = get_args(Happening)


def container(status: Status) -> Container:
    made = Container("0" * 64, "x", ContainerSpec(argv=("true",)), kind="kept", remove=False, created_at=1)
    made.status = status
    return made


def test_every_state_is_reached_and_left() -> None:
    assert {status for status, _ in MOVES} | set(MOVES.values()) == STATUSES
    assert {happening for _, happening in MOVES} == set(HAPPENINGS)
    assert STATUSES - {status for status, _ in MOVES} == set()
    assert STATUSES - set(MOVES.values()) == set()


@pytest.mark.parametrize("status", sorted(STATUSES))
@pytest.mark.parametrize("happening", HAPPENINGS)
def test_what_is_not_in_the_table_does_not_happen(status: Status, happening: Happening) -> None:
    made = container(status)
    to = lifecycle.after(status, happening)
    if to is None:
        with pytest.raises(AssertionError, match=happening):
            made.move(happening)
        assert made.status == status
    else:
        made.move(happening)
        assert made.status == to
        assert made.alive == (to in ALIVE)


def test_a_start_that_fails_leaves_it_as_it_was() -> None:
    made = container("exited")
    made.exit = ExitRecord(id=made.id, exit_code=3)
    made.move("start")
    made.move("failed")
    assert made.status == "exited"


def test_the_design_draws_the_table() -> None:
    text = (
        DESIGN.read_text().partition("**The life of a container is a table**")[2].partition("**In memory first.**")[0]
    )
    for status, happening in MOVES:
        if happening != "lost":  # as `ended`
            assert f"--{happening}-" in text, happening
        assert status in text
