"""Where the disk's room went, as `docker system df` shows it (docker/cli, ``formatter/disk_usage.go``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ardock.docker.times import human_size
from ardock.docker.values import Struct
from ardock.model.image import DiskUsage

USAGE_HEADINGS: Final = {
    "Active": "ACTIVE",
    "Reclaimable": "RECLAIMABLE",
    "Size": "SIZE",
    "TotalCount": "TOTAL",
    "Type": "TYPE",
}
USAGE_TABLE: Final = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
# The table of containers of `system df -v`.
CONTAINER_TABLE: Final = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")

# go-units' HumanSize, which is not what the other lists use.
_DIGITS: Final = 4


class UsageRow(NamedTuple):
    """A kind of object.

    Attributes:
        kind: Docker's name of it.
        total: How many there are.
        active: How many are in use.
        size: Bytes of all.
        reclaimable: Bytes of those that are not in use.
        share: The reclaimable part is told in per cent, too.
    """

    kind: str
    total: int
    active: int
    size: int
    reclaimable: int
    share: bool = True

    def cells(self, names: Sequence[str]) -> list[str]:
        """Some columns, of those that `USAGE_HEADINGS` names."""
        struct = self.struct()
        return [str(struct[name]) for name in names]

    def struct(self) -> Struct:
        """All columns."""
        reclaimable = human_size(self.reclaimable, _DIGITS)
        if self.share and self.size > 0:
            reclaimable += f" ({self.reclaimable * 100 // self.size}%)"
        return {
            "Active": str(self.active),
            "Reclaimable": reclaimable,
            "Size": human_size(self.size, _DIGITS),
            "TotalCount": str(self.total),
            "Type": self.kind,
        }


def usage_rows(usage: DiskUsage) -> list[UsageRow]:
    """Docker's four lines. There is no build cache."""
    used = sum(image.size - image.shared for image in usage.images if image.users)
    return [
        UsageRow(
            "Images",
            len(usage.images),
            sum(image.users > 0 for image in usage.images),
            usage.layers_size,
            max(0, usage.layers_size - used),
        ),
        _objects("Containers", [(one.size, one.users > 0) for one in usage.containers]),
        _objects("Local Volumes", [(one.size, one.users > 0) for one in usage.volumes]),
        UsageRow("Build Cache", 0, 0, 0, 0, share=False),
    ]


def _objects(kind: str, objects: Sequence[tuple[int, bool]]) -> UsageRow:
    return UsageRow(
        kind,
        len(objects),
        sum(active for _, active in objects),
        sum(size for size, _ in objects),
        sum(size for size, active in objects if not active),
    )
