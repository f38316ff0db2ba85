"""Reading the logs that keepers write: exact across rotation, from any place, followed to the container's end."""

from ardock.engine.logs.reader import LogReader, open_log
from ardock.engine.logs.watch import LogWatcher

__all__ = ["LogReader", "LogWatcher", "open_log"]
