"""Names of images: Docker's grammar, with the cases of github.com/distribution/reference's own tests."""

import pytest

from ardock.engine.images.reference import normalize
from ardock.model.errors import InvalidArgument


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
    assert normalize(text) == name
    assert normalize(name) == name


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
        ("x@sha256:" + "0" * 64, "digest"),
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
        normalize(text)
    assert caught.value.field == "name"
