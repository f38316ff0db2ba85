"""Images as Docker shows them: `docker image inspect`, and the lines of `docker image ls` and `docker history`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ardock.docker.config import driver_name, image_config
from ardock.docker.text import ellipsis
from ardock.docker.times import NEVER, human_duration, human_size, local_rfc3339, local_time, rfc3339_nano
from ardock.docker.values import NilMap, Struct
from ardock.model.container import Filters
from ardock.model.image import HistoryEntry, ImageDetails, ImageInfo

# docker/cli, formatter.imageContext.
IMAGE_HEADINGS: Final = {
    "Containers": "CONTAINERS",
    "CreatedAt": "CREATED AT",
    "CreatedSince": "CREATED",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "SharedSize": "SHARED SIZE",
    "Size": "SIZE",
    "Tag": "TAG",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}
IMAGE_TABLE: Final = ("Repository", "Tag", "ID", "CreatedSince", "Size")
DIGEST_TABLE: Final = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
USAGE_TABLE: Final = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
# docker/cli, formatter.historyContext.
HISTORY_HEADINGS: Final = {
    "Comment": "COMMENT",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "CreatedSince": "CREATED",
    "ID": "IMAGE",
    "Size": "SIZE",
}
HISTORY_TABLE: Final = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
EXACT_HISTORY_TABLE: Final = ("ID", "CreatedAt", "CreatedBy", "Size", "Comment")

_NONE: Final = "<none>"
_SHOWN_COMMAND: Final = 45


def short_id(image_id: str) -> str:
    """The 12 digits that Docker shows."""
    return image_id.removeprefix("sha256:")[:12]


def image_json(details: ImageDetails, *, driver: str = "") -> Struct:
    """An image as `docker image inspect` shows it (Docker Engine API, ``ImageInspect``).

    Args:
        details: The image.
        driver: The engine's storage driver.
    """
    info = details.info
    found: Struct = {
        "Id": info.id,
        "RepoTags": list(info.names),
        "RepoDigests": list(info.digests),
        "Parent": "",
        "Comment": details.comment,
        "Created": rfc3339_nano(info.created_at),
        "DockerVersion": details.docker_version,
        "Author": details.author,
        "Config": image_config(details.config),
        "Architecture": info.platform.architecture,
    }
    if info.platform.variant:
        found["Variant"] = info.platform.variant
    return found | {
        "Os": info.platform.os,
        "Size": info.size,
        "GraphDriver": {
            "Data": _driver_data(details.layers) if driver_name(driver) == "overlay2" else NilMap(),
            "Name": driver_name(driver),
        },
        "RootFS": {"Type": "layers", "Layers": list(details.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339_nano(info.added_at) if info.names and info.added_at else NEVER},
        "Ardock": {
            "AddedAt": rfc3339_nano(info.added_at),
            "Files": info.files,
            "Layers": list(details.layers),
            "Manifest": details.manifest,
        },
    }


def _driver_data(layers: Sequence[str]) -> Struct:
    """What of overlay2's data an unmounted image has."""
    found: Struct = {}
    if len(layers) > 1:
        found["LowerDir"] = ":".join(layers[1:])
    if layers:
        found["UpperDir"] = layers[0]
    return found


class ImageUse(NamedTuple):
    """What `system df -v` knows beyond a list: the room that an image shares with others, and its containers."""

    shared: int
    containers: int


