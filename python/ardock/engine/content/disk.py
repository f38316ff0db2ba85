"""Errors of the disk that the store lies on, as the caller's."""

from __future__ import annotations

import errno
from pathlib import Path

from ardock.model.errors import ArdockError, DiskFull, FolderUnusable, InvalidArgument, NotFound, NotPermitted


def unusable(error: OSError, what: str = "store") -> ArdockError:
    """The engine's error for one of the system's."""
    return failed(f"{what}: {error.strerror or error}: {str(error.filename or '')!r}", error.errno or 0)


def failed(message: str, number: int) -> ArdockError:
    """The engine's error for a system's error number."""
    return DiskFull(message) if number in {errno.ENOSPC, errno.EDQUOT} else FolderUnusable(message)


def unreadable(path: Path, error: OSError, field: str = "path") -> ArdockError:
    """The engine's error for a file of the user's that cannot be read."""
    sentence = f"{field}: cannot read {str(path)!r}: {error.strerror}"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(sentence, field=field)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return NotPermitted(sentence)
    return InvalidArgument(sentence, field=field)
