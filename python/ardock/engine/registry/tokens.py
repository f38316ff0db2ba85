"""Bearer tokens of registries: scopes, answers of token servers, and when a token is too old. No I/O.

Source: distribution, ``docs/content/spec/auth/`` (token, scope, oauth2).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

# For tokens whose life is not told, and the least that is believed: "for compatibility with older clients, a token server
# should never return a token with less than 60 seconds to live".
_LEAST_LIFE: Final = 60.0
# A token is taken for expired this much earlier: the request that carries it is under way for a while. At most half its life.
_MARGIN: Final = 10.0


def scope(repository: str, *actions: str) -> str:
    """What is asked for: some actions (``pull``, ``push``) on a repository."""
    return f"repository:{repository}:{','.join(sorted(actions))}"


def merged(scopes: Iterable[str]) -> tuple[str, ...]:
    """Scopes in one order, those of the same resource as one: what a token is kept under."""
    actions: dict[str, set[str]] = {}
    for each in scopes:
        resource, colon, names = each.rpartition(":")
        if colon:
            actions.setdefault(resource, set()).update(name for name in names.split(",") if name)
    return tuple(f"{resource}:{','.join(sorted(names))}" for resource, names in sorted(actions.items()))


class Token(msgspec.Struct, frozen=True):
    """A token.

    Attributes:
        value: What is sent.
        expires_at: By the clock of the one who asked, in seconds.
        refresh: The refresh token that came with it; empty where none did.
    """

    value: str
    expires_at: float
    refresh: str = ""

    def __repr__(self) -> str:
        """Without the secret."""
        return f"<Token until {self.expires_at:.0f}>"


class _Answer(msgspec.Struct):
    # `token` and `access_token` mean the same: the latter is OAuth2's name.
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None
    issued_at: str | None = None
    refresh_token: str | None = None


def parse_token(body: bytes, *, wall: float, clock: float) -> Token | str:
    """The token of a token server's answer, or what is wrong with it.

    Args:
        body: The answer, JSON.
        wall: Wall clock, seconds since 1970: what `issued_at` is held against.
        clock: The clock that `Token.expires_at` will be held against.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"its answer is none of a token server: {error}"
    value = answer.token or answer.access_token
    if not value:
        return "its answer has no token"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "its answer has a token that cannot be sent in a header"
    life = max(answer.expires_in or 0.0, _LEAST_LIFE)
    age = 0.0
    if answer.issued_at:
        try:
            age = wall - datetime.fromisoformat(answer.issued_at).timestamp()
        except (ValueError, OverflowError):
            age = 0.0
    # A server whose clock differs from ours says nothing about the token's age.
    left = life - age if 0 <= age < life else life
    return Token(value, clock + left - min(_MARGIN, left / 2), answer.refresh_token or "")
