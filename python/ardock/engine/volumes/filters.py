"""Docker's filters of volumes: checked, and matched. Without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ardock.engine.volumes.record import Volume
from ardock.model.container import Filters
from ardock.model.errors import InvalidArgument

# Whether a volume, which has users or has not, is asked for.
Match = Callable[[Volume, bool], bool]
LIST: Final = ("dangling", "driver", "label", "name")
PRUNE: Final = ("all", "label", "label!")


def matcher(filters: Filters, known: tuple[str, ...]) -> Match:
    """Whether a volume is asked for: one value of each name must fit, of ``label`` all.

    Args:
        filters: Names and values.
        known: The names that there are.

    Raises:
        InvalidArgument: There is no such filter, or no such value of it.
    """
    tests = []
    for name, values in filters.items():
        if name not in known:
            raise InvalidArgument(
                f"filters: there is no filter {name!r} of volumes here, only {', '.join(known)}", field="filters"
            )
        if values:
            tests.append(_test(name, values))
    return lambda volume, used: all(test(volume, used) for test in tests)


def _test(name: str, values: tuple[str, ...]) -> Match:
    match name:
        case "name":
            patterns = [_pattern(value) for value in values]
            return lambda volume, _: any(pattern.search(volume.name) for pattern in patterns)
        case "driver":
            return lambda _, __: "local" in values
        case "label":
            return lambda volume, _: all(has_label(volume.labels, value) for value in values)
        case "label!":
            return lambda volume, _: not any(has_label(volume.labels, value) for value in values)
        case "dangling":
            wanted = {truth(name, value) for value in values}
            return lambda _, used: (not used) in wanted
        case _:
            # `all` of prune: what it widens is decided by the caller.
            return lambda _, __: True


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """``key`` or ``key=value`` is among `labels`."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def truth(name: str, value: str) -> bool:
    """A truth value as Docker's filters have it.

    Raises:
        InvalidArgument: It is none.
    """
    if value.lower() in {"true", "1"}:
        return True
    if value.lower() in {"false", "0"}:
        return False
    raise InvalidArgument(f"filters: invalid value {value!r} of {name}: give true or false", field="filters")


def _pattern(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error as error:
        raise InvalidArgument(f"filters: {value!r} is no regular expression: {error}", field="filters") from None
