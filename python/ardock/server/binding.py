"""How a method is bound to the engine: how its parameters are decoded, and what is begun with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from ardock.model.errors import Unsupported
from ardock.protocol.errors import bad_params
from ardock.protocol.method import Method, Params
from ardock.server.call import Call, TaskCall, check_deadline, encode

if TYPE_CHECKING:
    from ardock.server.connection import Connection
    from ardock.server.served import Engine

ParamsT = TypeVar("ParamsT", bound=Params)
ResultT = TypeVar("ResultT")


class Binding(NamedTuple):
    """One method.

    Attributes:
        method: Its declaration.
        begin: Begins a call of this connection with this number and these encoded parameters.
            ArdockError: The call is refused.
    """

    method: Method[object]
    begin: Callable[[Connection, int, msgspec.Raw], None]


def bind(method: Method[ResultT], params: type[ParamsT], begin: Callable[[Connection, int, ParamsT], None]) -> Binding:
    """`begin` with decoded parameters."""
    assert method.params is params, f"{method.name} is declared with other parameters"
    decode = msgspec.msgpack.Decoder(params).decode

    def decoded(connection: Connection, number: int, raw: msgspec.Raw) -> None:
        try:
            values = decode(raw)
        except ValueError as error:  # msgspec's, and text that is no UTF-8
            raise bad_params(method.name, error) from None
        check_deadline(values.deadline)
        begin(connection, number, values)

    return Binding(method, decoded)  # type: ignore[arg-type] # only its declaration is kept


class Simple(TaskCall):
    """A call without streams: one awaited method of the engine."""

    __slots__ = ("_engine", "_request_id", "_work")

    def __init__(
        self, connection: Connection, number: int, method: str, params: Params, work: Callable[[], Awaitable[bytes]]
    ) -> None:
        """`work` gives the encoded result."""
        super().__init__(connection, number, method, deadline=params.deadline, outlives=params.request_id is not None)
        self._engine = connection.server.engine
        self._request_id = params.request_id
        self._work = work

    async def work(self) -> bytes:
        """Once where it has a request id."""
        if self._request_id is None:
            return await self._work()
        return await self._engine.requests.once(self._request_id, self.method, self._work)


def simple(
    method: Method[ResultT], params: type[ParamsT], call: Callable[[Engine, ParamsT], Awaitable[ResultT]]
) -> Binding:
    """A call without streams that takes a task. Without an effect, it has no use for a request id, and is just done again."""
    name, mutates = method.name, method.mutates

    def begin(connection: Connection, number: int, values: ParamsT) -> None:
        async def work() -> bytes:
            return encode(await call(connection.server.engine, values))

        if not mutates and values.request_id is not None:
            values = msgspec.structs.replace(values, request_id=None)
        task = Simple(connection, number, name, values, work)
        connection.take(task)
        task.start()

    return bind(method, params, begin)


def at_once(method: Method[ResultT], params: type[ParamsT], call: Callable[[Connection, ParamsT], ResultT]) -> Binding:
    """A call that is answered from memory, where it is read."""
    name = method.name

    def begin(connection: Connection, number: int, values: ParamsT) -> None:
        answered = Call(connection, number, name)
        connection.take(answered)
        answered.reply(encode(call(connection, values)))

    return bind(method, params, begin)


def streaming(
    method: Method[ResultT], params: type[ParamsT], make: Callable[[Connection, int, ParamsT], TaskCall]
) -> Binding:
    """A call with streams. What was streamed cannot be told again, so it takes no request id."""
    name, mutates = method.name, method.mutates

    def begin(connection: Connection, number: int, values: ParamsT) -> None:
        if mutates and values.request_id is not None:
            raise unrepeatable(name)
        task = make(connection, number, values)
        connection.take(task)
        task.start()

    return bind(method, params, begin)


def unrepeatable(name: str) -> Unsupported:
    """Why a request id is refused."""
    return Unsupported(f"{name}: a call with streams cannot be repeated: give no request_id", option="request_id")
