"""How registries are reached where a caller does not say, and logging in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ardock.engine.registry import Registries, configured
from ardock.model.errors import InvalidArgument, NotFound, NotPermitted
from ardock.model.registry import Credentials, RegistryOptions
from tests.registry.conftest import Waits
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import PASSWORD, USERNAME, Registry, tls_registry
from tests.registry.tokens import IDENTITY, token_registry

ALICE = Credentials(username=USERNAME, password=PASSWORD)


def test_the_machines_file(tmp_path: Path) -> None:
    path = tmp_path / "registries.json"
    assert configured(path) == RegistryOptions()
    path.write_text('{"insecure": ["a:5000"], "mirrors": {"docker.io": ["https://m"]}, "attempts": 2}')
    assert configured(path) == RegistryOptions(insecure=("a:5000",), mirrors={"docker.io": ("https://m",)}, attempts=2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "truncated"),
        ('{"insecure": "a"}', "insecure"),
        ('{"insecur": []}', "insecur"),
        ("\xff", "registries.json"),
    ],
)
def test_a_machines_file_that_is_malformed_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "registries.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidArgument, match=f"{path}: .*{told}|{told}: "):
        configured(path)


async def test_logging_in_with_basic_credentials() -> None:
    with tls_registry() as registry:
        registries = Registries(RegistryOptions(certificates=(registry.certificates,)))
        assert await registries.login(registry.host, ALICE) == ""
        for credentials in (Credentials(), Credentials(username=USERNAME, password="wrong")):
            with pytest.raises(NotPermitted, match=f"login: {registry.host}.*`ardock login"):
                await registries.login(registry.host, credentials)


async def test_logging_in_gives_a_refresh_token_where_there_is_one() -> None:
    with token_registry() as (registry, tokens):
        registries = Registries()
        assert await registries.login(registry.host, ALICE) == IDENTITY
        assert tokens.requests == [("GET", USERNAME, ())]
        assert await registries.login(registry.host, Credentials(identity_token=IDENTITY)) == ""
        with pytest.raises(NotPermitted, match="user name or password is wrong"):
            await registries.login(registry.host, Credentials(username=USERNAME, password="wrong"))


async def test_logging_in_where_there_is_no_registry(waits: Waits) -> None:
    with Proxy() as server:
        with pytest.raises(NotFound, match=f"login: not found in {server.host}"):
            await Registries(pace=waits.pace).login(server.host, ALICE)
        await server.until(0)
    with pytest.raises(InvalidArgument, match=r"server: .* no registry"):
        await Registries().login("a/b", ALICE)


async def test_a_proxy_of_the_environment_is_asked(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a registry that is not on this machine: stood in for by loopback that is not known as such."""
    monkeypatch.setattr("ardock.engine.registry.places.is_loopback", lambda _: False)
    with Proxy(registry.port) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        registries = Registries(RegistryOptions(insecure=("127.0.0.0/8",)))
        assert await registries.login("127.0.0.1:1", ALICE) == ""
        assert [each.line for each in proxy.requests][-1] == "GET http://127.0.0.1:1/v2/"
        proxy.faults.append(Fault(times=-1, status=200))
        options = RegistryOptions(insecure=("127.0.0.0/8",), environment=False)
        assert await Registries(options).login(registry.host, ALICE) == ""
        assert not [each for each in proxy.requests if registry.host in each.line]
