"""The images in memory: by id, by name, by prefix. Without I/O."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ardock.engine.images.record import Record
from ardock.model.errors import Ambiguous, InvalidArgument, NotFound
from ardock.model.reference import Reference, parse_reference

_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})", re.ASCII)
_ALGORITHM: Final = "sha256:"
SHORT_ID: Final = 12


class Index:
    """All images of an engine.

    Attributes:
        by_id: Records by id.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.by_id: dict[str, Record] = {}
        self._by_name: dict[str, str] = {}
        self._by_digest: dict[str, str] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self.by_id)

    def __iter__(self) -> Iterator[Record]:
        """All of them."""
        return iter(self.by_id.values())

    def named(self, name: str) -> Record | None:
        """The image of a normalized ``name:tag``."""
        image_id = self._by_name.get(name)
        return None if image_id is None else self.by_id[image_id]

    def put(self, record: Record) -> None:
        """Add an image, or replace its record. Its names must not be another's."""
        self._unname(record.id)
        self.by_id[record.id] = record
        for name in record.names:
            self._by_name[name] = record.id
        for digest in record.digests:
            self._by_digest[digest] = record.id

    def drop(self, image_id: str) -> None:
        """Remove one."""
        self._unname(image_id)
        del self.by_id[image_id]

    def _unname(self, image_id: str) -> None:
        former = self.by_id.get(image_id)
        if former is None:
            return
        for name in former.names:
            if self._by_name.get(name) == image_id:
                del self._by_name[name]
        for digest in former.digests:
            if self._by_digest.get(digest) == image_id:
                del self._by_digest[digest]
                # Two platforms of one index have the same.
                for other in self.by_id.values():
                    if other.id != image_id and digest in other.digests:
                        self._by_digest[digest] = other.id

    def find(self, ref: str) -> tuple[Record, str]:
        """An image, and the name or digest by which it was found (empty: by its id). A name goes before the prefix of an id.

        Raises:
            NotFound: There is none.
            Ambiguous: The prefix fits several.
        """
        # What is asked for most, and by everything that launches: the whole id, the whole name.
        found = self.by_id.get(ref)
        if found is not None:
            return found, ""
        found = self.named(ref)
        if found is not None:
            return found, ref
        try:
            reference = parse_reference(ref)
        except InvalidArgument:
            reference = None
        if reference is not None:
            known = self._by_reference(reference)
            if known is not None:
                return known
        return self._by_prefix(ref), ""

    def all_tags(self, refs: Iterable[str]) -> list[str]:
        """`refs`, with all tags of a repository in place of its bare name, as ``docker save`` takes it."""
        found: list[str] = []
        for ref in refs:
            names: list[str] = []
            if ref not in self.by_id and "@" not in ref:
                with contextlib.suppress(InvalidArgument):
                    reference = parse_reference(ref)
                    if not reference.tag:
                        start = f"{reference.familiar_name}:"
                        names = sorted(name for name in self._by_name if name.startswith(start))
            found += names or [ref]
        return found

    def _by_reference(self, reference: Reference) -> tuple[Record, str] | None:
        if reference.digest:
            # The digest alone counts, as in Docker, where both are given.
            key = f"{reference.familiar_name}@{reference.digest}"
            image_id = self._by_digest.get(key)
        else:
            key = reference.tagged().familiar
            image_id = self._by_name.get(key)
        return None if image_id is None else (self.by_id[image_id], key)

    def _by_prefix(self, ref: str) -> Record:
        found = _ID.fullmatch(ref)
        if found is not None:
            prefix = _ALGORITHM + found[1]
            if prefix in self.by_id:
                return self.by_id[prefix]
            fitting = [record for image_id, record in self.by_id.items() if image_id.startswith(prefix)]
            if len(fitting) > 1:
                raise Ambiguous(
                    f"image: {len(fitting)} images have an id that begins with {found[1]!r}: give more digits"
                )
            if fitting:
                return fitting[0]
        raise NotFound(f"image: there is no image {ref!r}", field="image")


def without_name(record: Record, name: str) -> Record:
    """The image without one of its names."""
    return msgspec.structs.replace(record, names=tuple([each for each in record.names if each != name]))


def with_name(record: Record, name: str, now: int) -> Record:
    """The image with one name more."""
    return msgspec.structs.replace(record, names=tuple(sorted({*record.names, name})), tagged_at=now)


def short(image_id: str) -> str:
    """As Docker shows an id."""
    return image_id.removeprefix(_ALGORITHM)[:SHORT_ID]
