"""Docker's list filters: checked, and matched against containers; pure but for the table."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ardock.engine.containers import lifecycle
from ardock.engine.containers.container import Container
from ardock.engine.containers.table import Table
from ardock.model.container import Filters
from ardock.model.errors import InvalidArgument

_Match = Callable[[Container], bool]
_KNOWN: Final = (
    "ancestor", "before", "exited", "id", "label", "name", "network", "since", "status", "volume",
)  # fmt: skip


def matcher(filters: Filters, table: Table) -> _Match:
    """Whether a container is asked for: one value of each name must fit (of ``label`` all, as Docker has it).

    Raises:
        InvalidArgument: There is no such filter, or no such value of it.
        NotFound: ``before`` or ``since`` name no container.
    """
    tests: list[_Match] = []
    for name, values in filters.items():
        if not values:
            continue
        tests.append(_test(name, values, table))
    return lambda container: all(test(container) for test in tests)


def shows_ended(filters: Filters) -> bool:
    """Containers that do not run are listed without ``all``, as Docker does for ``status`` (and not for ``exited``)."""
    return bool(filters.get("status"))


def _test(name: str, values: tuple[str, ...], table: Table) -> _Match:
    match name:
        case "id":
            return lambda container: any(container.id.startswith(value) for value in values)
        case "name":
            patterns = [_pattern(value) for value in values]
            return lambda container: any(
                pattern.search(container.name) or pattern.search(f"/{container.name}") for pattern in patterns
            )
        case "label":
            return lambda container: all(has_label(container.spec.labels, value) for value in values)
        case "status":
            for value in values:
                if value not in lifecycle.STATUSES:
                    known = ", ".join(sorted(lifecycle.STATUSES))
                    raise InvalidArgument(f"filters: invalid status {value!r}, one of {known}", field="filters")
            return lambda container: container.status in values
        case "exited":
            codes = {_code(value) for value in values}
            return lambda container: (
                container.status in ("exited", "dead")
                and container.exit is not None
                and container.exit.exit_code in codes
            )
        case "ancestor":
            return lambda container: any(
                value in (container.image(), container.image().partition(":")[0])
                or (
                    container.image_id
                    and container.image_id.removeprefix("sha256:").startswith(value.removeprefix("sha256:"))
                )
                for value in values
            )
        case "before":
            oldest = min(table.find(value).created_at for value in values)
            return lambda container: container.created_at < oldest
        case "since":
            newest = max(table.find(value).created_at for value in values)
            return lambda container: container.created_at > newest
        case "network":
            return lambda container: container.spec.network in values
        case "volume":
            return lambda container: any(
                value in (mount.source, mount.target) for mount in container.spec.mounts for value in values
            )
        case _:
            raise InvalidArgument(
                f"filters: there is no filter {name!r} of containers, only {', '.join(_KNOWN)}", field="filters"
            )


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """``key`` or ``key=value`` is among `labels`."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _pattern(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error as error:
        raise InvalidArgument(f"filters: {value!r} is no regular expression: {error}", field="filters") from None


def _code(value: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise InvalidArgument(f"filters: {value!r} is no exit code", field="filters")
    return int(value)
