"""Clients of an engine that another process (or thread) owns.

`ardock.client.trio_client` is for programs, with the interface of `open_engine`; `ardock.client.blocking` is for the command
line and loads no event loop. Both stand on `ardock.protocol.session`. Nothing is imported here: each costs what it costs.
"""
