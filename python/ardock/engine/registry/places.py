"""Where a registry is, what may be said to it without TLS, and through which proxy: rules as pure functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from ardock.model.errors import InvalidArgument, Unsupported

# Docker Hub's names are docker.io, its registry is elsewhere.
_HUB: Final = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """A server: what credentials, connections and certificates belong to.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Lower case; an IPv6 address without its brackets.
        port: Of 1 to 65535.
    """

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host[:port]``, the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """As the beginning of an address."""
        return f"{self.scheme}://{self.authority}"


class Place(NamedTuple):
    """A registry, before it is known whether it speaks TLS.

    Attributes:
        name: As the user writes it, such as ``docker.io``: what credentials and certificates are looked up by.
        host: Where it is; an IPv6 address without its brackets.
        port: None: the scheme's own.
        scheme: Empty: TLS, and without it where that is allowed and the registry does not speak it.
    """

    name: str
    host: str
    port: int | None
    scheme: str = ""

    def origin(self, scheme: str) -> Origin:
        """The server, spoken to in this way."""
        return Origin(scheme, self.host, self.port or _PORTS[scheme])


def registry_place(name: str, *, field: str = "name") -> Place:
    """Where the registry of this name (``host[:port]``) is.

    Raises:
        InvalidArgument: It is none.
    """
    host, port = _host_and_port(_HUB.get(name, name), field, name)
    return Place(name, host, port)


def mirror_place(text: str) -> Place:
    """Where a mirror is, given as ``host[:port]`` or ``http[s]://host[:port]``.

    Raises:
        InvalidArgument: It is none.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return registry_place(text, field="mirrors")
    rest = rest.rstrip("/")
    if scheme not in _PORTS or "/" in rest or "@" in rest or "?" in rest:
        raise InvalidArgument(f"mirrors: {text!r}: give host[:port], or http:// or https:// and that", field="mirrors")
    host, port = _host_and_port(rest, "mirrors", text)
    return Place(rest, host, port, scheme)


def _host_and_port(text: str, field: str, shown: str) -> tuple[str, int | None]:
    problem = InvalidArgument(f"{field}: {shown!r} is no registry: give host[:port]", field=field)
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidArgument(f"{field}: {shown!r} is no registry: {error}", field=field) from None
    if not host or parts.path or parts.username is not None or parts.query or parts.fragment or port == 0:
        raise problem
    return host, port


def origin_of(url: str) -> Origin | None:
    """The server of an address; None where it is no http(s) address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or port == 0:
        return None
    return Origin(parts.scheme, host, port or _PORTS[parts.scheme])


def is_loopback(host: str) -> bool:
    """Whether nothing said to it leaves this machine. A name that merely resolves to such an address is none."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_insecure(host: str, port: int | None, insecure: Sequence[str]) -> bool:
    """Whether `insecure` (`RegistryOptions.insecure`) names it.

    An entry without a port is for all ports; blocks of addresses are for hosts that are given as an address.
    """
    for entry in insecure:
        if "/" in entry:
            try:
                if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
        else:
            name, named_port = _host_and_port(entry, "insecure", entry)
            if name == host and named_port in {None, port}:
                return True
    return False


def check_insecure(insecure: Sequence[str]) -> None:
    """See that each entry of `RegistryOptions.insecure` is one.

    Raises:
        InvalidArgument: One is not; field ``insecure``.
    """
    for entry in insecure:
        if "/" not in entry:
            _host_and_port(entry, "insecure", entry)
            continue
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise InvalidArgument(
                f"insecure: {entry!r} is no block of addresses: give host[:port], or such as 10.0.0.0/8",
                field="insecure",
            ) from None


def may_be_plain(origin: Origin, insecure: Sequence[str]) -> bool:
    """Whether a server may be spoken to without TLS at all."""
    return is_loopback(origin.host) or is_insecure(origin.host, origin.port, insecure)


class Hop(NamedTuple):
    """Where a redirect leads.

    Attributes:
        url: The whole address.
        origin: Its server.
        same: It is the server that redirects: the credentials go along. To no other, ever: storage that a registry points
            to has its own in the address.
    """

    url: str
    origin: Origin
    same: bool


def redirected(url: str, location: str | None, insecure: Sequence[str]) -> Hop | str:
    """Where an answer's ``Location`` leads, or why it is not followed.

    Args:
        url: The address that was asked.
        location: The header.
        insecure: `RegistryOptions.insecure`.
    """
    if not location:
        return "it redirects to nowhere"
    try:
        target = urljoin(url, location)
    except ValueError:
        target = ""
    origin, before = origin_of(target), origin_of(url)
    if origin is None or before is None:
        return f"it redirects to {location[:200]!r}, which is no address"
    if origin.scheme == "http" and not may_be_plain(origin, insecure):
        return f"it redirects to {origin}, without TLS: that host is not among the insecure registries"
    if origin.scheme == "http" and before.scheme == "https" and not is_insecure(origin.host, origin.port, insecure):
        # Also not to loopback: a registry has no business with what else this machine serves to itself.
        return f"it redirects to {origin}, away from TLS"
    return Hop(target, origin, origin == before)


class Proxy(NamedTuple):
    """A proxy.

    Attributes:
        url: Without the credentials.
        auth: User name and password; None: none.
    """

    url: str
    auth: tuple[str, str] | None


def proxy_of(origin: Origin, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that a server is asked by, of ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``; None: none.

    As Go's `httpproxy` has it, so that what was set for dockerd does the same here: lower case wins, loopback is never asked
    by a proxy, and ``NO_PROXY`` has names (of subdomains too; ``.name`` of those alone), addresses, blocks of them, each with
    a port where it is for that alone, or ``*``.

    Raises:
        InvalidArgument: The proxy's address is malformed.
        Unsupported: It is a SOCKS proxy.
    """
    variable = f"{origin.scheme}_proxy"
    proxy = environment.get(variable) or environment.get(variable.upper())
    if not proxy or is_loopback(origin.host):
        return None
    if _is_exempt(origin, environment.get("no_proxy") or environment.get("NO_PROXY") or ""):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme = proxy.partition("://")[0]
    if scheme.startswith("socks"):
        raise Unsupported(
            f"{variable.upper()}: SOCKS proxies are not supported: give http://HOST:PORT", option=variable
        )
    at = origin_of(proxy)
    if at is None:
        # Not shown: it may have a password.
        raise InvalidArgument(f"{variable.upper()} is no address of a proxy: give http://HOST:PORT", field=variable)
    parts = urlsplit(proxy)
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username is not None else None
    return Proxy(str(at), auth)


def _is_exempt(origin: Origin, rules: str) -> bool:
    try:
        address = ipaddress.ip_address(origin.host)
    except ValueError:
        address = None
    return any(_matches(origin, address, rule.strip().lower()) for rule in rules.split(","))


def _matches(origin: Origin, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, rule: str) -> bool:
    if not rule:
        return False
    if rule == "*":
        return True
    if address is not None:
        try:
            return address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            pass
    try:
        parts = urlsplit(f"//{rule}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if port not in {None, origin.port}:
        return False
    if address is not None:
        return host == origin.host
    name = host.removeprefix("*")
    if name.startswith("."):
        return origin.host.endswith(name)
    return origin.host == name or origin.host.endswith(f".{name}")
