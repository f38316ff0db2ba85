"""Request ids: a call that is repeated with the same one is not done again.

The result of a call is written in the same commit as what the call changed, so after a crash it is either both or neither. A
call under way is waited for by whoever repeats it; one that failed is forgotten, since nothing of it was done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final

import msgspec
import trio

from ardock.engine.state import Changes, State
from ardock.model.errors import InvalidArgument
from ardock.model.records import RunResult
from ardock.protocol.methods import Outcome
from ardock.protocol.outcomes import from_result, to_result

_LONGEST: Final = 64
_current: ContextVar[str | None] = ContextVar("ardock_request", default=None)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_outcome: Final = msgspec.msgpack.Decoder(Outcome).decode
# What may be kept of one result; a longer one is done again where it is asked for again.
_MOST_KEPT: Final = 4 << 20


class _Pending:
    """A call under way."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.written = False


class Requests:
    """The requests of one engine."""

    def __init__(self, state: State) -> None:
        """Results are kept in `state`."""
        self._state = state
        self._pending: dict[str, _Pending] = {}

    def check(self, request_id: str | None) -> None:
        """Refuse what is no request id.

        Raises:
            InvalidArgument: It is empty or too long.
        """
        if request_id is not None and not 0 < len(request_id) <= _LONGEST:
            raise InvalidArgument(
                f"request_id: 1 to {_LONGEST} characters are expected, not {len(request_id)}", field="request_id"
            )

    @property
    def current(self) -> str | None:
        """The id of the call that this task carries out."""
        return _current.get()

    async def once(self, request_id: str, method: str, call: Callable[[], Awaitable[bytes]]) -> bytes:
        """Carry out `call`, unless it was; its encoded result.

        Args:
            request_id: The client's name for the call.
            method: The method's name; part of the identity, so that one id used for two calls is not mixed up.
            call: Carries it out.

        Raises:
            ArdockError: What `call` raises; it is then forgotten.
        """
        self.check(request_id)
        key = f"{method} {request_id}"
        while True:
            known = self._state.find_request(key)
            if known is not None:
                return known
            pending = self._pending.get(key)
            if pending is None:
                break
            await pending.over.wait()
        pending = self._pending[key] = _Pending()
        token = _current.set(key)
        try:
            result = await call()
            if not pending.written:
                self._state.commit(Changes(request=(key, result)))
            return result
        finally:
            _current.reset(token)
            del self._pending[key]
            pending.over.set()

    def take(self, result: bytes, key: str | None = None) -> tuple[str, bytes] | None:
        """What the commit of the call under way must have beside its changes; None where the call has no id.

        Args:
            result: The call's encoded result.
            key: `current` of the task that carries it out, where that is not this one.
        """
        key = key or _current.get()
        if key is None:
            return None
        pending = self._pending.get(key)
        if pending is not None:
            pending.written = True
        return key, result

    # --- runs and execs: their results are large and come by callback ---

    def known(self, key: str) -> RunResult | None:
        """The result of a run or exec that was asked for before and is over."""
        known = self._state.find_request(key)
        return None if known is None else to_result(_decode_outcome(known))

    def entry(self, key: str, result: RunResult) -> tuple[str, bytes] | None:
        """What the commit of its end must have; None where its output is too long to be kept."""
        if len(result.stdout) + len(result.stderr) > _MOST_KEPT:
            return None
        return key, _encode(from_result(result))

    def run_entry(self, request_id: str, result: RunResult) -> tuple[str, bytes] | None:
        """`entry` of a `containers.run`."""
        return self.entry(run_key(request_id), result)

    def exec_entry(self, exec_id: str, result: RunResult) -> tuple[str, bytes] | None:
        """`entry` of a `containers.exec_run`."""
        return self.entry(exec_key(exec_id), result)


def run_key(request_id: str) -> str:
    """Under which the result of a `containers.run` is kept."""
    return f"containers.run {request_id}"


def exec_key(exec_id: str) -> str:
    """Under which the result of a `containers.exec_run` is kept; the exec's id stands for the request's."""
    return f"containers.exec_run {exec_id}"
