"""A container as it is written: its row in the state, and the blob that its keeper carries.

Fields may be added, never changed: an engine reads what earlier ones wrote.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import structs

from ardock.engine.containers.container import Container, Kind, shortened
from ardock.model.container import ContainerInfo
from ardock.model.errors import InvalidArgument
from ardock.model.messages import MAX_BLOB
from ardock.model.spec import ContainerSpec

_encode: Final = msgspec.msgpack.Encoder().encode
# A unit's id in a keeper is at most 64 characters: of a later run, the container's first digits, ``r`` and the run's number.
_UNIT_DIGITS: Final = 52
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A container in the state.

    Attributes:
        info: What `inspect` gives.
        kind: Who has it.
        request_id: The request that made it.
        max_output: Bytes captured of each stream.
        ooms: How often this run was told that the kernel has killed in it for want of memory.
    """

    info: ContainerInfo
    kind: Kind = "kept"
    request_id: str | None = None
    max_output: int = 0
    ooms: int = 0


class Blob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The engine's own record of a run, which its keeper carries without reading it (16 KiB at most).

    Attributes:
        id: The container. The keeper's own id for it differs from the second run on.
        name: Its name.
        spec: What was asked for; without environment, most of the arguments and many layers where it is too long. The state
            has the whole of it for all but throw-away containers.
        kind: Who has it.
        remove: It is removed when it has ended.
        created_at: Wall clock, ns since 1970.
        run: Which run this is, from 1.
        request_id: The request that made it.
        max_output: Bytes captured of each stream.
        image_id: The image it was made from.
        log: Path of its log beneath the root folder.
        apparmor: Its AppArmor profile.
    """

    id: str
    name: str
    spec: ContainerSpec
    kind: Kind = "kept"
    remove: bool = False
    created_at: int = 0
    run: int = 1
    request_id: str | None = None
    max_output: int = 0
    image_id: str = ""
    log: str = ""
    apparmor: str = ""


_decode_row: Final = msgspec.msgpack.Decoder(Row).decode
_decode_blob: Final = msgspec.msgpack.Decoder(Blob).decode


def unit_id(container_id: str, run: int) -> str:
    """What the keeper calls a run: another name for each, so that one need not wait until the last one is tidied away."""
    return container_id if run <= 1 else f"{container_id[:_UNIT_DIGITS]}r{run:011d}"


def encode_row(container: Container) -> bytes:
    """Its row."""
    row = Row(
        info=container.info(),
        kind=container.kind,
        request_id=container.request_id,
        max_output=container.max_output,
        ooms=container.ooms,
    )
    try:
        return _encode(row)
    except UnicodeEncodeError:
        return _encode(structs.replace(row, info=structs.replace(row.info, spec=readable(container.spec))))


def encode_blob(container: Container) -> bytes:
    """Its blob.

    Raises:
        InvalidArgument: Its labels are too long.
    """
    blob = Blob(
        id=container.id,
        name=container.name,
        spec=container.spec,
        kind=container.kind,
        remove=container.remove,
        created_at=container.created_at,
        run=container.run,
        request_id=container.request_id,
        max_output=container.max_output,
        image_id=container.image_id,
        log=container.log,
        apparmor=container.apparmor,
    )
    try:
        data = _encode(blob)
    except UnicodeEncodeError:
        blob = structs.replace(blob, spec=readable(blob.spec))
        data = _encode(blob)
    if len(data) <= MAX_BLOB:
        return data
    short = structs.replace(blob.spec, argv=shortened(blob.spec.argv), env={})
    data = _encode(structs.replace(blob, spec=short))
    if len(data) > MAX_BLOB and short.layers:
        # Overlay takes 500, with paths of any length. A throw-away container that another engine has taken over needs them for a
        # user's name in an exec alone, and is refused that.
        data = _encode(structs.replace(blob, spec=structs.replace(short, layers=())))
    if len(data) > MAX_BLOB:
        raise InvalidArgument(
            f"labels: labels, mounts and the like are longer than {MAX_BLOB} bytes in all", field="labels"
        )
    return data


def decode_row(data: bytes) -> Container:
    """The container of a row.

    Raises:
        msgspec.DecodeError: It is damaged.
    """
    row = _decode_row(data)
    info = row.info
    container = Container(info.id, info.name, info.spec, kind=row.kind, remove=info.remove, created_at=info.created_at)
    container.status = info.status
    container.started_at = info.started_at
    container.started_boot = info.started_boot
    container.finished_at = info.finished_at
    container.run = info.run
    container.pid = info.pid
    container.exit = info.exit
    container.error = info.error
    container.timings = info.timings
    container.image_id = info.image_id
    container.restarts = info.restarts
    container.log = info.log
    container.apparmor = info.apparmor
    container.request_id = row.request_id
    container.max_output = row.max_output
    container.ooms = row.ooms
    container.written = True
    return container


def decode_blob(data: bytes) -> Blob | None:
    """A blob; None where it cannot be read (a later engine's, or damaged)."""
    try:
        return _decode_blob(data)
    except msgspec.DecodeError:
        return None


def from_blob(blob: Blob) -> Container:
    """The container of a run that is not in the state (yet, or any more)."""
    container = Container(blob.id, blob.name, blob.spec, kind=blob.kind, remove=blob.remove, created_at=blob.created_at)
    container.status = "starting"
    container.run = blob.run
    container.image_id = blob.image_id
    container.log = blob.log
    container.apparmor = blob.apparmor
    container.request_id = blob.request_id
    container.max_output = blob.max_output
    return container


def readable(spec: ContainerSpec) -> ContainerSpec:
    """`spec` with what is not UTF-8 (a surrogate each, as Python has it) replaced, for telling and writing."""

    def mend(value: object) -> object:
        if isinstance(value, str):
            return _SURROGATES.sub("\ufffd", value)
        if isinstance(value, list):
            return [mend(item) for item in value]
        if isinstance(value, dict):
            return {mend(key): mend(item) for key, item in value.items()}
        return value

    return msgspec.convert(mend(msgspec.to_builtins(spec)), ContainerSpec)
