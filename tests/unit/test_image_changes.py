"""`--change`: instructions of a Dockerfile that set an image's configuration, as `docker commit` and `docker import` take them."""

from __future__ import annotations

import pytest

from ardock.engine.images.changes import apply
from ardock.model.errors import InvalidArgument
from ardock.model.image import HealthCheck, ImageConfig

BASE = ImageConfig(env=("A=1", "B=2"), working_dir="/srv", labels={"k": "v"}, exposed_ports=("80/tcp",))


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ('CMD ["a", "b c"]', "cmd", ("a", "b c")),
        ("CMD echo $HOME", "cmd", ("/bin/sh", "-c", "echo $HOME")),
        ("cmd []", "cmd", ()),
        # Docker takes what is no JSON as the shell form.
        ("CMD [not json", "cmd", ("/bin/sh", "-c", "[not json")),
        ('ENTRYPOINT ["/init"]', "entrypoint", ("/init",)),
        ("ENV A=3 C='x y'", "env", ("A=3", "B=2", "C=x y")),
        ("ENV A the rest of it", "env", ("A=the rest of it", "B=2")),
        ("EXPOSE 80 81/udp 90-91", "exposed_ports", ("80/tcp", "81/udp", "90/tcp", "91/tcp")),
        ('LABEL x="y z" k=w', "labels", {"k": "w", "x": "y z"}),
        ('VOLUME ["/a b", "/c"]', "volumes", ("/a b", "/c")),
        ("VOLUME /a /b", "volumes", ("/a", "/b")),
        ("WORKDIR sub/dir", "working_dir", "/srv/sub/dir"),
        ("WORKDIR /", "working_dir", "/"),
        ("USER 1000:1000", "user", "1000:1000"),
        ("STOPSIGNAL SIGINT", "stop_signal", "SIGINT"),
        ("ONBUILD RUN x", "on_build", ("RUN x",)),
        ("HEALTHCHECK NONE", "healthcheck", HealthCheck(test=("NONE",))),
        (
            "HEALTHCHECK --interval=1m30s --retries=2 --start-period=1.5s CMD curl x",
            "healthcheck",
            HealthCheck(test=("CMD-SHELL", "curl x"), interval=90 * 10**9, retries=2, start_period=1_500_000_000),
        ),
        ('HEALTHCHECK CMD ["a"]', "healthcheck", HealthCheck(test=("CMD", "a"))),
    ],
)
def test_instructions(change: str, field: str, value: object) -> None:
    assert getattr(apply(BASE, [change]), field) == value


def test_they_are_applied_in_order() -> None:
    assert apply(ImageConfig(), ["ENV A=1", "ENV A=2", "WORKDIR /a", "WORKDIR b"]) == ImageConfig(
        env=("A=2",), working_dir="/a/b"
    )


@pytest.mark.parametrize(
    "change",
    [
        "", "RUN x", "CMD", "FROM scratch", "EXPOSE http", "EXPOSE 0", "EXPOSE 9-8", "EXPOSE 70000", "LABEL x", "ENV =x", "ENV A",
        "VOLUME data", "USER a b", "STOPSIGNAL SIGNOPE", "ONBUILD FROM x", "HEALTHCHECK curl", "HEALTHCHECK --interval=x CMD y",
        "HEALTHCHECK --often CMD y", "HEALTHCHECK --retries=-1 CMD y", "CMD [1]", "LABEL x='y",
    ],
)  # fmt: skip
def test_what_is_no_instruction_is_refused(change: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        apply(BASE, [change])
    assert caught.value.field == "changes"
