"""Registries: who one is there."""

from __future__ import annotations

import msgspec


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who one is at a registry: a name and a password (or access token), or an identity token.

    Attributes:
        username: Empty with an identity token.
        password: Empty with an identity token.
        identity_token: An OAuth2 refresh token, exchanged for access tokens.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"<Credentials of {self.username or 'an identity token'}>"
