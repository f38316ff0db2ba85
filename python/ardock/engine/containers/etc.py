"""/etc/hosts, /etc/hostname and /etc/resolv.conf as Docker makes them: pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from ardock.engine.containers import defaults
from ardock.engine.facts import Facts
from ardock.model.errors import InvalidArgument
from ardock.model.launch import File
from ardock.model.spec import ContainerSpec

TARGETS: Final = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
# libnetwork resolvconf: what takes the place of name servers that only the host can reach.
_PUBLIC_SERVERS: Final = ("8.8.8.8", "8.8.4.4")
_SAFE_LINE: Final = re.compile(r"^[^\x00\n\r]*$")


def files(spec: ContainerSpec, facts: Facts, hostname: str, taken: frozenset[str]) -> tuple[File, ...]:
    """The generated files, but those that a mount of the user's replaces.

    Args:
        spec: The container.
        facts: The host.
        hostname: The container's host name.
        taken: Targets of the user's mounts.

    Raises:
        InvalidArgument: A malformed address, name or option.
    """
    contents = (hosts(spec, facts), f"{hostname}\n", resolv_conf(spec, facts))
    return tuple(
        File(target=target, content=content.encode("utf-8", "surrogateescape"))
        for target, content in zip(TARGETS, contents, strict=True)
        if target not in taken
    )


def hosts(spec: ContainerSpec, facts: Facts) -> str:
    """/etc/hosts: the host's own with the host's network, else Docker's; then `add_hosts`."""
    lines = facts.hosts if spec.network == "host" else defaults.HOSTS
    if lines and not lines.endswith("\n"):
        lines += "\n"
    for entry in spec.add_hosts:
        name, separator, address = entry.partition("=" if "=" in entry else ":")
        address = address.strip("[]")
        if not separator or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise InvalidArgument(f"add_hosts: bad format {entry!r}: it is name:address", field="add_hosts")
        lines += f"{_address(address, 'add_hosts')}\t{name}\n"
    return lines


def resolv_conf(spec: ContainerSpec, facts: Facts) -> str:
    """/etc/resolv.conf: the host's, with what `dns`, `dns_search` and `dns_options` say instead.

    Without the host's network, name servers on its loopback cannot be reached and are left out; where none is left,
    Docker puts public ones in their place, which nothing can reach from network ``none`` either.
    """
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    other: list[str] = []
    for line in facts.resolv_conf.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            options.extend(words[1:])
        else:
            other.append(line)
    if spec.network != "host":
        servers = [server for server in servers if not _is_loopback(server)] or list(_PUBLIC_SERVERS)
    if spec.dns:
        servers = [_address(server, "dns") for server in spec.dns]
    if spec.dns_search:
        search = [_word(domain, "dns_search") for domain in spec.dns_search if domain != "."]
    if spec.dns_options:
        options = [_word(option, "dns_options") for option in spec.dns_options]
    lines = [f"nameserver {server}" for server in servers]
    if search:
        lines.append("search " + " ".join(search))
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join([*lines, *other]) + "\n"


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _address(text: str, field: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(f"{field}: {text!r} is not an IP address", field=field) from None


def _word(text: str, field: str) -> str:
    if not text or not _SAFE_LINE.match(text) or " " in text:
        raise InvalidArgument(f"{field}: invalid value {text!r}", field=field)
    return text
