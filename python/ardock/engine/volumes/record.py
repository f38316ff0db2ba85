"""A volume as it is written: its row in the database, and the same beside its data.

The copy beside the data is for the day on which the database is lost, or an older copy of it is put back: what is in a volume
cannot be had again, so a directory that no row names becomes a volume anew instead of being removed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ardock.model.errors import FolderUnusable
from ardock.model.volume import ANONYMOUS_LABEL, VolumeInfo


class Volume(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One volume; fields may be added, never changed.

    Attributes:
        name: As `VolumeInfo.name`.
        options: As `VolumeInfo.options`.
        labels: As `VolumeInfo.labels`.
        created_at: Wall clock, ns since 1970.
        owner: Id of the container that it was made for and goes with; empty: it goes only when it is removed by itself. One
            whose owner is no container (any more, or not yet when the engine was killed) goes at the next start.
        device: ``st_dev`` of its file system while that is mounted, by which the next engine knows it again; 0 where it is not.
    """

    name: str
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    created_at: int = 0
    owner: str = ""
    device: int = 0

    @property
    def anonymous(self) -> bool:
        """Nobody gave it a name."""
        return ANONYMOUS_LABEL in self.labels

    def info(self, mountpoint: str, users: tuple[str, ...], size: int | None = None) -> VolumeInfo:
        """What others see of it."""
        return VolumeInfo(
            name=self.name,
            options=self.options,
            labels=self.labels,
            created_at=self.created_at,
            mountpoint=mountpoint,
            users=users,
            size=size,
        )


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Volume)


def encode(volume: Volume) -> tuple[str, bytes]:
    """Name and row."""
    return volume.name, _ENCODER.encode(volume)


def decode(name: str, row: bytes) -> Volume:
    """The volume of a row.

    Raises:
        FolderUnusable: The row is damaged.
    """
    try:
        return _DECODER.decode(row)
    except msgspec.DecodeError as error:
        raise FolderUnusable(f"the record of volume {name} in the state is damaged: {error}") from error


def to_file(volume: Volume) -> bytes:
    """What is kept beside its data, readable for people."""
    return msgspec.json.format(msgspec.json.encode(volume), indent=2) + b"\n"


def from_file(name: str, data: bytes) -> Volume | None:
    """The volume that `to_file` has kept; None where that is damaged or another's."""
    try:
        volume = msgspec.json.decode(data, type=Volume)
    except msgspec.DecodeError:
        return None
    return volume if volume.name == name else None
