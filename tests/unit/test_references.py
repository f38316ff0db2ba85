"""Names of images: Docker's grammar, with the cases of github.com/distribution/reference's own tests."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.model.errors import InvalidArgument, Unsupported
from ardock.model.reference import Reference, parse_digest, parse_reference

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize(
    ("text", "parts", "familiar"),
    [
        ("busybox", ("docker.io", "library/busybox", "", ""), "busybox"),
        ("busybox:1.36", ("docker.io", "library/busybox", "1.36", ""), "busybox:1.36"),
        (f"busybox@{SHA256}", ("docker.io", "library/busybox", "", SHA256), f"busybox@{SHA256}"),
        (f"me/app:1@{SHA512}", ("docker.io", "me/app", "1", SHA512), f"me/app:1@{SHA512}"),
        ("docker.io/library/busybox", ("docker.io", "library/busybox", "", ""), "busybox"),
        ("docker.io/busybox", ("docker.io", "library/busybox", "", ""), "busybox"),
        ("index.docker.io/me/app", ("docker.io", "me/app", "", ""), "me/app"),
        ("library/a/b", ("docker.io", "library/a/b", "", ""), "library/a/b"),
        ("test.com:5000", ("docker.io", "library/test.com", "5000", ""), "test.com:5000"),
        ("test.com/repo:tag", ("test.com", "repo", "tag", ""), "test.com/repo:tag"),
        ("test:5000/repo", ("test:5000", "repo", "", ""), "test:5000/repo"),
        ("foo/foo_bar.com:8080", ("docker.io", "foo/foo_bar.com", "8080", ""), "foo/foo_bar.com:8080"),
        ("localhost", ("docker.io", "library/localhost", "", ""), "localhost"),
        ("localhost/app", ("localhost", "app", "", ""), "localhost/app"),
        ("localhost:5000/a/b/c:t", ("localhost:5000", "a/b/c", "t", ""), "localhost:5000/a/b/c:t"),
        ("192.168.1.1:5000/repo:5050", ("192.168.1.1:5000", "repo", "5050", ""), "192.168.1.1:5000/repo:5050"),
        ("Foo/bar", ("Foo", "bar", "", ""), "Foo/bar"),
        ("[2001:db8::1]/repo", ("[2001:db8::1]", "repo", "", ""), "[2001:db8::1]/repo"),
        ("[::1]:5000/repo:tag", ("[::1]:5000", "repo", "tag", ""), "[::1]:5000/repo:tag"),
        (
            "xn--n3h.com/myimage:xn--n3h.com",
            ("xn--n3h.com", "myimage", "xn--n3h.com", ""),
            "xn--n3h.com/myimage:xn--n3h.com",
        ),
        ("docker.io/" + "1a" * 32, ("docker.io", "library/" + "1a" * 32, "", ""), "1a" * 32),
        ("1a" * 31, ("docker.io", "library/" + "1a" * 31, "", ""), "1a" * 31),
    ],
)
def test_a_reference_is_taken_apart_as_docker_does(text: str, parts: tuple[str, str, str, str], familiar: str) -> None:
    parsed = parse_reference(text)
    assert (parsed.registry, parsed.repository, parsed.tag, parsed.digest) == parts
    assert parsed.familiar == familiar
    assert parse_reference(str(parsed)) == parsed


def test_what_a_registry_is_asked_for() -> None:
    assert parse_reference("a").target == "latest"
    assert parse_reference("a:1").target == "1"
    assert parse_reference(f"a:1@{SHA256}").target == SHA256
    assert parse_reference("a").tagged() == parse_reference("a:latest")
    assert parse_reference(f"a@{SHA256}").tagged() == parse_reference(f"a@{SHA256}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        (":justtag", "names no repository"),
        (f"@{SHA256}", "names no repository"),
        ("Uppercase:tag", "upper-case"),
        ("test:5000/Uppercase/lowercase:tag", "upper-case"),
        ("a/" * 128 + "a:tag", "longer than 255"),
        ("aa/asdf$$^/aa", "lower-case letters and digits alone"),
        ("[2001:db8::1]", "lower-case letters and digits alone"),
        ("[fe80::1%eth0]:5000/repo", "no host"),
        ("fc00::1:5000/debian", "no host"),
        ("-docker.io/a/b", "no host"),
        ("https://github.com/docker/docker", "leave https:// out"),
        ("docker///docker", "empty part"),
        ("docker/", "empty part"),
        ("dock_.er/docker", "no host"),
        ("example.com/dock_.er", "lower-case letters and digits alone"),
        ("a:", "tag is empty"),
        ("a:" + "t" * 129, "longer than 128"),
        ("a:-t", "letters, digits"),
        ("a@", "no digest"),
        ("a@sha256", "no digest"),
        ("a@sha256:12", "2 digits where sha256 has 64"),
        ("a@sha256:" + "F" * 64, "lower case"),
        (f"a@{SHA256}@{SHA256}", "digits where sha256 has 64"),
        ("1a" * 32, "64 hexadecimal digits"),
        ("a\nb", "lower-case letters and digits alone"),
        ("a\n", "lower-case letters and digits alone"),
    ],
)
def test_what_is_no_reference_is_refused_with_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        parse_reference(text, field="image")
    assert caught.value.field == "image"
    assert caught.value.message.startswith("image: ")


def test_a_digest_of_another_algorithm_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="'sha384': known are sha256 and sha512"):
        parse_reference("a@sha384:" + "0" * 96)


def test_a_digest_is_taken_apart() -> None:
    assert parse_digest(SHA256) == ("sha256", "0123456789abcdef" * 4)
    assert parse_digest(SHA512) == ("sha512", "0123456789abcdef" * 8)


_WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
_PARTS = st.builds(
    "".join, st.tuples(_WORDS, st.sampled_from([".", "_", "__", "-", "---"]), _WORDS) | st.tuples(_WORDS)
)
_PATHS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
_DOMAINS = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "example.com", "A.b:1", "10.0.0.1:80", "[::1]", "[fe80::2]:443", "UP"]
)
_TAGS = st.just("") | st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=128)
_DIGESTS = st.sampled_from(["", SHA256, SHA512])


@given(_DOMAINS, _PATHS, _TAGS, _DIGESTS)
def test_both_forms_of_a_reference_mean_it(registry: str, path: str, tag: str, digest: str) -> None:
    repository = f"library/{path}" if registry == "docker.io" and "/" not in path else path
    reference = Reference(registry=registry, repository=repository, tag=tag, digest=digest)
    assert parse_reference(str(reference)) == reference
    if "/" in reference.familiar_name or len(path) < 64:
        first = reference.familiar_name.partition("/")[0]
        # A user of Docker Hub whose name has a dot would be a host: Docker's grammar has no familiar form for it.
        if (
            registry != "docker.io"
            or "/" not in reference.familiar_name
            or not (set(".") & set(first) or first == "localhost")
        ):
            assert parse_reference(reference.familiar) == reference


@given(st.text(max_size=40) | st.text("aA0:/@._-[]\n", max_size=40))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        parsed = parse_reference(text)
    except (InvalidArgument, Unsupported):
        return
    assert parse_reference(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("busybox", "busybox:latest"),
        ("busybox:1.36", "busybox:1.36"),
        ("me/busybox", "me/busybox:latest"),
        ("docker.io/library/busybox", "busybox:latest"),
        ("docker.io/busybox:x", "busybox:x"),
        ("index.docker.io/me/busybox", "me/busybox:latest"),
        ("library/busybox", "busybox:latest"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y"),
        ("Host/x", "Host/x:latest"),
        ("test.example.com/a/b/c:tag", "test.example.com/a/b/c:tag"),
        ("[2001:db8::1]:5000/x", "[2001:db8::1]:5000/x:latest"),
        ("a__b/c-d.e---f", "a__b/c-d.e---f:latest"),
        ("0a:" + "t" * 128, "0a:" + "t" * 128),
        ("x:_Tag.-", "x:_Tag.-"),
    ],
)
def test_names_are_kept_as_docker_shows_them(text: str, name: str) -> None:
    assert parse_reference(text).tagged().familiar == name
    assert parse_reference(name).familiar == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("Busybox", "upper-case"),
        ("me/Busybox", "upper-case"),
        ("x:", "no valid name"),
        (":x", "no valid name"),
        ("x:a b", "no valid name"),
        ("x:-a", "no valid name"),
        ("x:" + "t" * 129, "no valid name"),
        ("a//b", "no valid name"),
        ("/a", "no valid name"),
        ("a/", "no valid name"),
        ("a..b", "no valid name"),
        ("a___b", "no valid name"),
        ("-a", "no valid name"),
        ("a/../b", "no valid name"),
        ("..", "no valid name"),
        ("a\n", "no valid name"),
        ("a:b\n", "no valid name"),
        ("é", "no valid name"),
        ("a:é", "no valid name"),
        ("example..com/x", "no valid name"),
        ("0" * 64, "64 hexadecimal"),
        ("a" * 256, "longer than 255"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        parse_reference(text)
    assert caught.value.field == "name"
