"""Names of images: Docker's grammar.

Source: github.com/distribution/reference, ``regexp.go`` and ``normalize.go``. Names are kept in the form that Docker shows
(its "familiar" one): ``busybox:latest``, not ``docker.io/library/busybox:latest``.
"""

from __future__ import annotations

import re
from typing import Final

from ardock.model.errors import InvalidArgument

_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:(?P<host>{_HOST})/)?{_PART}(?:/{_PART})*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?",
    re.ASCII,
)
_WHOLE_ID: Final = re.compile(r"[a-f0-9]{64}")
# RepositoryNameTotalLengthMax: of the name without the tag.
_LONGEST: Final = 255
_HUB: Final = ("docker.io", "index.docker.io")


def normalize(text: str) -> str:
    """The name that `text` means, as ``name:tag`` (``latest`` where no tag is given).

    Raises:
        InvalidArgument: It is no name; field ``name``.
    """
    host, slash, rest = text.partition("/")
    # A first part is a host only where it could be no other part (Docker's rule): else it is the hub's user.
    if (slash and not (set(".:[") & set(host) or host == "localhost" or host.lower() != host)) or not slash:
        host, rest = "", text
    if host in _HUB:
        host = ""
    if not host and rest.count("/") == 1:
        rest = rest.removeprefix("library/")
    familiar = f"{host}/{rest}" if host else rest
    found = _REFERENCE.fullmatch(familiar)
    if found is None or bool(found["host"]) < bool(host):
        raise InvalidArgument(f"name: {_reason(text, rest)}", field="name")
    if _WHOLE_ID.fullmatch(found["name"]):
        raise InvalidArgument(f"name: {text!r} would look like an id: it is 64 hexadecimal digits", field="name")
    if len(found["name"]) > _LONGEST:
        raise InvalidArgument(f"name: {text[:40]!r}... is longer than {_LONGEST} characters", field="name")
    return f"{found['name']}:{found['tag'] or 'latest'}"


def _reason(text: str, rest: str) -> str:
    if not text:
        return "it is empty"
    if "@" in text:
        return f"{text!r} names a content by its digest, which cannot be given away"
    if rest.partition(":")[0] != rest.partition(":")[0].lower():
        return f"{text!r} has upper-case letters, which the name of an image may not have"
    return f"{text!r} is no valid name of an image (NAME[:TAG])"
