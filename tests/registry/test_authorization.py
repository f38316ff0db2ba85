"""Being let in: TLS, basic credentials, bearer tokens; and that secrets go nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ardock.engine.registry import Registries
from ardock.engine.registry.repository import Repository
from ardock.model.errors import InvalidArgument, NotPermitted, RegistryUnavailable
from ardock.model.reference import parse_reference
from ardock.model.registry import Credentials, RegistryOptions
from tests.registry.conftest import Waits
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import PASSWORD, USERNAME, Registry, tls_registry
from tests.registry.test_writing import Blob
from tests.registry.tokens import IDENTITY, TokenServer, token_registry

ALICE = Credentials(username=USERNAME, password=PASSWORD)
NOBODY = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def secure() -> Iterator[Registry]:
    with tls_registry() as running:
        running.put_image("app", "1", [b"layer"])
        yield running


@pytest.fixture(scope="module")
def tokened() -> Iterator[tuple[Registry, TokenServer]]:
    with token_registry() as both:
        yield both


@pytest.fixture
def tokens(tokened: tuple[Registry, TokenServer]) -> TokenServer:
    server = tokened[1]
    server.requests.clear()
    server.refuse = 0
    return server


def trusting(registry: Registry) -> RegistryOptions:
    return RegistryOptions(certificates=(registry.certificates,))


def opened(
    registry: Registry | str, credentials: Credentials, options: RegistryOptions | None = None, name: str = "app"
) -> Repository:
    host = registry if isinstance(registry, str) else registry.host
    return Registries(options or RegistryOptions(attempts=1)).open(parse_reference(f"{host}/{name}"), credentials)


# --- TLS and basic credentials ---


async def test_basic_credentials_over_tls_let_in(secure: Registry) -> None:
    async with opened(secure, ALICE, trusting(secure)) as repository:
        assert await repository.tags() == ["1"]
        blob = Blob("over TLS", 3 << 20)
        await blob.upload(repository)
        async with repository.blob(blob.digest, blob.size) as pieces:
            assert b"".join([piece async for piece in pieces]) == blob.data


@pytest.mark.parametrize("credentials", [Credentials(), Credentials(username=USERNAME, password="wrong")])
async def test_others_are_told_to_log_in(secure: Registry, credentials: Credentials) -> None:
    async with opened(secure, credentials, trusting(secure)) as repository:
        with pytest.raises(NotPermitted, match=f"`ardock login {secure.host}`"):
            await repository.manifest("1")


async def test_a_certificate_that_nobody_vouches_for_is_refused_with_the_remedy(secure: Registry) -> None:
    for options in (RegistryOptions(), RegistryOptions(insecure=("127.0.0.1:1", "example.com", "10.0.0.0/8"))):
        async with opened(secure, ALICE, options) as repository:
            with pytest.raises(
                RegistryUnavailable,
                match=f"certificate is not trusted.*certs.d/{secure.host}/ca.crt.*insecure registries",
            ):
                await repository.manifest("1")
    assert "Authorization" not in secure.log


@pytest.mark.parametrize("entry", ["HOST", "127.0.0.1", "127.0.0.0/8"])
async def test_an_insecure_registry_needs_no_certificate(secure: Registry, entry: str) -> None:
    options = RegistryOptions(insecure=(entry.replace("HOST", secure.host),))
    async with opened(secure, ALICE, options) as repository:
        assert await repository.tags() == ["1"]


async def test_a_certificate_counts_for_its_names_alone(tmp_path: Path) -> None:
    with tls_registry(auth=False, names="DNS:localhost") as registry:
        async with opened(registry, Credentials(), trusting(registry)) as repository:
            with pytest.raises(RegistryUnavailable, match="not trusted: IP address mismatch"):
                await repository.manifest("1")
        local = f"localhost:{registry.port}"
        shutil.copytree(Path(registry.certificates) / registry.host, tmp_path / local)
        async with opened(local, Credentials(), RegistryOptions(certificates=(str(tmp_path),))) as repository:
            assert await repository.exists(NOBODY) is None


async def test_a_registry_that_wants_a_certificate_is_shown_one(tmp_path: Path) -> None:
    with tls_registry(auth=False, client_certificate=True) as registry:
        registry_options = trusting(registry)
        async with opened(registry, Credentials(), registry_options, "new") as repository:
            assert await repository.exists(NOBODY) is None
        own = tmp_path / registry.host
        own.mkdir()
        shutil.copy(Path(registry.certificates) / registry.host / "ca.crt", own)
        async with opened(
            registry, Credentials(), RegistryOptions(certificates=(str(tmp_path),), attempts=1), "new"
        ) as repository:
            with pytest.raises(RegistryUnavailable, match=r"refuses the TLS connection: .*certificate"):
                await repository.exists(NOBODY)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"ca.crt": "no certificate"}, "ca.crt .*no PEM file"),
        ({"client.cert": ""}, "client.cert has no key beside it: add client.key"),
        ({"client.key": ""}, "client.key has no certificate beside it: add client.cert"),
        ({"client.cert": "x", "client.key": "x"}, "client.cert .*no PEM file"),
    ],
)
async def test_files_that_are_no_certificates_are_named(
    secure: Registry, tmp_path: Path, files: dict[str, str], text: str
) -> None:
    (tmp_path / secure.host).mkdir()
    for name, content in files.items():
        (tmp_path / secure.host / name).write_text(content)
    async with opened(secure, ALICE, RegistryOptions(certificates=(str(tmp_path),))) as repository:
        with pytest.raises(InvalidArgument, match=text):
            await repository.manifest("1")


async def test_nothing_is_said_without_tls_to_who_is_not_on_this_machine(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stood in for by loopback that is not known as such: tests have no other network."""
    monkeypatch.setattr("ardock.engine.registry.places.is_loopback", lambda _: False)
    async with opened(proxy.host, ALICE) as repository:
        with pytest.raises(RegistryUnavailable, match=r"TLS handshake.*insecure registries"):
            await repository.manifest("1")
    assert proxy.requests == []
    async with opened(proxy.host, ALICE, RegistryOptions(insecure=(proxy.host,))) as repository:
        assert await repository.exists(NOBODY) is None


