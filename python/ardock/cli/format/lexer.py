"""A template's text in pieces: text and actions, and an action's tokens (Go's text/template/parse/lex.go)."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from enum import Enum
from typing import Final, NamedTuple

from ardock.cli.format.errors import TemplateError


class Kind(Enum):
    """What a token is."""

    TEXT = "text"
    OPEN = "{{"
    CLOSE = "}}"
    STRING = "string"
    NUMBER = "number"
    NAME = "name"
    FIELD = "field"
    VARIABLE = "variable"
    DOT = "."
    SIGN = "sign"


class Token(NamedTuple):
    """A piece of the template.

    Attributes:
        kind: What it is.
        text: As it is written; of text, what is left of it after trimming; of a string, its value.
        start: Where it begins in the template.
        end: Where it ends.
    """

    kind: Kind
    text: str
    start: int
    end: int


_SPACE: Final = " \t\r\n"
_NAME: Final = r"[^\W\d]\w*"
_TOKEN: Final = re.compile(
    rf"""(?P<space>[{_SPACE}]+)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\[^\n]+?)')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
    |(?P<field>\.{_NAME})
    |(?P<variable>\$(?:{_NAME})?)
    |(?P<name>{_NAME})
    |(?P<dot>\.)
    |(?P<sign>:=|[=|(),])""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.DOTALL
)
_SIMPLE: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip


def tokens(source: str) -> Iterator[Token]:
    """The tokens of a template, comments left out.

    Raises:
        TemplateError: An action, a comment or a string is not closed, or has what is no token.
    """
    place = 0
    trim_left = False
    while True:
        opened = source.find("{{", place)
        text = source[place:] if opened < 0 else source[place:opened]
        if trim_left:
            text = text.lstrip(_SPACE)
        if opened >= 0 and _trims_before(source, opened):
            text = text.rstrip(_SPACE)
        if text:
            yield Token(Kind.TEXT, text, place, place + len(text))
        if opened < 0:
            return
        inside = opened + (3 if _trims_before(source, opened) else 2)
        comment = re.compile(rf"[{_SPACE}]*/\*").match(source, inside)
        if comment:
            closed, trim_left = _comment_end(source, comment.end())
        else:
            yield Token(Kind.OPEN, "{{", opened, inside)
            closed, trim_left = yield from _action(source, inside)
        place = closed


def _trims_before(source: str, opened: int) -> bool:
    """``{{-`` and a blank: the text before loses the blanks at its end; ``{{-3}}`` is a number."""
    return source[opened + 2 : opened + 3] == "-" and source[opened + 3 : opened + 4] in tuple(_SPACE)


def _comment_end(source: str, place: int) -> tuple[int, bool]:
    end = source.find("*/", place)
    if end < 0:
        raise TemplateError("unclosed comment")
    close = re.compile(rf"(?P<trim>[{_SPACE}]+-)?}}}}").match(source, end + 2)
    if close is None:
        raise TemplateError("comment ends before closing delimiter")
    return close.end(), close["trim"] is not None


def _action(source: str, place: int) -> Generator[Token, None, tuple[int, bool]]:
    """An action's tokens up to and with its end; returns where the text goes on, and whether its blanks go."""
    close = re.compile(rf"(?P<trim>[{_SPACE}]+-)?}}}}")
    while True:
        if end := close.match(source, place):
            yield Token(Kind.CLOSE, "}}", place, end.end())
            return end.end(), end["trim"] is not None
        found = _TOKEN.match(source, place)
        if found is None:
            raise TemplateError(_problem(source, place))
        start, place = place, found.end()
        match found.lastgroup:
            case "space":
                pass
            case "string":
                yield Token(Kind.STRING, _unquoted(found[0][1:-1]), start, place)
            case "raw":
                yield Token(Kind.STRING, found[0][1:-1], start, place)
            case "char":
                yield Token(Kind.NUMBER, str(_character(found[0])), start, place)
            case "dot":
                yield Token(Kind.DOT, ".", start, place)
            case group:
                assert group is not None
                yield Token(Kind(group), found[0], start, place)


def _problem(source: str, place: int) -> str:
    rest = source[place:]
    if not rest:
        return "unclosed action"
    if rest[0] == '"':
        return "unterminated quoted string"
    if rest[0] == "`":
        return "unterminated raw quoted string"
    if rest[0] == "'":
        return "unterminated character constant"
    return f"unexpected {rest[0]!r} in an action"


def _unquoted(text: str) -> str:
    """The value of an interpreted string literal of Go's."""

    def value(found: re.Match[str]) -> str:
        simple, two, four, eight, octal, _ = found.groups()
        if simple:
            return _SIMPLE[simple]
        digits = two or four or eight
        if not digits and not octal:
            raise TemplateError(f"invalid escape {found[0]} in a string")
        number = int(digits, 16) if digits else int(octal, 8)
        if number > 0x10FFFF:
            raise TemplateError(f"invalid escape {found[0]} in a string")
        return chr(number)

    return _ESCAPE.sub(value, text)


def _character(literal: str) -> int:
    value = _unquoted(literal[1:-1])
    if len(value) != 1:
        raise TemplateError(f"malformed character constant: {literal}")
    return ord(value)
