"""The daemon's own log: one line for each message on stderr, as ``key=value`` or JSON.

Whoever logs gives what varies as ``extra={"fields": {...}}``, so that the message itself is the same each time.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Final, Literal

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warn", "error"]

_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES: Final = {number: name for name, number in _LEVELS.items()} | {logging.CRITICAL: "error"}
_BARE: Final = re.compile(r"^[\w./:@+,-]+$", re.ASCII)


class _Formatter(logging.Formatter):
    """What both forms have: the fields of a record, in order."""

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        """Time, level, message, then the caller's."""
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        found: dict[str, object] = {
            "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": _NAMES.get(record.levelno, "info"),
            "msg": record.getMessage(),
        }
        extra: object = getattr(record, "fields", None)
        if isinstance(extra, dict):
            found |= extra
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return found


class Text(_Formatter):
    """``key=value`` with quotes where a value needs them; never more than one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in self.fields(record).items())


class Json(_Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(self.fields(record), default=str, ensure_ascii=False)


def _quoted(value: object) -> str:
    text = str(value)
    return text if _BARE.match(text) else json.dumps(text, ensure_ascii=True)


def configure(form: Format = "text", level: Level = "info") -> None:
    """Have ardock's loggers write to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    logger = logging.getLogger("ardock")
    logger.handlers[:] = [handler]
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
