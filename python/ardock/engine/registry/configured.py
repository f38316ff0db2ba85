"""How registries are reached where a caller does not say: by the machine's file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ardock.model.errors import InvalidArgument
from ardock.model.registry import RegistryOptions

FILE: Final = Path("/etc/ardock/registries.json")


def configured(path: Path = FILE) -> RegistryOptions:
    """The options in a JSON file with the fields of `RegistryOptions`; the defaults where there is none.

    Raises:
        InvalidArgument: The file cannot be read, or is malformed; it and the field are named.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return RegistryOptions()
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}", field="registry") from error
    try:
        return msgspec.json.decode(data, type=RegistryOptions)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path}: {error}", field="registry") from error
