"""``WWW-Authenticate``: what a server asks of who wants in. Parsing alone, no I/O.

RFC 9110, section 11::

    WWW-Authenticate = challenge *("," challenge)
    challenge        = scheme [1*SP (token68 / param *("," param))]
    param            = token BWS "=" BWS (token / quoted-string)

The comma separates both challenges and parameters: a name followed by ``=`` is a parameter, one that is not begins a challenge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SEPARATORS: Final = re.compile(r"[ \t,]*")
_PARAM: Final = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\]|\\.)*)")[ \t]*(?=,|$)', re.DOTALL)
_SCHEME: Final = re.compile(rf"({_WORD})(?:[ \t]+|(?=,)|$)")
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class Challenge(NamedTuple):
    """One way in.

    Attributes:
        scheme: In lower case, such as ``bearer``.
        params: By name in lower case.
    """

    scheme: str
    params: Mapping[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """All challenges of a response's ``WWW-Authenticate`` headers, in their order; what is malformed ends its header."""
    return [challenge for value in values for challenge in _challenges(value)]


def _challenges(value: str) -> Iterator[Challenge]:
    position = _skip(value, 0)
    while position < len(value):
        scheme = _SCHEME.match(value, position)
        if scheme is None:
            return
        position = scheme.end()
        params: dict[str, str] = {}
        # A token68 instead of parameters: no scheme that is of use here has one.
        token68 = _TOKEN68.match(value, position)
        if token68 is not None and token68.end() > position and not _PARAM.match(value, position):
            position = token68.end()
        else:
            while (param := _PARAM.match(value, _skip(value, position))) is not None:
                name, token, quoted = param.groups()
                # The first of equal names counts: a later one would be a way to smuggle another in.
                params.setdefault(name.lower(), token if token is not None else _ESCAPED.sub(r"\1", quoted))
                position = param.end()
        yield Challenge(scheme[1].lower(), params)
        position = _skip(value, position)


def _skip(value: str, position: int) -> int:
    found = _SEPARATORS.match(value, position)
    assert found is not None, "it matches nothing, too"
    return found.end()
