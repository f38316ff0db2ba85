"""Where `save` and `export` write an archive: a file that is whole or not there, or standard output."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ardock.cli.errors import FAILED, CliError, quoted
from ardock.cli.streams import SinkClosed, write_all

# Docker's, for what may have secrets in it.
_MODE: Final = 0o600


@contextmanager
def archive(path: str | None) -> Iterator[Callable[[bytes], None]]:
    """What takes the archive's bytes.

    Args:
        path: A file, which gets its name once it is whole; a pipe or device is written as it is. None is standard output.

    Raises:
        CliError: It is a terminal, or cannot be written.
    """
    if path is None:
        if os.isatty(1):
            raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect", FAILED)
        yield _to_standard_output
        return
    if not path:
        raise CliError("-o, --output: the path is empty", FAILED)
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 - pathlib takes long to import
    except FileNotFoundError:
        kind = stat.S_IFREG
    except OSError as error:
        raise _failed(path, error) from error
    if stat.S_ISDIR(kind):
        raise CliError(f"invalid output path: {quoted(path)} is a directory", FAILED)
    if stat.S_ISREG(kind):
        with _aside(path) as sink:
            yield sink
    else:
        with _opened(path, os.O_WRONLY, path) as descriptor:
            yield _writer(descriptor, path)


@contextmanager
def _aside(path: str) -> Iterator[Callable[[bytes], None]]:
    """A new file beside `path` that takes its name at the end."""
    # Where it leads: a link stays one, and the file is renamed within its own file system.
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}")  # noqa: PTH118 - as above
    try:
        with _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path) as descriptor:
            yield _writer(descriptor, path)
            try:
                os.rename(temporary, target)  # noqa: PTH104 - as above
            except OSError as error:
                raise _failed(path, error) from error
    except BaseException:  # also a signal: nothing partial is left
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as above
        raise


@contextmanager
def _opened(path: str, flags: int, shown: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise _failed(shown, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _writer(descriptor: int, path: str) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        try:
            write_all(descriptor, data)
        except SinkClosed:
            raise CliError(f"{quoted(path)}: nobody reads it any more", FAILED) from None
        except OSError as error:
            raise _failed(path, error) from error

    return write


def _to_standard_output(data: bytes) -> None:
    try:
        write_all(1, data)
    except SinkClosed:
        raise CliError("standard output: nobody reads it any more", FAILED) from None
    except OSError as error:
        raise CliError(f"standard output: {error.strerror}", FAILED) from error


def _failed(path: str, error: OSError) -> CliError:
    return CliError(f"cannot write {quoted(path)}: {error.strerror}", FAILED)
