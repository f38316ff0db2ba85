"""Reading a log on and on: where one is in it, across rotation, and what of it is wanted. Blocking; no loop, no waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ardock.engine.logs import files as log_files
from ardock.engine.logs import format as log_format
from ardock.engine.logs import tail
from ardock.engine.logs.files import LogFile
from ardock.model.errors import InvalidArgument
from ardock.model.logs import LogGap, LogItem, LogQuery, LogRecord, LogStream

_NAMES: Final[dict[int, LogStream]] = {log_format.STDOUT: "stdout", log_format.STDERR: "stderr"}


def check(query: LogQuery) -> None:
    """Refuse what has no meaning.

    Raises:
        InvalidArgument: Which part, and why.
    """
    if not query.stdout and not query.stderr:
        raise InvalidArgument("logs: at least one of stdout and stderr must be asked for", field="stdout")
    for field in ("tail", "since", "until", "cursor"):
        if (getattr(query, field) or 0) < 0:
            raise InvalidArgument(f"logs: {field} must not be negative", field=field)
    if query.tail is not None and query.cursor:
        raise InvalidArgument("logs: tail and cursor exclude each other", field="tail")


class Walk:
    """A place in a log, from which `step` goes on. Close it.

    One file is open at a time: a reader that stands still does not keep files on the disk that rotation has removed, but
    one, and is told with a gap what it missed.

    Attributes:
        cursor: Output bytes of the whole log up to here.
        file: The file that it is in; None where there has been none yet.
        between: The file is no longer the youngest, all of it is read, and the next one is not there yet.
    """

    def __init__(self, folder: Path, name: str, query: LogQuery) -> None:
        self._folder = folder
        self._name = name
        self._query = query
        self._streams = {number for number, wanted in ((1, query.stdout), (2, query.stderr)) if wanted}
        self._tail = query.tail
        self._cuts: dict[int, int] = {}
        self._at = log_format.FILE_HEADER
        # The last place of which records are wanted: a file's offset, and a place in it.
        self._stop: tuple[int, int] | None = None
        self.cursor = 0
        self.file: LogFile | None = None
        self.between = False

    def _begin(self) -> list[LogItem] | None:
        """Go to where the query begins; a gap where that is no longer there; None where there is no log yet."""
        files, _ = log_files.open_all(self._folder, self._name)
        try:
            if not files:
                # What comes later is none of the lines that are there now.
                self._tail = None
                return None
            if not self._query.follow:
                self._stop = (files[0].offset, files[0].size)
            wanted = self._query.cursor
            if self._tail is not None:
                index, self._cuts = tail.find(files, self._streams, self._tail)
            else:
                older = (number for number, file in enumerate(files) if file.offset <= wanted)
                index = next(older, len(files) - 1)
                self._cuts = dict.fromkeys((log_format.LOSS, *self._streams), wanted)
            self._enter(files.pop(index))
        finally:
            log_files.close_all(files)
        if self._tail is None and not self._query.since and self.cursor > wanted:
            return [LogGap(missed=self.cursor - wanted, reason="rotated", cursor=self.cursor)]
        return []

    def step(self) -> list[LogItem] | None:
        """Read a piece and say what of it is wanted (maybe nothing); None where there is nothing to read for now.

        Raises:
            OSError: The log cannot be read.
        """
        if self.file is None:
            return self._begin()
        if self._stop is not None and self.file.offset > self._stop[0]:
            return None
        items = self._read(self.file)
        if items is not None or self._is_last(self.file):
            return items
        # What was written last was written before the file took another name, but maybe after the look into it.
        items = self._read(self.file)
        return items if items is not None else self._turn(self.file)

    def waiting(self) -> int:
        """Bytes that can be read now in this file."""
        return self.file.size_now() - self._at if self.file is not None else 0

    def close(self) -> None:
        """Close the file. Safe to call again."""
        if self.file is not None:
            self.file.close()

    def _read(self, file: LogFile) -> list[LogItem] | None:
        end = self._stop[1] if self._stop is not None and file.offset == self._stop[0] else None
        buffer = file.read(self._at, end)
        items: list[LogItem] = []
        read, cursor, cuts = 0, self.cursor, self._cuts
        since, until, streams = self._query.since, self._query.until, self._streams
        for time, stream, begin, read in log_format.records(buffer):
            if stream == log_format.LOSS:
                missed = log_format.lost_bytes(buffer, log_format.Record(time, stream, begin, read))
                cursor += missed
                if time >= since and not 0 < until <= time and cursor > cuts.get(stream, 0):
                    items.append(LogGap(missed=missed, reason="lost", cursor=cursor))
                continue
            cursor += read - begin
            if stream in streams and time >= since and not 0 < until <= time:
                first = read - (cursor - cuts[stream]) if stream in cuts else begin
                if first < read:
                    data = buffer[max(first, begin) : read]
                    items.append(LogRecord(time=time, stream=_NAMES[stream], data=data, cursor=cursor))
        if read == 0:
            return None
        self._at += read
        self.cursor = cursor
        if cuts and cursor >= max(cuts.values()):
            self._cuts = {}
        return items

    def _is_last(self, file: LogFile) -> bool:
        if self._stop is not None and file.offset == self._stop[0]:
            return True
        if not log_files.is_youngest(self._folder, self._name, file):
            return False
        # What a reader claims to have read and is not there cannot have been this log's: it must not hide what comes.
        self._cuts = {}
        return True

    def _enter(self, file: LogFile) -> None:
        if self.file is not None:
            self.file.close()
        self.file, self._at, self.cursor, self.between = file, log_format.FILE_HEADER, file.offset, False

    def _turn(self, file: LogFile) -> list[LogItem] | None:
        """Go to the next file; what lies between is a gap."""
        younger, adjacent = log_files.open_all(self._folder, self._name, file)
        if not younger:
            self.between = True
            return None
        fresh = younger.pop()
        log_files.close_all(younger)
        missed = fresh.offset - self.cursor
        self._enter(fresh)
        if missed <= 0:
            return []
        return [LogGap(missed=missed, reason="lost" if adjacent else "rotated", cursor=fresh.offset)]
