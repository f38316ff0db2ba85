"""`RunMany`: the async iterator of `Containers.run_many`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ardock.model import RunResult


class RunMany:
    """Results of many containers in the order in which they end."""

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> RunResult:
        """The next container that has ended. Cancelled, it kills the rest and awaits their end."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Kill what still runs and await its end."""

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """`aclose`."""
        await self.aclose()
