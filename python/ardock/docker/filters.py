"""`--filter` as Docker reads it."""

from __future__ import annotations

from collections.abc import Iterable

from ardock.model.container import Filters


def parse_filter(text: str) -> tuple[str, str]:
    """Name and value of ``name=value``; names are told apart by neither case nor blanks around them.

    Raises:
        ValueError: There is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


def filters(pairs: Iterable[tuple[str, str]]) -> Filters:
    """The values of each name, in order."""
    collected: dict[str, list[str]] = {}
    for name, value in pairs:
        collected.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in collected.items()}
