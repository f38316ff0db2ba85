"""Where registries are and what may be said to them: rules, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.engine.registry import Registries
from ardock.engine.registry.places import (
    Origin,
    Place,
    Proxy,
    is_loopback,
    may_be_plain,
    mirror_place,
    origin_of,
    proxy_of,
    redirected,
    registry_place,
)
from ardock.model.errors import EngineClosed, InvalidArgument, Unsupported
from ardock.model.reference import parse_reference
from ardock.model.registry import RegistryOptions


@pytest.mark.parametrize(
    ("name", "place", "url"),
    [
        ("docker.io", Place("docker.io", "registry-1.docker.io", None), "https://registry-1.docker.io"),
        ("localhost:5000", Place("localhost:5000", "localhost", 5000), "https://localhost:5000"),
        ("Example.com", Place("Example.com", "example.com", None), "https://example.com"),
        ("[::1]:443", Place("[::1]:443", "::1", 443), "https://[::1]"),
        ("[FE80::2]", Place("[FE80::2]", "fe80::2", None), "https://[fe80::2]"),
    ],
)
def test_where_a_registry_is(name: str, place: Place, url: str) -> None:
    assert registry_place(name) == place
    assert str(place.origin("https")) == url


@pytest.mark.parametrize("name", ["", "a:99999", "a:0", "a:x", "user@a", "a/b", "[::1", "a?b", "a#b"])
def test_what_is_no_registry(name: str) -> None:
    with pytest.raises(InvalidArgument, match="is no registry"):
        registry_place(name)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("mirror.example.com", Place("mirror.example.com", "mirror.example.com", None)),
        ("https://mirror:5000/", Place("mirror:5000", "mirror", 5000, "https")),
        ("http://10.0.0.1", Place("10.0.0.1", "10.0.0.1", None, "http")),
    ],
)
def test_where_a_mirror_is(text: str, place: Place) -> None:
    assert mirror_place(text) == place


@pytest.mark.parametrize(
    "options",
    [
        RegistryOptions(mirrors={"docker.io": ("ftp://a",)}),
        RegistryOptions(mirrors={"docker.io": ("https://user:secret@a",)}),
        RegistryOptions(mirrors={"docker.io": ("https://a/path",)}),
        RegistryOptions(mirrors={"https://docker.io": ("a",)}),
        RegistryOptions(insecure=("10.0.0.0/99",)),
        RegistryOptions(insecure=("http://a",)),
        RegistryOptions(insecure=("",)),
        RegistryOptions(attempts=0),
        RegistryOptions(connections=101),
        RegistryOptions(patience=0),
        RegistryOptions(chunk=-1),
    ],
)
def test_options_that_are_malformed_are_refused_by_name(options: RegistryOptions) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Registries(options)
    assert caught.value.message.startswith(caught.value.field)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.1", False),
        ("::2", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("0.0.0.0", False),
    ],
)
def test_what_is_on_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://localhost:5000", True),
        ("http://registry.local", True),
        ("http://registry.local:5000", True),
        ("http://other.local:5000", True),
        ("http://other.local:5001", False),
        ("http://10.1.2.3", True),
        ("http://11.1.2.3", False),
        ("http://[fd00::7]:1", True),
        ("http://sub.registry.local", False),
    ],
)
def test_who_may_be_spoken_to_without_tls(url: str, plain: bool) -> None:
    origin = origin_of(url)
    assert origin is not None
    insecure = ("registry.local", "other.local:5000", "10.0.0.0/8", "fd00::/8")
    assert may_be_plain(origin, insecure) == plain


@pytest.mark.parametrize(
    ("location", "result"),
    [
        ("/b?c=d", ("https://a:5000/b?c=d", True)),
        ("b", ("https://a:5000/v2/b", True)),
        ("https://a:5000/b", ("https://a:5000/b", True)),
        ("https://a/b", ("https://a/b", False)),
        ("https://b:5000/b", ("https://b:5000/b", False)),
        ("//b/c", ("https://b/c", False)),
        ("http://plain/b", ("http://plain/b", False)),
        ("http://a:5000/b", "without TLS"),
        ("http://127.0.0.1/b", "away from TLS"),
        ("ftp://a/", "no address"),
        ("https://[/", "no address"),
        ("https://a:99999/", "no address"),
        ("", "nowhere"),
        (None, "nowhere"),
    ],
)
def test_where_a_redirect_leads(location: str | None, result: tuple[str, bool] | str) -> None:
    hop = redirected("https://a:5000/v2/x", location, ("plain",))
    if isinstance(result, str):
        assert isinstance(hop, str)
        assert result in hop
    else:
        assert not isinstance(hop, str)
        assert (hop.url, hop.same) == result


PROXIES = {"HTTPS_PROXY": "http://proxy:3128", "http_proxy": "plain:80"}


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://a", {}, None),
        ("https://a", PROXIES, Proxy("http://proxy:3128", None)),
        ("http://a", PROXIES, Proxy("http://plain", None)),
        ("https://a", {"HTTPS_PROXY": "x", "https_proxy": "https://me:p%40ss@y:1"}, Proxy("https://y:1", ("me", "p@ss"))),
        ("https://localhost", PROXIES, None),
        ("https://127.0.0.1", PROXIES, None),
        ("https://[::1]:5000", PROXIES, None),
        ("https://a", {**PROXIES, "NO_PROXY": "*"}, None),
        ("https://a.b", {**PROXIES, "NO_PROXY": "x, b"}, None),
        ("https://b", {**PROXIES, "no_proxy": "b"}, None),
        ("https://b", {**PROXIES, "no_proxy": ".b"}, Proxy("http://proxy:3128", None)),
        ("https://a.b", {**PROXIES, "no_proxy": ".b"}, None),
        ("https://a.b", {**PROXIES, "no_proxy": "*.b"}, None),
        ("https://ab", {**PROXIES, "no_proxy": "b"}, Proxy("http://proxy:3128", None)),
        ("https://b:5000", {**PROXIES, "no_proxy": "b:5000"}, None),
        ("https://b", {**PROXIES, "no_proxy": "b:5000"}, Proxy("http://proxy:3128", None)),
        ("https://10.1.1.1", {**PROXIES, "no_proxy": "10.0.0.0/8"}, None),
        ("https://11.1.1.1", {**PROXIES, "no_proxy": "10.0.0.0/8"}, Proxy("http://proxy:3128", None)),
        ("https://10.1.1.1", {**PROXIES, "no_proxy": "10.1.1.1"}, None),
        ("https://10.1.1.1", {**PROXIES, "no_proxy": "10.1.1.1:80, :, [, x:y"}, Proxy("http://proxy:3128", None)),
        ("https://[fd00::1]", {**PROXIES, "no_proxy": "[fd00::1]"}, None),
    ],
)  # fmt: skip
def test_which_proxy_is_asked(url: str, environment: dict[str, str], proxy: Proxy | None) -> None:
    origin = origin_of(url)
    assert origin is not None
    assert proxy_of(origin, environment) == proxy


def test_a_proxy_that_cannot_be_asked_is_refused() -> None:
    origin = Origin("https", "a", 443)
    with pytest.raises(Unsupported, match="SOCKS"):
        proxy_of(origin, {"HTTPS_PROXY": "socks5://a"})
    with pytest.raises(InvalidArgument, match="HTTPS_PROXY is no address") as caught:
        proxy_of(origin, {"HTTPS_PROXY": "http://me:secret@a:99999"})
    assert "secret" not in caught.value.message


@given(st.text(max_size=20) | st.text("a.:[]/@?#%0-", max_size=20))
def test_any_text_is_a_registry_or_refused(text: str) -> None:
    for place in (registry_place, mirror_place):
        try:
            found = place(text)
        except InvalidArgument:
            continue
        assert found.host
        assert origin_of(f"{found.origin('https')}/v2/") is not None


@given(st.text(max_size=30) | st.text("a.:[]/@?#%0-hts", max_size=30))
def test_any_location_leads_somewhere_or_is_refused(text: str) -> None:
    hop = redirected("https://a:5000/v2/x", text, ())
    assert isinstance(hop, str) or (hop.origin.scheme == "https" and hop.same == (hop.origin == ("https", "a", 5000)))


async def test_a_closed_engine_opens_nothing() -> None:
    registries = Registries()
    await registries.aclose()
    with pytest.raises(EngineClosed):
        registries.open(parse_reference("a"))
