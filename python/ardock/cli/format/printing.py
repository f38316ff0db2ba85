"""Values as Go prints them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ardock.cli.format.errors import TemplateError
from ardock.docker.text import go_quoted
from ardock.docker.values import OpenMap


class Missing:
    """What a map gives for a key that it has not."""


MISSING: Final = Missing()


def text(value: object) -> str:
    """`value` as ``%v`` prints it.

    A struct within a struct is printed like one on top; Go prints some of those as an address, which says nothing.
    """
    match value:
        case Missing():
            return "<no value>"
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case OpenMap():
            return f"map[{' '.join(f'{key}:{text(value[key])}' for key in sorted(value))}]"
        case dict():
            return f"{{{' '.join(text(each) for each in value.values())}}}"
        case list() | tuple():
            return f"[{' '.join(text(each) for each in value)}]"
        case _:
            return str(value)


def _float(value: float) -> str:
    """The shortest that reads back the same; an exponent from 21 on (strconv.FormatFloat, 'g' as fmt has it)."""
    shown = repr(value)
    if "e" not in shown and abs(value) < 1e21:
        return shown.removesuffix(".0")
    digits, _, exponent = f"{value:e}".partition("e")
    mantissa = repr(value).partition("e")[0].removesuffix(".0") if "e" in shown else digits.rstrip("0").rstrip(".")
    return f"{mantissa}e{exponent}"


def print_values(values: Sequence[object]) -> str:
    """Go's ``print``: a blank between two that are both no strings."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(text(value))
    return "".join(parts)


_VERB: Final = re.compile(r"%(?P<flags>[-+ 0]*)(?P<width>\d*)(?:\.(?P<precision>\d+))?(?P<verb>.?)", re.DOTALL)


def print_formatted(form: str, values: Sequence[object]) -> str:
    """Go's ``printf`` with the verbs ``v s q d x X t f g e c %``.

    Raises:
        TemplateError: Another verb, a value of another kind, too many or too few of them. (Go prints these as ``%!d(...)``.)
    """
    left = list(values)

    def one(found: re.Match[str]) -> str:
        verb = found["verb"]
        if verb == "%":
            return "%"
        if verb not in tuple("vsqdxXtfgec"):
            raise TemplateError(f"printf: %{verb} is not supported")
        if not left:
            raise TemplateError(f"printf: no value for %{verb}")
        flags, width, precision = found["flags"], found["width"], found["precision"]
        return _padded(_verb(verb, left.pop(0), flags, precision), verb, flags, width)

    result = _VERB.sub(one, form)
    if left:
        raise TemplateError(f"printf: {len(left)} more values than verbs")
    return result


def _verb(verb: str, value: object, flags: str, precision: str | None) -> str:
    sign = "+" if "+" in flags else " " if " " in flags else ""
    match verb, value:
        case ("v", int()) if not isinstance(value, bool) and sign:
            return f"{value:{sign}d}"
        case ("v", _) | ("s", str() | list() | tuple() | dict() | Missing()):
            shown = text(value)
            return shown[: int(precision)] if precision and verb == "s" else shown
        case ("q", str()):
            return go_quoted(value)
        case ("q", list() | tuple()) if all(isinstance(each, str) for each in value):
            return f"[{' '.join(go_quoted(str(each)) for each in value)}]"
        case ("t", bool()):
            return text(value)
        case ("x" | "X", str()):
            shown = value.encode().hex()
            return shown.upper() if verb == "X" else shown
        case ("d" | "x" | "X", int()) if not isinstance(value, bool):
            return f"{value:{sign}{verb}}"
        case ("c", int()) if not isinstance(value, bool) and 0 <= value <= 0x10FFFF:
            return chr(value)
        case ("f" | "g" | "e", float()):
            return f"{value:{sign}.{precision}{verb}}" if precision else f"{value:{sign}{verb}}"
        case _:
            raise TemplateError(f"printf: %{verb} cannot print {text(value)}")


def _padded(shown: str, verb: str, flags: str, width: str) -> str:
    if not width:
        return shown
    if "-" in flags:
        return shown.ljust(int(width))
    return shown.zfill(int(width)) if "0" in flags and verb in tuple("dxXfgev") else shown.rjust(int(width))
