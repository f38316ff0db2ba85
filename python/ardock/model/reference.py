"""Names of images: Docker's grammar.

Source of the grammar: github.com/distribution/reference, ``regexp.go`` and ``normalize.go``::

    reference  = name [":" tag] ["@" digest]
    name       = [domain "/"] part *("/" part)

A name without a domain means Docker Hub (``docker.io``), and one of a single part there its official images (``library/``).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from ardock.model.errors import InvalidArgument, Unsupported

DEFAULT_REGISTRY: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
# Hexadecimal digits of each algorithm that OCI registers and that this knows.
DIGEST_DIGITS: Final = {"sha256": 64, "sha512": 128}

_LEGACY_REGISTRY: Final = "index.docker.io"
_OFFICIAL: Final = "library/"
_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?", re.ASCII)
_PART: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH: Final = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_WHOLE_ID: Final = re.compile(r"[a-f0-9]{64}")
_HEXADECIMAL: Final = re.compile(r"[a-f0-9]*")
# RepositoryNameTotalLengthMax of distribution/reference, which since its version 0.6 counts the path alone.
_LONGEST_PATH: Final = 255


class Reference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole name of an image, in its parts.

    Attributes:
        registry: The domain with its port, such as ``docker.io``, ``localhost:5000`` or ``[::1]:5000``.
        repository: The path there, such as ``library/busybox``.
        tag: Empty where none was given: `tagged` fills in ``latest``.
        digest: ``sha256:`` and 64 hexadecimal digits, or ``sha512:`` and 128; empty where none was given. It wins over the tag.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path: ``docker.io/library/busybox``."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as Docker shows it: ``busybox``."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        rest = self.repository.removeprefix(_OFFICIAL)
        # library/a/b is no official image, so the prefix says something there.
        return self.repository if "/" in rest else rest

    @property
    def familiar(self) -> str:
        """All of it as Docker shows it: ``busybox:latest``, ``busybox@sha256:...``."""
        return self.familiar_name + self._suffix()

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or DEFAULT_TAG

    def tagged(self) -> Reference:
        """The same, with the tag ``latest`` where there is neither a tag nor a digest."""
        return self if self.tag or self.digest else msgspec.structs.replace(self, tag=DEFAULT_TAG)

    def __str__(self) -> str:
        """All of it, with domain and path."""
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


class Digest(NamedTuple):
    """A digest in its parts.

    Attributes:
        algorithm: ``sha256`` or ``sha512``.
        hex: Its digits, lower case.
    """

    algorithm: str
    hex: str


def parse_digest(text: str, *, field: str = "digest") -> Digest:
    """A digest in its parts.

    Raises:
        InvalidArgument: It is no digest; field `field`.
        Unsupported: Of an algorithm that is not known here.
    """
    algorithm, colon, digits = text.partition(":")
    if not colon or not algorithm or not digits:
        raise InvalidArgument(
            f"{field}: {text[:80]!r} is no digest: give sha256: and 64 hexadecimal digits", field=field
        )
    length = DIGEST_DIGITS.get(algorithm)
    if length is None:
        known = " and ".join(DIGEST_DIGITS)
        raise Unsupported(f"{field}: {text[:80]!r} is of the algorithm {algorithm!r}: known are {known}", option=field)
    if len(digits) != length:
        raise InvalidArgument(
            f"{field}: {text[:160]!r} has {len(digits)} digits where {algorithm} has {length}", field=field
        )
    if not _HEXADECIMAL.fullmatch(digits):
        raise InvalidArgument(
            f"{field}: {text!r} has other characters than the hexadecimal digits 0-9 and a-f (lower case)", field=field
        )
    return Digest(algorithm, digits)


def parse_reference(text: str, *, field: str = "name") -> Reference:
    """The parts of an image's name, with Docker's defaults for the domain and ``library/``.

    Args:
        text: The name, such as ``busybox``, ``me/app:1``, ``localhost:5000/app@sha256:...``.
        field: Whose value it is, for the error.

    Raises:
        InvalidArgument: It is no name; what is wrong with it is told.
        Unsupported: Its digest is of an algorithm that is not known here.
    """
    if not text:
        raise InvalidArgument(f"{field}: it is empty: give NAME[:TAG][@DIGEST]", field=field)
    if _WHOLE_ID.fullmatch(text):
        raise InvalidArgument(
            f"{field}: {text!r} would look like an id: it is 64 hexadecimal digits, as every image's id", field=field
        )
    problem = _Problem(text, field)
    named, at, digest = text.partition("@")
    registry, rest = _split_domain(named)
    path, colon, tag = rest.partition(":")
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = _OFFICIAL + path
    if "://" in text:
        raise problem.of("a name has no scheme: leave https:// out")
    if not _DOMAIN.fullmatch(registry):
        raise problem.of(f"its registry {registry!r} is no host[:port]")
    if not _PATH.fullmatch(path):
        raise problem.of(_path_problem(rest.partition(":")[0]))
    if len(path) > _LONGEST_PATH:
        raise InvalidArgument(f"{field}: {text[:40]!r}... is longer than {_LONGEST_PATH} characters", field=field)
    if colon and not _TAG.fullmatch(tag):
        raise problem.of(_tag_problem(tag))
    if at:
        parse_digest(digest, field=field)
    return Reference(registry=registry, repository=path, tag=tag, digest=digest)


def is_tag(text: str) -> bool:
    """Whether it may be a tag."""
    return _TAG.fullmatch(text) is not None


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    # A first part is a domain only where it could be no other part; else it is the user of the default registry.
    if not slash or not (set(".:") & set(first) or first == "localhost" or first.lower() != first):
        return DEFAULT_REGISTRY, text
    return (DEFAULT_REGISTRY if first == _LEGACY_REGISTRY else first), rest


class _Problem(NamedTuple):
    """Makes the errors of one text."""

    text: str
    field: str

    def of(self, reason: str) -> InvalidArgument:
        shown = self.text if len(self.text) <= 300 else f"{self.text[:300]}..."
        return InvalidArgument(
            f"{self.field}: {shown!r} is no valid name of an image (NAME[:TAG][@DIGEST]): {reason}", field=self.field
        )


def _path_problem(path: str) -> str:
    if not path:
        return "it names no repository"
    if path.lower() != path:
        return f"{path!r} has upper-case letters, which the name of an image may not have"
    if path.startswith("/") or path.endswith("/") or "//" in path:
        return f"{path!r} has an empty part"
    return (
        f"{path!r} may have parts of lower-case letters and digits alone, separated by '/', and within a part by one '.', "
        "one or two '_' or any number of '-'"
    )


def _tag_problem(tag: str) -> str:
    if not tag:
        return "its tag is empty: leave the ':' out"
    if len(tag) > 128:
        return "its tag is longer than 128 characters"
    return (
        f"the tag {tag[:140]!r} may have letters, digits, '_', '.' and '-' alone, and begin with none of the latter two"
    )