# --- tokens ---


async def test_anybody_gets_a_token_for_what_is_public(
    tokened: tuple[Registry, TokenServer], tokens: TokenServer
) -> None:
    registry, _ = tokened
    async with opened(registry, ALICE, name="public/app") as repository:
        blob = Blob("public", 100)
        await blob.upload(repository)
    tokens.requests.clear()
    async with opened(registry, Credentials(), name="public/app") as repository:
        assert await repository.exists(blob.digest) == 100
        assert await repository.exists(NOBODY) is None
    assert tokens.requests == [("GET", "", ("repository:public/app:pull",))], "kept for the second question"
    async with opened(registry, Credentials(), name="private/app") as repository:
        with pytest.raises(NotPermitted, match="ardock login"):
            await repository.exists(blob.digest)


async def test_a_token_is_for_what_is_done(tokened: tuple[Registry, TokenServer], tokens: TokenServer) -> None:
    registry, _ = tokened
    async with opened(registry, ALICE, name="a/source") as repository:
        blob = Blob("to be mounted", 100)
        await blob.upload(repository)
    tokens.requests.clear()
    async with Registries().open(parse_reference(f"{registry.host}/a/target"), ALICE, push=True) as repository:
        assert await repository.exists(blob.digest) is None
        assert await repository.mount(blob.digest, "a/source")
        assert await repository.exists(blob.digest) == 100
    assert tokens.requests == [
        ("GET", USERNAME, ("repository:a/target:pull,push",)),
        ("GET", USERNAME, ("repository:a/source:pull", "repository:a/target:pull,push")),
    ]


async def test_a_refresh_token_stands_for_the_password(
    tokened: tuple[Registry, TokenServer], tokens: TokenServer
) -> None:
    registry, _ = tokened
    async with opened(registry, Credentials(identity_token=IDENTITY), name="private/app") as repository:
        assert await repository.exists(NOBODY) is None
    assert tokens.requests == [("POST", USERNAME, ("repository:private/app:pull",))]
    async with opened(registry, Credentials(identity_token="another"), name="private/app") as repository:
        with pytest.raises(NotPermitted, match=f"no longer good: `ardock login {registry.host}`.*no such user"):
            await repository.exists(NOBODY)


async def test_wrong_credentials_are_told_by_the_token_server(
    tokened: tuple[Registry, TokenServer], tokens: TokenServer
) -> None:
    registry, _ = tokened
    async with opened(registry, Credentials(username=USERNAME, password="wrong"), name="public/app") as repository:
        with pytest.raises(NotPermitted, match=r"user name or password is wrong.*no such user"):
            await repository.exists(NOBODY)


