"""Docker's filters of images, for pruning. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ardock.engine.images.record import Record
from ardock.model.container import Filters
from ardock.model.errors import InvalidArgument

_KNOWN: Final = ("until", "label", "label!")


def for_prune(filters: Filters) -> Callable[[Record], bool]:
    """Whether an image fits ``until`` (made before: ns since 1970), ``label`` and ``label!`` (``key`` or ``key=value``).

    Of several values of ``label`` all must fit, and of ``label!`` none may, as in Docker.

    Raises:
        InvalidArgument: There is no such filter, or the value is none.
    """
    unknown = [name for name in filters if name not in _KNOWN]
    if unknown:
        raise InvalidArgument(f"filters: invalid filter {unknown[0]!r}: known are {', '.join(_KNOWN)}", field="filters")
    until = _until(list(filters.get("until", ())))
    labels = list(filters.get("label", ()))
    absent = list(filters.get("label!", ()))

    def fits(record: Record) -> bool:
        if until is not None and (record.created_at or record.added_at) >= until:
            return False
        return all(_has(record, label) for label in labels) and not any(_has(record, label) for label in absent)

    return fits


def _until(values: list[str]) -> int | None:
    if not values:
        return None
    if len(values) > 1:
        raise InvalidArgument("filters: more than one until is given", field="filters")
    try:
        return int(values[0])
    except ValueError:
        raise InvalidArgument(f"filters: until={values[0]!r}: ns since 1970 are expected", field="filters") from None


def _has(record: Record, label: str) -> bool:
    key, equals, value = label.partition("=")
    return key in record.labels and (not equals or record.labels[key] == value)
