"""Registries: what a client knows of them, and how it makes itself known there."""

from __future__ import annotations

import msgspec


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How to make oneself known to one registry; all empty: not at all (anonymous).

    Attributes:
        username: Of the account; may contain no colon (RFC 7617).
        password: Its password or access token.
        identity_token: An OAuth2 refresh token that stands for both (Docker's ``identitytoken``): wins over the password.
        registry_token: A bearer token that is sent as it is (Docker's ``registrytoken``): wins over all.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __bool__(self) -> bool:
        """Whether there is anything to make oneself known by."""
        return bool(self.username or self.password or self.identity_token or self.registry_token)

    def __repr__(self) -> str:
        """Without the secrets: a record that is logged or shown in a traceback must not give them away."""
        secrets = [name for name in ("password", "identity_token", "registry_token") if getattr(self, name)]
        return f"<Credentials of {self.username or 'nobody'} by {', '.join(secrets) or 'nothing'}>"


class RegistryOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How registries are reached; the same for all users of an engine.

    Attributes:
        insecure: Registries that may be spoken to without TLS, or with a certificate that nobody vouches for: ``host``,
            ``host:port`` or a block of addresses such as ``10.0.0.0/8``, as dockerd's ``--insecure-registry``. Loopback may
            be spoken to without TLS always.
        mirrors: By registry (``docker.io``): where to read first, in this order: ``host[:port]`` or
            ``http[s]://host[:port]``. A mirror that fails is passed by; nothing is written to one. What comes from it is held
            against its digest, but what a *tag* means is the mirror's word.
        certificates: Folders in the layout of ``/etc/docker/certs.d``: ``<host[:port]>/`` in one of them has ``*.crt`` (who
            vouches for the registry, beside the system's authorities), ``*.cert`` with ``*.key`` (what we show to it).
            The first folder that has one for the registry counts.
        environment: Whether proxies are taken from ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` (also in lower case) of
            the engine's environment. Loopback is never asked by a proxy.
        attempts: How often a request is tried that fails for a reason that may pass by itself: 1 to 20.
        connections: How many connections to one host are open at most: 1 to 100.
        patience: Seconds without a byte after which a connection counts as broken: more than 0.
        chunk: Bytes of the pieces that a blob is uploaded in; 0: whole, and in pieces of 16 MiB only where a registry
            answers that it is too large.
    """

    insecure: tuple[str, ...] = ()
    mirrors: dict[str, tuple[str, ...]] = {}
    certificates: tuple[str, ...] = ("/etc/ardock/certs.d", "/etc/docker/certs.d")
    environment: bool = True
    attempts: int = 5
    connections: int = 16
    patience: float = 60.0
    chunk: int = 0