async def test_a_token_is_fetched_anew_when_it_expires(
    tokened: tuple[Registry, TokenServer], tokens: TokenServer, waits: Waits
) -> None:
    registry, _ = tokened
    async with Registries(pace=waits.pace).open(parse_reference(f"{registry.host}/public/app")) as repository:
        for _ in range(2):
            await repository.exists(NOBODY)
        assert len(tokens.requests) == 1
        waits.now += 291
        await repository.exists(NOBODY)
        assert len(tokens.requests) == 2


async def test_many_at_once_fetch_one_token(tokened: tuple[Registry, TokenServer], tokens: TokenServer) -> None:
    registry, _ = tokened
    async with opened(registry, Credentials(), name="public/app") as repository:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(repository.exists, NOBODY)
    assert len(tokens.requests) == 1


async def test_a_token_that_the_registry_no_longer_takes_is_fetched_anew_once(
    tokened: tuple[Registry, TokenServer], tokens: TokenServer
) -> None:
    registry, _ = tokened
    with Proxy(registry.port) as proxy:
        async with opened(proxy.host, Credentials(), name="public/app") as repository:
            await repository.exists(NOBODY)
            challenge = f'Bearer realm="{tokens.realm}",service="x",error="invalid_token"'
            proxy.faults.append(Fault("HEAD", status=401, headers={"WWW-Authenticate": challenge}))
            await repository.exists(NOBODY)
            assert len(tokens.requests) == 2
            proxy.faults.append(Fault("HEAD", status=401, headers={"WWW-Authenticate": challenge}, times=-1))
            with pytest.raises(NotPermitted):
                await repository.exists(NOBODY)
            assert len(tokens.requests) == 3


async def test_a_token_server_that_fails_is_tried_again(
    tokened: tuple[Registry, TokenServer], tokens: TokenServer, waits: Waits
) -> None:
    registry, _ = tokened
    tokens.refuse = 503
    async with Registries(RegistryOptions(attempts=3), pace=waits.pace).open(
        parse_reference(f"{registry.host}/public/app")
    ) as repository:
        with pytest.raises(RegistryUnavailable, match=r"token server http://127.* answers with status 503"):
            await repository.exists(NOBODY)
    assert len(tokens.requests) == 3
    assert waits.slept == [0.5, 1.0]


async def test_the_password_does_not_follow_a_token_servers_redirect(proxy: Proxy) -> None:
    with Proxy() as realm, Proxy() as other:
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm.url}/token",service="x"'}
        proxy.faults.append(Fault(status=401, headers=challenge, times=-1))
        realm.faults.append(Fault("GET /token", redirect=other.url, times=-1))
        async with opened(proxy.host, ALICE) as repository:
            with pytest.raises(RegistryUnavailable, match="where the credentials do not go"):
                await repository.manifest("1")
        assert "authorization" in realm.requests[0].headers
        assert other.requests == []


@pytest.mark.parametrize(
    ("realm", "text"),
    [
        ("http://192.0.2.1/token", "no TLS: name 192.0.2.1 among the insecure registries"),
        ("ftp://127.0.0.1/", "no address"),
        ("http://alice:secret@127.0.0.1/", "no address"),
        ("nothing", "no address"),
    ],
)
async def test_no_secret_goes_to_a_token_server_that_cannot_be_trusted(proxy: Proxy, realm: str, text: str) -> None:
    proxy.faults.append(Fault(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'}, times=-1))
    async with opened(proxy.host, ALICE) as repository:
        with pytest.raises((RegistryUnavailable, InvalidArgument), match=text):
            await repository.manifest("1")


async def test_a_token_of_the_users_own_is_sent_as_it_is(proxy: Proxy) -> None:
    async with opened(proxy.host, Credentials(registry_token="its-own")) as repository:
        await repository.exists(NOBODY)
    assert proxy.seen("HEAD")[0].headers["authorization"] == "Bearer its-own"


async def test_what_cannot_be_sent_is_told_at_once(proxy: Proxy, waits: Waits) -> None:
    credentials = Credentials(registry_token="a\r\nX: b")
    async with Registries(pace=waits.pace).open(parse_reference(f"{proxy.host}/app"), credentials) as repository:
        with pytest.raises(RegistryUnavailable, match="the request cannot be sent"):
            await repository.exists(NOBODY)
    assert waits.slept == []


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials(username="alice", password="p1", identity_token="p2", registry_token="p3"))
    assert "alice" in shown
    assert not any(secret in shown for secret in ("p1", "p2", "p3"))
