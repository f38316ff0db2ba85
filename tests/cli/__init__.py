"""The command line: its syntax, its streams, its signals, a real terminal."""
