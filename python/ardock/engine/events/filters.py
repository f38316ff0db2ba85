"""Which events a subscriber wants: Docker's filters. Without I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, get_args

from ardock.model.errors import InvalidArgument
from ardock.model.events import Event, EventType

Match = Callable[[Event], bool]
# The id of the container that a reference names now; None where it names none.
Resolve = Callable[[str], str | None]

_TYPES: Final = frozenset(get_args(EventType))


def compile_filters(filters: Mapping[str, Sequence[str]], resolve: Resolve) -> Match | None:
    """A function that tells whether an event is wanted; None where all are.

    Values of one name are alternatives, but all labels are required; all names are required: as in Docker.

    Args:
        filters: ``type``, ``event``, ``container``, ``image``, ``volume``, ``label``; as `ardock.interface.Events.subscribe` says.
        resolve: Names a container now; its events are then wanted under every name that it had or will have.

    Raises:
        InvalidArgument: There is no such filter or value.
    """
    matches: list[Match] = []
    for name, values in filters.items():
        make = _FILTERS.get(name)
        if make is None:
            raise InvalidArgument(
                f"filters: there is no filter {name!r} for events; there are {', '.join(sorted(_FILTERS))}",
                field="filters",
            )
        if not values or not all(values):
            raise InvalidArgument(f"filters: {name}: a value is missing", field="filters")
        matches.append(make(values, resolve))
    if not matches:
        return None
    return matches[0] if len(matches) == 1 else lambda event: all(match(event) for match in matches)


def _by_type(values: Sequence[str], _resolve: Resolve) -> Match:
    for value in values:
        if value not in _TYPES:
            raise InvalidArgument(f"filters: type: {value!r} is none of {', '.join(sorted(_TYPES))}", field="filters")
    wanted = frozenset(values)
    return lambda event: event.type in wanted


def _by_action(values: Sequence[str], _resolve: Resolve) -> Match:
    wanted = frozenset(values)
    return lambda event: event.action in wanted


def _by_container(values: Sequence[str], resolve: Resolve) -> Match:
    # What it names now, before what it may be the beginning of: else a name of hexadecimal digits would name strangers.
    ids = frozenset(found for found in map(resolve, values) if found is not None)
    names = frozenset(values)
    prefixes = tuple(value for value in values if resolve(value) is None)
    return lambda event: (
        event.type == "container"
        and (event.id in ids or event.name in names or (bool(prefixes) and event.id.startswith(prefixes)))
    )


def _by_image(values: Sequence[str], _resolve: Resolve) -> Match:
    names = frozenset(values)
    prefixes = tuple(value.removeprefix("sha256:") for value in values)

    def match(event: Event) -> bool:
        """An image's own events, and those of containers made from it."""
        if event.type == "image":
            if event.id.removeprefix("sha256:").startswith(prefixes):
                return True
            name = event.name
        else:
            name = event.attributes.get("image", "")
        return bool(name) and (name in names or _without_tag(name) in names)

    return match


def _by_volume(values: Sequence[str], _resolve: Resolve) -> Match:
    wanted = frozenset(values)
    return lambda event: event.type == "volume" and event.id in wanted


def _without_tag(name: str) -> str:
    """``host:5000/a/b:tag`` is ``host:5000/a/b``."""
    start, colon, end = name.rpartition(":")
    return start if colon and "/" not in end else name


def _by_label(values: Sequence[str], _resolve: Resolve) -> Match:
    wanted = [value.partition("=") for value in values]

    def match(event: Event) -> bool:
        """A label is an attribute, and other attributes count as well: Docker does not tell them apart either."""
        attributes = event.attributes
        return all(key in attributes and (not equals or attributes[key] == value) for key, equals, value in wanted)

    return match


_FILTERS: Final[dict[str, Callable[[Sequence[str], Resolve], Match]]] = {
    "type": _by_type,
    "event": _by_action,
    "container": _by_container,
    "image": _by_image,
    "label": _by_label,
    "volume": _by_volume,
}