class ImageRow(NamedTuple):
    """A line of `image ls`: one name of an image, or an image without a name.

    Attributes:
        image: What it is about.
        repository: Empty where it has no name.
        tag: Empty where it has none.
        digest: Empty where it is not shown, or there is none.
        now: Wall clock when it is shown, ns since 1970.
        truncate: The id is shortened.
        use: Where that is known.
    """

    image: ImageInfo
    repository: str
    tag: str
    digest: str
    now: int
    truncate: bool = True
    use: ImageUse | None = None

    def cells(self, names: Sequence[str]) -> list[str]:
        """Some columns, of those that `IMAGE_HEADINGS` names."""
        struct = self.struct()
        return [str(struct[name]) for name in names]

    @property
    def short_id(self) -> str:
        """The id as it is shown."""
        return short_id(self.image.id) if self.truncate else self.image.id

    def struct(self) -> Struct:
        """All columns."""
        image, use = self.image, self.use
        size = human_size(image.size)
        return {
            "Containers": "N/A" if use is None else str(use.containers),
            "CreatedAt": local_time(image.created_at),
            "CreatedSince": _since(image.created_at, self.now),
            "Digest": self.digest or _NONE,
            "ID": self.short_id,
            "Repository": self.repository or _NONE,
            "SharedSize": "N/A" if use is None else human_size(use.shared),
            "Size": size,
            "Tag": self.tag or _NONE,
            "UniqueSize": "N/A" if use is None else human_size(image.size - use.shared),
            "VirtualSize": size,
        }


def _since(moment: int, now: int) -> str:
    """How long ago; images made reproducibly often say no time."""
    return f"{human_duration(now - moment)} ago" if moment else "N/A"


class Edges(NamedTuple):
    """Images between two others, by the times of their making: ``--filter before=IMAGE`` and ``since=IMAGE``."""

    before: int | None = None
    since: int | None = None

    def hold(self, image: ImageInfo) -> bool:
        """It lies between them."""
        return (self.before is None or image.created_at < self.before) and (
            self.since is None or image.created_at > self.since
        )


def check_image_filter(name: str, value: str) -> None:
    """See that there is such a filter of images.

    Raises:
        ValueError: There is not, or it has no such value.
    """
    if name not in {"before", "dangling", "label", "reference", "since", "until"}:
        raise ValueError(f"invalid filter '{name}': give dangling, reference, label, before, since or until")
    if name == "dangling" and value not in {"true", "false", "1", "0"}:
        raise ValueError(f"invalid filter 'dangling={value}': give true or false")
    if name == "reference":
        _pattern(value)


def image_rows(
    images: Sequence[ImageInfo],
    filters: Filters,
    *,
    now: int,
    truncate: bool,
    digests: bool = False,
    edges: Edges | None = None,
    until: int | None = None,
) -> list[ImageRow]:
    """The lines of `image ls`: one for each name, and one for an image that has none.

    Args:
        images: In the order in which they are shown.
        filters: ``dangling``: whether it has no name; ``reference``: a pattern of shell's for ``repository[:tag]``;
            ``label``: ``key`` or ``key=value``, all of them.
        now: Wall clock, ns since 1970.
        truncate: Ids are shortened.
        digests: A line for each digest, too.
        edges: What ``before`` and ``since`` say.
        until: What was made before this, ns since 1970.
    """
    references = [_pattern(each) for each in filters.get("reference", ())]
    dangling = {value in {"true", "1"} for value in filters.get("dangling", ())}
    labels = [each.partition("=") for each in filters.get("label", ())]
    rows: list[ImageRow] = []
    for image in images:
        # An image with digests alone is neither (moby, daemon/images).
        if (True in dangling and image.names) or (False in dangling and not image.names and not image.digests):
            continue
        if (edges is not None and not edges.hold(image)) or (until is not None and image.created_at >= until):
            continue
        if any(name not in image.labels or (equals and image.labels[name] != value) for name, equals, value in labels):
            continue
        for repository, tag, digest in _lines(image, references, digests=digests):
            rows.append(ImageRow(image, repository, tag, digest, now, truncate))
    return rows


