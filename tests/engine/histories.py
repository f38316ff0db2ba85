"""The whole journal of an engine, and what must be true of every one."""

from __future__ import annotations

from ardock import Cursor, Event
from ardock.interface import Engine


async def history(engine: Engine) -> list[Event]:
    """All events of the journal."""
    end = await engine.events.cursor()
    seen: list[Event] = []
    if end.seq:
        async with engine.events.subscribe(since=Cursor(end.epoch, 0)) as events:
            async for event in events:
                assert isinstance(event, Event), event
                seen.append(event)
                if event.seq >= end.seq:
                    break
    return seen


# What comes at most once in a life that is started once, in this order.
ORDER = ("create", "start", "oom", "kill", "die", "stop", "destroy")


def check_history(events: list[Event]) -> None:
    """No number is skipped or doubled, and each container's events have the order of its life, each once."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    lives: dict[str, list[str]] = {}
    joined: dict[str, list[str]] = {}
    for event in events:
        action = event.action.partition(":")[0]
        if action.startswith("exec"):
            joined.setdefault(event.attributes["execID"], []).append(action)
        else:
            lives.setdefault(event.id, []).append(action)
    for container_id, actions in lives.items():
        order = [ORDER.index(action) for action in actions]
        assert order == sorted(set(order)), (container_id, actions)
        assert actions[0] == "create", (container_id, actions)
    for exec_id, actions in joined.items():
        assert actions in (["exec_create", "exec_start"], ["exec_create", "exec_start", "exec_die"]), (exec_id, actions)
