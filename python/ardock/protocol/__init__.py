"""MessagePack-RPC without I/O: frames, messages, methods, streams."""