def _lines(image: ImageInfo, references: Sequence[re.Pattern[str]], *, digests: bool) -> Iterator[tuple[str, str, str]]:
    """Repository, tag and digest of each line, as docker/cli's formatter makes them."""

    def wanted(reference: str, repository: str) -> bool:
        return not references or any(each.fullmatch(reference) or each.fullmatch(repository) for each in references)

    tags: dict[str, list[str]] = {}
    hashes: dict[str, list[str]] = {}
    for name in image.names:
        repository, _, tag = name.rpartition(":")
        if wanted(name, repository):
            tags.setdefault(repository, []).append(tag)
    for name in image.digests:
        repository, _, digest = name.partition("@")
        if wanted(name, repository):
            hashes.setdefault(repository, []).append(digest)
    if not tags and not hashes:
        if not references:
            yield "", "", ""
        return
    for repository, those in tags.items():
        found = hashes.pop(repository, [])
        for tag in those:
            for digest in (found if digests else ()) or ("",):
                yield repository, tag, digest
    for repository, others in hashes.items():
        for digest in others if digests else ("",):
            yield repository, "", digest


@lru_cache(maxsize=64)
def _pattern(glob: str) -> re.Pattern[str]:
    """Go's path.Match: ``*`` and ``?`` stop at ``/``, ``[^a-z]`` is a class, a backslash quotes.

    Raises:
        ValueError: It is malformed.
    """
    made: list[str] = []
    place = 0
    while place < len(glob):
        letter = glob[place]
        if letter == "*":
            made.append("[^/]*")
        elif letter == "?":
            made.append("[^/]")
        elif letter == "[":
            end = glob.find("]", place + 2)
            if end < 0:
                raise ValueError(f"{glob!r}: a bracket is not closed")
            inside = glob[place + 1 : end]
            negated = inside.startswith("^")
            made.append(f"(?!/)[{'^' if negated else ''}{_class(inside.removeprefix('^'))}]")
            place = end
        elif letter == "\\" and place + 1 < len(glob):
            place += 1
            made.append(re.escape(glob[place]))
        else:
            made.append(re.escape(letter))
        place += 1
    try:
        return re.compile("".join(made))
    except re.error as error:
        raise ValueError(f"{glob!r}: {error}") from None


def _class(inside: str) -> str:
    """The inside of a class, where only the ``-`` of a range means something."""
    return "".join(letter if letter.isalnum() or letter == "-" else f"\\{letter}" for letter in inside)


class HistoryRow(NamedTuple):
    """A line of `docker history`.

    Attributes:
        entry: The step.
        image_id: Of the image for its last step; of the others none is known.
        now: Wall clock when it is shown, ns since 1970.
        truncate: The id and the command are shortened.
        human: Times and sizes are for people.
    """

    entry: HistoryEntry
    image_id: str
    now: int
    truncate: bool = True
    human: bool = True

    def cells(self, names: Sequence[str]) -> list[str]:
        """Some columns, of those that `HISTORY_HEADINGS` names."""
        struct = self.struct()
        return [str(struct[name]) for name in names]

    @property
    def shown_id(self) -> str:
        """The id as it is shown."""
        return (short_id(self.image_id) if self.truncate else self.image_id) or "<missing>"

    def struct(self) -> Struct:
        """All columns."""
        entry = self.entry
        created_by = entry.created_by.replace("\t", " ")
        created_at = local_rfc3339(entry.created_at)
        return {
            "Comment": entry.comment,
            "CreatedAt": created_at,
            "CreatedBy": ellipsis(created_by, _SHOWN_COMMAND) if self.truncate else created_by,
            "CreatedSince": _since(entry.created_at, self.now) if self.human else created_at,
            "ID": self.shown_id,
            "Size": human_size(entry.size) if self.human else str(entry.size),
        }


def history_rows(
    entries: Sequence[HistoryEntry], image_id: str, *, now: int, truncate: bool, human: bool = True
) -> list[HistoryRow]:
    """The lines of `docker history`, the last step first."""
    return [
        HistoryRow(entry, image_id if place == 0 else "", now, truncate, human) for place, entry in enumerate(entries)
    ]
