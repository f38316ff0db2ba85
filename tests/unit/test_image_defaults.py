"""What a container gets of its image's configuration: moby's rules of `merge`, and those of `docker commit`."""

from __future__ import annotations

import pytest

from ardock.engine.containers.image_defaults import ImageDefaults, committed, with_image
from ardock.model.image import HealthCheck, ImageConfig
from ardock.model.spec import ContainerSpec, Mount

CONFIG = ImageConfig(
    user="app",
    exposed_ports=("80/tcp", "53/udp"),
    env=("PATH=/opt/bin", "A=image", "B=image=2"),
    entrypoint=("/entry", "-x"),
    cmd=("serve", "all"),
    volumes=("/data",),
    working_dir="/srv",
    labels={"a": "image", "b": "image"},
    stop_signal="SIGQUIT",
    healthcheck=HealthCheck(test=("CMD", "check"), interval=5, retries=2),
    shell=("/bin/bash", "-c"),
)


@pytest.mark.parametrize(
    ("entrypoint", "argv", "words"),
    [
        (None, (), ("/entry", "-x", "serve", "all")),
        (None, ("one",), ("/entry", "-x", "one")),
        (("sh",), (), ("sh",)),  # the image's command is for its own entrypoint
        (("sh", "-c"), ("true",), ("sh", "-c", "true")),
        ((), (), ("serve", "all")),
        ((), ("one",), ("one",)),
        (("",), (), ()),  # docker run --entrypoint "": no command
        (("",), ("one",), ("one",)),
    ],
)
def test_entrypoint_and_command(
    entrypoint: tuple[str, ...] | None, argv: tuple[str, ...], words: tuple[str, ...]
) -> None:
    whole = with_image(ContainerSpec(argv=argv, entrypoint=entrypoint, image="x"), CONFIG)
    assert whole.command == words
    assert whole.entrypoint is not None


def test_all_is_the_image_s_where_the_user_says_nothing() -> None:
    whole = with_image(ContainerSpec(image="x"), CONFIG)
    assert whole == ContainerSpec(
        image="x",
        argv=("serve", "all"),
        entrypoint=("/entry", "-x"),
        env={"PATH": "/opt/bin", "A": "image", "B": "image=2"},
        cwd="/srv",
        user="app",
        mounts=(Mount(type="volume", target="/data"),),
        exposed_ports=("80/tcp", "53/udp"),
        stop_signal="SIGQUIT",
        labels={"a": "image", "b": "image"},
        healthcheck=CONFIG.healthcheck,
    )


def test_the_user_wins() -> None:
    bind = Mount(target="/data", source="/tmp")
    spec = ContainerSpec(
        image="x",
        env={"A": "user", "C": ""},
        cwd="/else",
        user="0",
        mounts=(bind,),
        exposed_ports=("80/tcp", "81/tcp"),
        stop_signal=9,
        labels={"b": "user"},
        healthcheck=HealthCheck(interval=7),
    )
    whole = with_image(spec, CONFIG)
    assert list(whole.env.items()) == [("A", "user"), ("C", ""), ("PATH", "/opt/bin"), ("B", "image=2")]
    assert (whole.cwd, whole.user, whole.stop_signal) == ("/else", "0", 9)
    # Whether the place is taken is for those who make the volumes.
    assert whole.mounts == (bind, Mount(type="volume", target="/data"))
    assert whole.exposed_ports == ("80/tcp", "81/tcp", "53/udp")
    assert whole.labels == {"a": "image", "b": "user"}
    assert whole.healthcheck == HealthCheck(test=("CMD", "check"), interval=7, retries=2)


def test_no_healthcheck() -> None:
    whole = with_image(ContainerSpec(image="x", healthcheck=HealthCheck(test=("NONE",))), CONFIG)
    assert whole.healthcheck is not None
    assert whole.healthcheck.test == ("NONE",)


def test_an_image_without_a_configuration_changes_nothing_but_the_entrypoint() -> None:
    spec = ContainerSpec(argv=("a",), image="x", user="me")
    assert with_image(spec, ImageConfig()) == ContainerSpec(argv=("a",), entrypoint=(), image="x", user="me")


def test_the_same_spec_is_merged_once_and_merging_again_changes_nothing() -> None:
    defaults = ImageDefaults(CONFIG)
    spec = ContainerSpec(image="x")
    whole = defaults.merged(spec)
    assert defaults.merged(spec) is whole
    assert with_image(whole, CONFIG) == whole
    other = ContainerSpec(image="x", argv=("one",))
    assert defaults.merged(other).argv == ("one",)
    assert defaults.merged(spec) == whole


def test_variables_without_a_value_are_none() -> None:
    whole = with_image(ContainerSpec(image="x"), ImageConfig(env=("A", "=b", "C=1", "C=2")))
    assert whole.env == {"C": "2"}


def test_committed() -> None:
    spec = with_image(
        ContainerSpec(
            image="x",
            argv=("one",),
            env={"C": "user"},
            mounts=(
                Mount(type="volume", target="/mine", source="f" * 64, anonymous=True),
                Mount(type="volume", target="/named", source="name"),
                Mount(target="/bind", source="/tmp"),
            ),
        ),
        CONFIG,
    )
    made = committed(spec, CONFIG)
    assert made.cmd == ("one",)
    assert made.entrypoint == ("/entry", "-x")
    assert made.env == ("C=user", "PATH=/opt/bin", "A=image", "B=image=2")
    assert made.volumes == ("/data", "/mine")
    assert (made.user, made.working_dir, made.stop_signal, made.shell) == ("app", "/srv", "SIGQUIT", CONFIG.shell)
    assert made.labels == CONFIG.labels
    assert made.exposed_ports == CONFIG.exposed_ports
    assert made.healthcheck == CONFIG.healthcheck
    assert with_image(ContainerSpec(image="y"), made).command == ("/entry", "-x", "one")
