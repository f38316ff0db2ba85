"""The MessagePack server: an engine behind unix sockets. It translates, and decides nothing about containers."""

from ardock.server.server import GROUP, SOCKET_NAME, Server, serve, serving

__all__ = ["GROUP", "SOCKET_NAME", "Server", "serve", "serving"]
