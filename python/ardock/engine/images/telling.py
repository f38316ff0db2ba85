"""Telling a caller how far a call is: at most some times a second for each part, and at each change of what is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from ardock.engine.images.jobs import Tell
from ardock.interface import OnProgress
from ardock.model.image import Progress

_EVERY: Final = 0.1


@contextmanager
def telling(progress: OnProgress | None) -> Iterator[Tell]:
    """What tells `progress`, if there is any. What that raises is the caller's own: it ends the body, and comes out."""
    if progress is None:
        yield lambda _: None
        return
    last: dict[str, tuple[str, float]] = {}
    errors: list[Exception] = []
    scope = trio.CancelScope()

    def tell(each: Progress) -> None:
        now = time.monotonic()
        status, at = last.get(each.part, ("", 0.0))
        if errors or (status == each.status and now - at < _EVERY and each.done != each.total):
            return
        last[each.part] = (each.status, now)
        try:
            progress(each)
        except Exception as error:  # noqa: BLE001 - not the fault of whoever tells: raised below
            errors.append(error)
            scope.cancel()

    with scope:
        yield tell
    if errors:
        raise errors[0]
