"""TLS contexts: who vouches for a registry, and what is shown to it, in the layout of ``/etc/docker/certs.d``."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from ardock.model.errors import InvalidArgument


def tls_context(folders: Sequence[str], names: Sequence[str], *, verify: bool) -> ssl.SSLContext:
    """The context for one server. Reads files: some 20 ms, so call it in a thread.

    Args:
        folders: `RegistryOptions.certificates`.
        names: What the server's folder may be called, best first.
        verify: Whether it has to have a certificate that somebody vouches for.

    Raises:
        InvalidArgument: Files of its folder cannot be read, or are no certificates; the message names them.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    folder = _folder(folders, names)
    if folder is None:
        return context
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise InvalidArgument(f"certificates: {folder}: {error.strerror}", field="certificates") from error
    for path in files:
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(cafile=path)
            elif path.suffix == ".cert":
                # Without a password OpenSSL would ask for one at the terminal.
                context.load_cert_chain(path, _key_of(path), password="")
            elif path.suffix == ".key" and path.with_suffix(".cert") not in files:
                raise InvalidArgument(
                    f"certificates: {path} has no certificate beside it: add {path.with_suffix('.cert').name}, or remove it",
                    field="certificates",
                )
        except ssl.SSLError as error:
            raise InvalidArgument(
                f"certificates: {path} (or its key) is no PEM file that can be used: {error.reason or error}",
                field="certificates",
            ) from error
        except OSError as error:
            raise InvalidArgument(f"certificates: {path}: {error.strerror or error}", field="certificates") from error
    return context


def _folder(folders: Sequence[str], names: Sequence[str]) -> Path | None:
    found = (Path(folder) / name for folder in folders for name in names)
    return next((path for path in found if path.is_dir()), None)


def _key_of(path: Path) -> Path:
    key = path.with_suffix(".key")
    if not key.exists():
        raise InvalidArgument(
            f"certificates: {path} has no key beside it: add {key.name}, or call it .crt if it is an authority's",
            field="certificates",
        )
    return key
