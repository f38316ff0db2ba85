"""What fails on the disk, as errors of ours."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ardock import _core
from ardock.model.errors import ArdockError, Cancelled, DiskFull, FolderUnusable, NotFound, Unsupported

# EDQUOT: the quota of whoever owns the folder. ENODATA is what a thin pool without room for its metadata ends with.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Whatever the disk or the Rust side refuses within, as an error of ours that says what was being done.

    Raises:
        DiskFull: The disk (or a quota on it) is full.
        FolderUnusable: It fails otherwise.
        Unsupported: A file of a kind that cannot be kept.
        Cancelled: By the flag that was given.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise failed(f"{doing}: {error.strerror or error}{where}", error.errno or 0) from error
    except _core.LayerError as error:
        kind, message, number = error.args
        if kind == "cancelled":
            raise Cancelled(f"storage: {doing}: cancelled") from error
        if kind == "unsupported":
            raise Unsupported(f"storage: {doing}: {message}") from error
        raise failed(f"{doing}: {message}", number) from error


def failed(message: str, number: int = 0) -> ArdockError:
    """The error of a system call's number."""
    sentence = f"storage: {message}"
    return DiskFull(sentence) if number in _FULL else FolderUnusable(sentence)


def missing(what: str, name: str) -> NotFound:
    """There is no such layer or snapshot."""
    return NotFound(f"storage: there is no {what} {name}", field=what)
