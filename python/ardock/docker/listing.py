"""Containers as lines of `docker ps`: Docker's columns and their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ardock.docker.inspect import docker_status
from ardock.docker.text import ellipsis, go_quoted
from ardock.docker.times import human_duration, local_time
from ardock.docker.values import Struct
from ardock.model.container import ContainerSummary

# docker/cli, formatter.ContainerContext.
PS_HEADINGS: Final = {
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Mounts": "MOUNTS",
    "Names": "NAMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
    "Ports": "PORTS",
    "RunningFor": "CREATED",
    "Size": "SIZE",
    "State": "STATE",
    "Status": "STATUS",
}
PS_TABLE: Final = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


class Moment(NamedTuple):
    """When a listing is shown.

    Attributes:
        now: Wall clock, ns since 1970.
        boottime: CLOCK_BOOTTIME of the engine's machine, ns; 0 where not known.
    """

    now: int
    boottime: int = 0


class PsRow(NamedTuple):
    """A line of `ps`.

    Attributes:
        container: What it is about.
        moment: When it is shown.
        truncate: Ids, commands and mounts are shortened.
        size: What it has written, in words. Only `system df` counts that; else it is Docker's word for what is not known.
    """

    container: ContainerSummary
    moment: Moment
    truncate: bool = True
    size: str = "N/A"

    def cells(self, names: Sequence[str]) -> list[str]:
        """Some columns, of those that `PS_HEADINGS` names."""
        return [str(_PS_FIELDS[name](self)) for name in names]

    def struct(self) -> Struct:
        """All columns, and ``Label``, which takes a label's name."""
        labels = self.container.labels
        return {
            **{name: read(self) for name, read in _PS_FIELDS.items()},
            "Label": lambda name: labels.get(name, ""),
        }


def _id(row: PsRow) -> str:
    return row.container.id[:12] if row.truncate else row.container.id


def _command(row: PsRow) -> str:
    """Moby joins the arguments, those with blanks between single quotes; docker's CLI shortens and quotes that."""
    words = [word if index == 0 or " " not in word else f"'{word}'" for index, word in enumerate(row.container.argv)]
    text = " ".join(words)
    return go_quoted(ellipsis(text, 20) if row.truncate else text)


def _running_for(row: PsRow) -> str:
    return f"{human_duration(row.moment.now - row.container.created_at)} ago"


def _status(row: PsRow) -> str:
    """Moby's State.String."""
    container = row.container
    match container.status:
        case "running":
            return f"Up {_up(row)}"
        case "paused":
            return f"Up {_up(row)} (Paused)"
        case "restarting":
            return f"Restarting ({container.exit_code or 0}) {_since_end(row)}"
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"
        case "created" | "starting" if container.exit_code is None:
            return "Created"
        case _:
            return f"Exited ({container.exit_code or 0}) {_since_end(row)}"


def _up(row: PsRow) -> str:
    """By the clock that nobody sets, where both ends are known on it."""
    container, moment = row.container, row.moment
    if container.started_boot and moment.boottime:
        return human_duration(moment.boottime - container.started_boot)
    return human_duration(moment.now - container.started_at)


def _since_end(row: PsRow) -> str:
    return f"{human_duration(row.moment.now - row.container.finished_at)} ago"


def _mounts(row: PsRow) -> str:
    return ",".join(ellipsis(source, 15) if row.truncate else source for source in row.container.mounts)


def _labels(row: PsRow) -> str:
    return ",".join(sorted(f"{name}={value}" for name, value in row.container.labels.items()))


def _state(row: PsRow) -> str:
    return docker_status(row.container.status, ran_before=row.container.exit_code is not None)


_PS_FIELDS: Final[dict[str, Callable[[PsRow], object]]] = {
    "Command": _command,
    "CreatedAt": lambda row: local_time(row.container.created_at),
    "ID": _id,
    "Image": lambda row: row.container.image,
    "Labels": _labels,
    "LocalVolumes": lambda row: str(sum(not source.startswith("/") for source in row.container.mounts)),
    "Mounts": _mounts,
    "Names": lambda row: row.container.name,
    "Networks": lambda row: row.container.network,
    "Platform": lambda _: None,
    "Ports": lambda _: "",
    "RunningFor": _running_for,
    "Size": lambda row: row.size,
    "State": _state,
    "Status": _status,
}
