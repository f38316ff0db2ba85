"""`Registries`: what an engine knows of registries, and where repositories are opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from ardock.engine.registry.pace import Pace
from ardock.engine.registry.places import Place, check_insecure, mirror_place, registry_place
from ardock.model.errors import EngineClosed, InvalidArgument
from ardock.model.reference import Reference
from ardock.model.registry import Credentials, RegistryOptions

if TYPE_CHECKING:
    from ardock.engine.registry.host import Host
    from ardock.engine.registry.repository import Repository

ANONYMOUS: Final = Credentials()
# Registries (each with the credentials it is spoken to with) whose tokens are kept though nobody uses them now.
_MOST_IDLE: Final = 32


class Registries:
    """The registries of one engine. Making it costs nothing; HTTP is imported when the first repository is opened."""

    def __init__(self, options: RegistryOptions | None = None, *, pace: Pace | None = None) -> None:
        """Check the options.

        Args:
            options: How registries are reached.
            pace: Other clocks than the machine's.

        Raises:
            InvalidArgument: An option is malformed; it is named.
        """
        self.options = options or RegistryOptions()
        self._pace = pace or Pace()
        check_insecure(self.options.insecure)
        self._mirrors = {
            _key(registry_place(name, field="mirrors")): tuple(mirror_place(each) for each in mirrors)
            for name, mirrors in self.options.mirrors.items()
        }
        _check_numbers(self.options)
        self._hosts: dict[tuple[Place, Credentials], Host] = {}
        self._closed = False

    def open(self, reference: Reference, credentials: Credentials | None = None, *, push: bool = False) -> Repository:
        """The repository that `reference` names; nothing is sent yet. To be closed.

        Args:
            reference: Its registry and repository count.
            credentials: For its registry; None or empty: anonymous. Mirrors never get them.
            push: It will be written: one token for all then, and mirrors are left out.

        Raises:
            InvalidArgument: The registry is no host and port.
            EngineClosed: `aclose` was called.
        """
        if self._closed:
            raise EngineClosed("the engine is closed")
        from ardock.engine.registry.repository import Repository  # noqa: PLC0415 - imported when it is needed

        origin = self._host(registry_place(reference.registry), credentials or ANONYMOUS)
        mirrors = () if push else self._mirrors.get(_key(origin.place), ())
        hosts = tuple(self._host(each, ANONYMOUS) for each in mirrors)
        used = (origin, *hosts)
        for host in used:
            host.users += 1

        async def release() -> None:
            for host in used:
                host.users -= 1
                if not host.users:
                    await host.release()

        return Repository(reference, origin, hosts, release, push=push)

    async def login(self, server: str, credentials: Credentials) -> str:
        """See whether a registry takes these credentials.

        Args:
            server: The registry, such as ``docker.io`` or ``localhost:5000``.
            credentials: For it.

        Returns:
            A refresh token that stands for them from now on (`Credentials.identity_token`), where its token server gives one;
            else empty.

        Raises:
            NotPermitted: It does not take them.
            NotFound: There is no registry.
            RegistryUnavailable: It cannot be reached, or goes on failing.
        """
        if self._closed:
            raise EngineClosed("the engine is closed")
        from ardock.engine.registry.host import Host  # noqa: PLC0415 - imported when it is needed

        host = Host(registry_place(server, field="server"), credentials, self.options, self._pace, offline=True)
        try:
            return await host.login()
        finally:
            await host.aclose()

    async def aclose(self) -> None:
        """Close all connections. Repositories that are open fail from now on."""
        self._closed = True
        hosts, self._hosts = list(self._hosts.values()), {}
        with trio.CancelScope(shield=True):
            for host in hosts:
                await host.aclose()

    def _host(self, place: Place, credentials: Credentials) -> Host:
        from ardock.engine.registry.host import Host  # noqa: PLC0415 - imported when it is needed

        key = (place, credentials)
        host = self._hosts.pop(key, None) or Host(place, credentials, self.options, self._pace)
        self._hosts[key] = host  # the one used last is the last one
        idle = [each for each, known in self._hosts.items() if not known.users and each != key]
        for each in idle[: len(idle) - _MOST_IDLE] if len(idle) > _MOST_IDLE else ():
            del self._hosts[each]
        return host


def _key(place: Place) -> tuple[str, int | None]:
    """What a registry is by whatever name: docker.io and index.docker.io are one."""
    return place.host, place.port


def _check_numbers(options: RegistryOptions) -> None:
    rules: tuple[tuple[str, Callable[[RegistryOptions], bool], str], ...] = (
        ("attempts", lambda each: 1 <= each.attempts <= 20, "give 1 to 20"),
        ("connections", lambda each: 1 <= each.connections <= 100, "give 1 to 100"),
        ("patience", lambda each: each.patience > 0, "give more than 0 seconds"),
        ("chunk", lambda each: each.chunk >= 0, "give bytes, or 0"),
    )
    for name, fits, remedy in rules:
        if not fits(options):
            raise InvalidArgument(f"{name}: {getattr(options, name)}: {remedy}", field=name)
