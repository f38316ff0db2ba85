"""Text as Go and Docker's command line write it."""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", "\\": "\\", '"': '"'}


def go_quoted(value: str) -> str:
    """A string literal of Go's (strconv.Quote): what is not printable is escaped, so that no terminal can be fooled."""

    def one(letter: str) -> str:
        if letter in _ESCAPES:
            return f"\\{_ESCAPES[letter]}"
        if letter == " " or letter.isprintable():
            return letter
        number = ord(letter)
        return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

    return f'"{"".join(one(letter) for letter in value)}"'


def ellipsis(text: str, length: int) -> str:
    """At most `length` characters, the last a dot of three where some are missing (docker/cli, formatter.Ellipsis)."""
    return text if len(text) <= length else text[: length - 1] + "…"
