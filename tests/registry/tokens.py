"""A token server for tests, which a real docker-registry believes: its tokens are signed (RS256) and carry the certificate.

    with token_registry() as (registry, tokens):
        ...
        assert tokens.requests == [...]

Sources: distribution, ``docs/content/spec/auth/jwt.md``, ``token.md``, ``oauth2.md``.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.registry.servers import PASSWORD, USERNAME, Authority, Registry, plain_registry

SERVICE = "a registry of a test"
ISSUER = "a token server of a test"
IDENTITY = "the-refresh-token-of-alice"


class TokenServer:
    """The server.

    Attributes:
        realm: Its address.
        requests: Of each request the method, the user, and the scopes.
        life: Seconds that its tokens are told to live.
        refuse: Answer this status instead of a token.
    """

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder, algorithm="rsa")
        self.certificate, self._key = authority.issue("tokens", "DNS:localhost")
        self.bundle = folder / "ca.crt"
        self.requests: list[tuple[str, str, tuple[str, ...]]] = []
        self.life = 300
        self.refuse = 0
        handler = type("Handler", (_Handler,), {"tokens": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.realm = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, user: str, scopes: tuple[str, ...]) -> str:
        """A signed token for what `user` may of `scopes`: alice all, others reading what is public."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = set(actions.split(","))
            if user != USERNAME:
                allowed &= {"pull"} if name.startswith("public/") else set()
            access.append({"type": kind, "name": name, "actions": sorted(allowed)})
        now = int(time.time())
        der = subprocess.run(
            ["openssl", "x509", "-in", str(self.certificate), "-outform", "DER"], check=True, capture_output=True
        ).stdout
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": f"{now}-{len(self.requests)}",
            "access": access,
        }
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=signed.encode(),
            check=True,
            capture_output=True,
        ).stdout
        return f"{signed}.{_encoded(signature)}"


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        user, known = "", True
        authorization = self.headers.get("Authorization")
        if authorization is not None:
            user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            known = (user, password) == (USERNAME, PASSWORD)
        scopes = tuple(query.get("scope", ()))
        self._answer("GET", user, scopes, known=known, offline=query.get("offline_token") == ["true"])

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == [IDENTITY]
        scopes = tuple(" ".join(form.get("scope", ())).split())
        self._answer("POST", USERNAME if known else "", scopes, known=known, offline=False)

    def _answer(self, method: str, user: str, scopes: tuple[str, ...], *, known: bool, offline: bool) -> None:
        tokens = self.tokens
        tokens.requests.append((method, user, scopes))
        status, body = 200, dict[str, Any]()
        if tokens.refuse:
            status = tokens.refuse
        elif not known:
            status, body = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "no such user"}]}
        else:
            name = "token" if method == "GET" else "access_token"
            body = {name: tokens.token(user, scopes), "expires_in": tokens.life}
            if offline:
                body["refresh_token"] = IDENTITY
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Not to the test's output."""


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def token_registry() -> Iterator[tuple[Registry, TokenServer]]:
    """A plain registry that wants tokens, and who gives them."""
    with tempfile.TemporaryDirectory(prefix="ardock-tokens-") as folder:
        tokens = TokenServer(Path(folder))
        try:
            auth = {
                "realm": tokens.realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(tokens.bundle),
            }
            with plain_registry({"auth": {"token": auth}}) as registry:
                yield registry, tokens
        finally:
            tokens.close()
