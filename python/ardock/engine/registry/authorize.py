"""Making oneself known to one registry: basic credentials, and bearer tokens with their cache.

Source: distribution, ``docs/content/spec/auth/token.md`` and ``oauth2.md``.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

import trio

from ardock.engine.registry.challenge import Challenge
from ardock.engine.registry.failures import LONGEST_ERROR, login_command, parse_error
from ardock.engine.registry.pace import Pace
from ardock.engine.registry.places import may_be_plain, origin_of
from ardock.engine.registry.tokens import Token, merged, parse_token
from ardock.model.errors import ArdockError, InvalidArgument, NotPermitted, RegistryUnavailable
from ardock.model.registry import Credentials

_CLIENT: Final = "ardock"
# Of which a registry has one for each repository and kind of access that is in use.
_MOST_TOKENS: Final = 256
# Of a token server's answer.
LONGEST_TOKEN: Final = 1 << 20

# Makes one exchange with a token server, tried again where that may help: of method, address, headers and body; the status and
# the answer's body.
Exchange = Callable[[str, str, Mapping[str, str], bytes], Awaitable[tuple[int, bytes]]]


class Authorizer:
    """What one user is allowed at one registry.

    Attributes:
        refresh: The refresh token that the token server gave last; empty where it gave none.
    """

    def __init__(
        self,
        registry: str,
        credentials: Credentials,
        insecure: Sequence[str],
        exchange: Exchange,
        pace: Pace,
        *,
        offline: bool = False,
    ) -> None:
        """Nothing is known of the registry yet.

        Args:
            registry: As the user writes it.
            credentials: Of its user.
            insecure: `RegistryOptions.insecure`.
            exchange: See `Exchange`.
            pace: Clocks.
            offline: Ask for a refresh token too: `refresh` has it then.
        """
        self._registry = registry
        self._credentials = credentials
        self._insecure = insecure
        self._exchange = exchange
        self._pace = pace
        self._offline = offline
        self._bearer: Challenge | None = None
        self._basic = False
        self._tokens: dict[tuple[str, ...], Token] = {}
        self._locks: dict[tuple[str, ...], trio.Lock] = {}
        self.refresh = ""

    def note(self, challenges: Sequence[Challenge]) -> None:
        """Remember what the registry asks for; bearer tokens win over basic credentials."""
        bearer = next((each for each in challenges if each.scheme == "bearer" and each.params.get("realm")), None)
        if bearer is not None:
            self._bearer = bearer
        self._basic = self._basic or any(each.scheme == "basic" for each in challenges)

    async def header(self, scopes: Sequence[str]) -> str | None:
        """The ``Authorization`` for a request that needs `scopes`; None: none, as far as is known.

        Args:
            scopes: See `ardock.engine.registry.tokens`.

        Raises:
            NotPermitted: The token server refuses the credentials.
            RegistryUnavailable: It cannot be reached, or answers with something else.
        """
        credentials = self._credentials
        if credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        if self._bearer is not None:
            return f"Bearer {(await self._token(self._bearer, merged(scopes))).value}"
        if self._basic and credentials.username and credentials.password:
            return _basic(credentials)
        return None

    def refused(
        self, sent: str | None, scopes: Sequence[str], challenges: Sequence[Challenge]
    ) -> tuple[str, ...] | None:
        """After a 401: the scopes to try again with; None: it would be answered in the same way.

        Args:
            sent: The ``Authorization`` that was refused.
            scopes: What the request needs.
            challenges: Of the answer.
        """
        knew_bearer = self._bearer is not None
        self.note(challenges)
        if self._credentials.registry_token or (self._bearer is None and not self._basic):
            return None
        if self._bearer is None:
            # Basic credentials that were refused will be refused again.
            return tuple(scopes) if sent is None and self._credentials.password else None
        asked = self._bearer.params.get("scope", "")
        wanted = merged([*scopes, *asked.split()])
        if sent is None or not knew_bearer or not sent.startswith("Bearer "):
            return wanted
        # A token that was good when it was fetched: revoked, or of a key that the registry no longer has.
        self._tokens.pop(merged(scopes), None)
        return wanted

    async def _token(self, challenge: Challenge, scopes: tuple[str, ...]) -> Token:
        # One request at a time for what is the same: all layers of an image want it at once.
        lock = self._locks.setdefault(scopes, trio.Lock())
        async with lock:
            token = self._tokens.get(scopes)
            if token is not None and token.expires_at > self._pace.clock():
                return token
            token = await self._fetch(challenge, scopes)
            if len(self._tokens) >= _MOST_TOKENS:
                self._tokens.clear()
                self._locks = {scopes: lock}
            self._tokens[scopes] = token
            self.refresh = token.refresh or self.refresh
            return token

    async def _fetch(self, challenge: Challenge, scopes: tuple[str, ...]) -> Token:
        realm = challenge.params["realm"]
        origin = origin_of(realm)
        if origin is None or urlsplit(realm).username is not None:
            raise RegistryUnavailable(
                f"{self._registry}: it names {realm[:200]!r} as its token server, which is no address"
            )
        credentials = self._credentials
        if origin.scheme == "http" and not may_be_plain(origin, self._insecure):
            raise InvalidArgument(
                f"{self._registry}: its token server {origin} has no TLS: name {origin.authority} among the insecure registries",
                field="insecure",
            )
        common = {"service": challenge.params["service"]} if challenge.params.get("service") else {}
        if credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": _CLIENT,
                **common,
            }
            if scopes:
                form["scope"] = " ".join(scopes)
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            status, body = await self._exchange("POST", realm, headers, urlencode(form).encode())
        else:
            query = [*common.items(), *(("scope", each) for each in scopes)]
            headers = {}
            if credentials.username and credentials.password:
                query.append(("account", credentials.username))
                headers["Authorization"] = _basic(credentials)
            if self._offline:
                query += [("offline_token", "true"), ("client_id", _CLIENT)]
            url = realm + ("&" if urlsplit(realm).query else "?") + urlencode(query)
            status, body = await self._exchange("GET", url.rstrip("?"), headers, b"")
        if status != 200:
            raise self._refusal(status, body, str(origin))
        token = parse_token(body, wall=self._pace.wall(), clock=self._pace.clock())
        if not isinstance(token, Token):
            raise RegistryUnavailable(f"{self._registry}: its token server {origin}: {token}")
        return token

    def _refusal(self, status: int, body: bytes, server: str) -> ArdockError:
        told = parse_error(body[:LONGEST_ERROR]).text
        ending = f" ({told})" if told else ""
        # OAuth2 answers 400 (invalid_grant) for a refresh token that is no longer good: RFC 6749, section 5.2.
        if status in {401, 403} or (status == 400 and self._credentials):
            if self._credentials:
                reason = f"user name or password is wrong, or no longer good: `{login_command(self._registry)}`"
            else:
                reason = f"it wants credentials: `{login_command(self._registry)}`"
            return NotPermitted(f"{self._registry}: {reason}{ending}")
        return RegistryUnavailable(f"{self._registry}: its token server {server} answers with status {status}{ending}")


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"
