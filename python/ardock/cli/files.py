"""The files that flags name: `--env-file`, `--label-file`, `--cidfile`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable

from ardock.cli.errors import CliError, quoted

_BOM = b"\xef\xbb\xbf"


def absolute_path(path: str) -> str:
    """The path from the root folder; nothing of it is resolved."""
    if path.startswith("/"):
        return path
    # Not normpath: `..` after a symbolic link is not what it looks like.
    path = path.removeprefix("./").removeprefix(".") if path in {".", "./"} or path.startswith("./") else path
    return os.path.join(os.getcwd(), path).rstrip("/")  # noqa: PTH109, PTH118 - pathlib costs more


def key_values(flag: str, path: str, missing: Callable[[str], str | None]) -> list[tuple[str, str]]:
    """The `KEY=value` lines of a file, by the rules of docker/cli's kvfile.

    Empty lines and those that begin with `#` are skipped; leading white space
    is dropped, and nothing else is touched: quotes and trailing blanks are part
    of the value. A key alone takes its value from `missing`, and is left out
    where that has none.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs more
            data = file.read()
    except OSError as error:
        raise CliError(f"{flag}: cannot read {quoted(path)}: {error.strerror}") from None
    pairs: list[tuple[str, str]] = []
    for number, raw in enumerate(data.removeprefix(_BOM).split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            raise CliError(f"{flag}: {quoted(path)} contains invalid utf8 bytes at line {number}") from None
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            key = key.rstrip()
        if not key:
            raise CliError(f"{flag}: {quoted(path)} has no variable name on line {number}")
        if any(character.isspace() for character in key):
            raise CliError(f"{flag}: {quoted(path)} line {number}: variable {quoted(key)} contains whitespaces")
        if not equals:
            found = missing(key)
            if found is None:
                continue
            value = found
        pairs.append((key, value))
    return pairs


def environment(files: Iterable[str], settings: Iterable[str]) -> dict[str, str]:
    """The variables of `--env-file`, then those of `--env` over them.

    A name alone takes its value from our own environment, and is left out where
    it is not set there.
    """
    result: dict[str, str] = {}
    for path in files:
        result.update(key_values("--env-file", path, os.environ.get))
    for setting in settings:
        name, equals, value = setting.partition("=")
        found = value if equals else os.environ.get(name)
        if found is not None:
            result[name] = found
    return result


def env_setting(value: str) -> str:
    """A value of `--env`: the name must not be empty."""
    if not value.partition("=")[0]:
        raise ValueError("invalid environment variable: give NAME=value or NAME")
    return value


class IdFile:
    """The file of `--cidfile`: made before the container, so that it cannot be somebody else's.

    It is removed again where no container came to be.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = False
        try:
            self._file = open(path, "x")  # noqa: PTH123, SIM115 - as above; it lives as long as this
        except FileExistsError:
            raise CliError(
                f"--cidfile: container ID file found, make sure the other container isn't running or delete {quoted(path)}"
            ) from None
        except OSError as error:
            raise CliError(f"--cidfile: cannot create {quoted(path)}: {error.strerror}") from None

    def write(self, container_id: str) -> None:
        """Keep the id. Safe to call again."""
        if self._written:
            return
        self._file.write(container_id)
        self._file.flush()
        self._written = True

    def close(self) -> None:
        """Close the file, and remove it if nothing was written."""
        self._file.close()
        if not self._written:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108 - as above
