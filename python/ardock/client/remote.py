"""What the services of a remote engine share: calls with one answer, and the names of those that change something."""

from __future__ import annotations

import os
from typing import Final, TypeVar

import msgspec
from msgspec import structs

from ardock.client.calls import Call, decode
from ardock.client.line import Line
from ardock.model.errors import ArdockError, InvalidArgument, ProtocolViolation
from ardock.model.making import check
from ardock.model.spec import ContainerSpec, ExecSpec
from ardock.protocol.methods import KILL, REMOVE, STOP, Method, Params

ResultT = TypeVar("ResultT")

# They end other calls: where there are as many of those as the engine takes, these may not wait for one of them to end.
_URGENT: Final = frozenset({KILL.name, STOP.name, REMOVE.name})


class Remote:
    """Calls over a line.

    Attributes:
        line: It.
    """

    def __init__(self, line: Line) -> None:
        """Over `line`."""
        self.line = line
        self._prefix = os.urandom(8).hex()
        self._count = 0

    def request_id(self) -> str:
        """A name that no other call of any client has."""
        self._count += 1
        return f"{self._prefix}-{self._count}"

    async def call(self, method: Method[ResultT], params: Params) -> ResultT:
        """Make a call and return its result.

        Raises:
            ArdockError: As the method; ConnectionLost or DaemonUnavailable where no engine can be reached.
        """
        call = Call(method, params)
        await self.finish(call)
        return self.decode(method, call.result)

    async def change(self, method: Method[ResultT], params: Params) -> ResultT:
        """Make a call that changes something, once, however often it has to be sent."""
        if params.request_id is None:
            params = structs.replace(params, request_id=self.request_id())
        return await self.call(method, params)

    async def finish(self, call: Call) -> None:
        """Send a call and wait until it is answered well.

        Raises:
            ArdockError: It was not.
        """
        line = self.line
        if line.full and call.method.name not in _URGENT:
            await line.until_room()
        line.send_nowait(call)
        await call.wait(line)
        if call.error is not None:
            raise call.error

    def decode(self, method: Method[ResultT], result: bytes | msgspec.Raw) -> ResultT:
        """A result.

        Raises:
            ProtocolViolation: It is none of this method's.
        """
        try:
            return decode(method, result)
        except msgspec.DecodeError as error:
            raise ProtocolViolation(f"{method.name}: the engine's answer is not understood: {error}") from error


def mistaken(spec: ContainerSpec | ExecSpec, error: Exception) -> ArdockError:
    """The error to raise where `spec` could not be encoded, or was refused as malformed.

    A Struct made in Python is not checked by itself, so it may hold what its fields do not allow: in-process that is an
    `InvalidArgument` that names the field, and so it is here.
    """
    try:
        if isinstance(spec, ExecSpec):
            check(spec)
        else:
            check(spec)
    except InvalidArgument as found:
        return found
    if isinstance(error, ArdockError):
        return error
    return InvalidArgument(f"the specification cannot be sent: {error}")
