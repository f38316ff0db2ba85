"""Clients of an engine that another process (or thread) owns.

`connect` is for programs: the interface of `open_engine` over a socket. `ardock.client.blocking` is for the command line and
loads no event loop, for which reason `connect` is imported only when it is asked for. Both stand on `ardock.protocol.session`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ardock.client.trio_client import RemoteEngine, connect

__all__ = ["RemoteEngine", "connect"]


def __getattr__(name: str) -> object:
    """Import the trio client on first use (PEP 562)."""
    if name in __all__:
        from ardock.client import trio_client  # noqa: PLC0415 - see above

        value: object = getattr(trio_client, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
