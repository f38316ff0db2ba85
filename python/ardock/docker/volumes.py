"""Volumes as Docker shows them: `docker volume inspect` and the lines of `docker volume ls`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ardock.docker.times import SECOND, human_size, rfc3339_nano
from ardock.docker.values import NilMap, OpenMap, Struct
from ardock.model.volume import VolumeInfo

# docker/cli, formatter.volumeContext.
VOLUME_HEADINGS: Final = {
    "Availability": "AVAILABILITY",
    "Driver": "DRIVER",
    "Group": "GROUP",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Mountpoint": "MOUNTPOINT",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Status": "STATUS",
}
VOLUME_TABLE: Final = ("Driver", "Name")
# The table of `system df -v`.
VOLUME_USAGE_TABLE: Final = ("Name", "Links", "Size")
FILTERS: Final = frozenset({"dangling", "driver", "label", "name"})


def volume_json(info: VolumeInfo) -> Struct:
    """A volume as `docker volume inspect` shows it (Docker Engine API, ``VolumeInspect``)."""
    return {
        "CreatedAt": rfc3339_nano(info.created_at // SECOND * SECOND),
        "Driver": info.driver,
        "Labels": _map(info.labels),
        "Mountpoint": info.mountpoint,
        "Name": info.name,
        "Options": _map(info.options),
        "Scope": "local",
    }


def _map(values: Mapping[str, str]) -> OpenMap:
    """A map of Go's, which is told in the order of its keys."""
    return OpenMap(sorted(values.items())) if values else NilMap()


class VolumeRow(NamedTuple):
    """A line of `volume ls`.

    Attributes:
        volume: What it is about.
    """

    volume: VolumeInfo

    def cells(self, names: Sequence[str]) -> list[str]:
        """Some columns, of those that `VOLUME_HEADINGS` names."""
        struct = self.struct()
        return [str(struct[name]) for name in names]

    def struct(self) -> Struct:
        """All columns; those of swarm's have Docker's word for what is not there."""
        volume = self.volume
        return {
            "Availability": "N/A",
            "Driver": volume.driver,
            "Group": "N/A",
            "Labels": ",".join(sorted(f"{name}={value}" for name, value in volume.labels.items())),
            "Links": "N/A" if volume.size is None else str(len(volume.users)),
            "Mountpoint": volume.mountpoint,
            "Name": volume.name,
            "Scope": "local",
            "Size": "N/A" if volume.size is None else human_size(volume.size),
            "Status": "N/A",
        }
