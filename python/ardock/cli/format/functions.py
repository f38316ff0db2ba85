"""The functions of Docker's templates, and those of Go's that are kept: docs.docker.com/engine/cli/formatting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ardock.cli.format.errors import TemplateError
from ardock.cli.format.printing import MISSING, Missing, print_formatted, print_values, text
from ardock.docker.values import OpenMap, encode


def truth(value: object) -> bool:
    """Whether Go's `if` takes it for true: not false, 0, nil or empty. A struct always is."""
    if isinstance(value, Missing):
        return False
    if isinstance(value, dict) and not isinstance(value, OpenMap):
        return True
    return bool(value)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"wrong type for value; expected string; got {text(value)}")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateError(f"wrong type for value; expected int; got {text(value)}")
    return value


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise TemplateError(f"wrong type for value; expected a list; got {text(value)}")
    return value


def _json(value: object) -> str:
    return encode(None if isinstance(value, Missing) else value)


def _join(values: object, separator: object) -> str:
    return _string(separator).join(_string(each) for each in _list(values))


def _split(value: object, separator: object) -> list[str]:
    between = _string(separator)
    return _string(value).split(between) if between else list(_string(value))


def _title(value: object) -> str:
    """strings.Title: the first letter of each word; `str.title` would make the others small."""
    shown = _string(value)
    return "".join(
        letter.upper() if index == 0 or _separates(shown[index - 1]) else letter for index, letter in enumerate(shown)
    )


def _separates(letter: str) -> bool:
    """Go's isSeparator: in ASCII all but letters, digits and the underscore, else blanks."""
    if letter.isascii():
        return not (letter.isalnum() or letter == "_")
    return letter.isspace()


def _pad(value: object, before: object, after: object) -> str:
    shown = _string(value)
    return " " * _integer(before) + shown + " " * _integer(after) if shown else shown


def _truncate(value: object, length: object) -> str:
    return _string(value)[: max(_integer(length), 0)]


def _length(value: object) -> int:
    match value:
        case str():
            return len(value.encode())
        case list() | tuple() | OpenMap():
            return len(value)
        case _:
            raise TemplateError(f"len of {text(value)}")


def _index(value: object, *keys: object) -> object:
    for key in keys:
        value = _element(value, key)
    return value


def _element(value: object, key: object) -> object:
    match value:
        case OpenMap():
            found = value.get(_string(key), MISSING)
            # Go gives the zero value of the map's element type, which prints as nothing for strings.
            return "" if found is MISSING else found
        case str() | list() | tuple():
            place = _integer(key)
            if not 0 <= place < len(value):
                raise TemplateError(f"index out of range: {place}")
            return ord(value[place]) if isinstance(value, str) else value[place]
        case dict():
            raise TemplateError("can't index item of type struct")
        case _:
            raise TemplateError(f"can't index {text(value)}")


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise TemplateError(f"can't slice {text(value)}")
    if len(bounds) > 2:
        raise TemplateError("slice takes at most two bounds here")
    places = [_integer(bound) for bound in bounds]
    low, high = (*places, *(0, len(value))[len(places) :])
    if not 0 <= low <= high <= len(value):
        raise TemplateError(f"slice bounds out of range: {low}:{high}")
    return value[low:high]


def _kind(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case None | Missing():
            return "nil"
        case _:
            return "other"


def _same(first: object, second: object) -> bool:
    kinds = _kind(first), _kind(second)
    if "other" in kinds:
        raise TemplateError("non-comparable type")
    if "nil" in kinds:
        return kinds[0] == kinds[1]
    if kinds[0] != kinds[1]:
        raise TemplateError("incompatible types for comparison")
    return first == second


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise TemplateError("missing argument for comparison")
    return any(_same(first, other) for other in others)


def _less(first: object, second: object) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return first < second
    if isinstance(first, int | float) and isinstance(second, int | float) and _kind(first) == _kind(second) != "bool":
        return first < second
    raise TemplateError("incompatible types for comparison")


# How many arguments each takes: the fewest and the most.
_MANY: Final = 1 << 16
FUNCTIONS: Final[Mapping[str, tuple[Callable[[Sequence[object]], object], int, int]]] = {
    "json": (lambda given: _json(*given), 1, 1),
    "join": (lambda given: _join(*given), 2, 2),
    "split": (lambda given: _split(*given), 2, 2),
    "title": (lambda given: _title(*given), 1, 1),
    "lower": (lambda given: _string(*given).lower(), 1, 1),
    "upper": (lambda given: _string(*given).upper(), 1, 1),
    "pad": (lambda given: _pad(*given), 3, 3),
    "truncate": (lambda given: _truncate(*given), 2, 2),
    "len": (lambda given: _length(*given), 1, 1),
    "index": (lambda given: _index(*given), 1, _MANY),
    "slice": (lambda given: _slice(*given), 1, 3),
    "print": (print_values, 0, _MANY),
    "println": (lambda given: " ".join(text(value) for value in given) + "\n", 0, _MANY),
    "printf": (lambda given: print_formatted(_string(given[0]), given[1:]), 1, _MANY),
    "not": (lambda given: not truth(*given), 1, 1),
    "eq": (lambda given: _equal(*given), 1, _MANY),
    "ne": (lambda given: not _same(*given), 2, 2),
    "lt": (lambda given: _less(given[0], given[1]), 2, 2),
    "le": (lambda given: not _less(given[1], given[0]), 2, 2),
    "gt": (lambda given: _less(given[1], given[0]), 2, 2),
    "ge": (lambda given: not _less(given[0], given[1]), 2, 2),
}
# `and` and `or` evaluate no further argument than they need, so they are the evaluator's.
LAZY: Final = frozenset({"and", "or"})
NAMES: Final = frozenset(FUNCTIONS) | LAZY


# Applied to a heading these leave it as it is (docker/cli, templates.HeaderFunctions).
_PLAIN_IN_HEADINGS: Final = frozenset({"json", "title", "lower", "upper", "truncate"})


def call(name: str, arguments: Sequence[object], *, headings: bool = False) -> object:
    """The value of a function; `headings` says that the template is applied to a table's headings.

    Raises:
        TemplateError: It takes another number of arguments, or of another kind.
    """
    function, fewest, most = FUNCTIONS[name]
    if not fewest <= len(arguments) <= most:
        wanted = f"at least {fewest}" if most == _MANY else str(fewest)
        raise TemplateError(f"wrong number of args for {name}: want {wanted} got {len(arguments)}")
    if headings and name in _PLAIN_IN_HEADINGS:
        return arguments[0]
    try:
        return function(arguments)
    except TemplateError as error:
        raise TemplateError(f"error calling {name}: {error}") from None
